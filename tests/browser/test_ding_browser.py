"""The page of the study of Ding et al. 2022 in a real browser: nothing on the console, all of it drawn."""

import runpy
import sys
from pathlib import Path

import pytest

from gazeshift import report
from gazeshift.studies.ding2022 import Ding2022

pytestmark = pytest.mark.browser
PARTS = Path(__file__).parent.parent / "parts"


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    sys.path.insert(0, str(PARTS))
    made = runpy.run_path(str(PARTS / "_ding_study.py"))
    folder = tmp_path_factory.mktemp("ding")
    settings = made["make_settings"](folder, made["make_parts"](folder / "parts"))
    return report.write(Ding2022(**settings).run(folder / "out"))


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_everything_is_drawn_and_nothing_is_said(browser, path, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)
    charts = page.locator("[data-chart]")
    assert charts.count() == 7  # two histograms, painted pixels, layers, accuracy of both sides, ROC
    for at in range(charts.count()):
        assert charts.nth(at).locator("svg.main-svg").first.bounding_box()["height"] > 250
    items = set(page.locator(".item").all_inner_texts())
    tables = (1, 3, 6, 7, 9, 12, 13, 15)
    assert items >= {*(f"Fig {at}" for at in (2, 3, 4, 5)), *(f"Table {at}" for at in tables), "Section 4.7"}
    page.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
    page.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert page.evaluate("document.images.length") >= 4 + 4 + 6 + 6
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert said == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)
    context.close()
