"""The page of the transfer study in a real browser: nothing on the console, all of it drawn."""

import runpy
from pathlib import Path

import pytest

from gazeshift import report

pytestmark = pytest.mark.browser
WRITE = runpy.run_path(str(Path(__file__).parent.parent / "parts" / "test_report_transfer.py"))["write"]


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_everything_is_drawn_and_nothing_is_said(browser, tmp_path, width, scheme):
    path = report.write(WRITE(tmp_path / "study", sources=2))
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)
    charts = page.locator("[data-chart]")
    assert charts.count() == 4 + 2  # bars of two sources at two sizes, a matrix of each attack
    for at in range(charts.count()):
        assert charts.nth(at).locator("svg.main-svg").first.bounding_box()["height"] > 200
    assert charts.first.locator(".errorbar").count() == 9, "clean and two attacks on three models have whiskers"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert said == []
    context.close()
