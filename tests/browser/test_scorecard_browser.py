"""The page of a scorecard in a real browser: nothing on the console, all of it drawn, curves that can be chosen."""

import runpy
from pathlib import Path

import pytest

from gazeshift import report

pytestmark = pytest.mark.browser
WRITE = runpy.run_path(str(Path(__file__).parent.parent / "parts" / "_scorecard_study.py"))["write"]
ADAPTIVE = [{"method": "joint", "epsilon": size / 255, "n": 64, "evaded": 10 * size} for size in (1, 2, 4)]


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    written = WRITE(tmp_path_factory.mktemp("card") / "study", adaptive=ADAPTIVE)
    return report.write(written)


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_everything_is_drawn_and_nothing_is_said(browser, path, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)
    assert page.locator("[data-chart]").count() == 5 + 4 + 3  # evasion, two heat maps, sizes, alarms; ROC; suspicions
    shown = page.locator("[data-chart]:visible")
    assert shown.count() == 5 + 1 + 1
    for at in range(shown.count()):
        assert shown.nth(at).locator("svg.main-svg").first.bounding_box()["height"] > 200
    assert page.locator("#plot-benign .errorbar").count() == 4 * 3
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert said == []
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [path.as_uri()]
    context.close()


def test_the_chosen_curves_are_shown_at_full_width(browser, path):
    page, said = browser.new_page(viewport={"width": 1000, "height": 900}), []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)
    roc = page.locator("#figure-roc")
    before = roc.locator("[data-chart]:visible")
    width, first = before.bounding_box()["width"], before.get_attribute("data-chart")
    roc.locator("select").select_option(label="fgsm-4 (fgsm, L-inf 4/255)")
    after = roc.locator("[data-chart]:visible")
    assert (after.count(), after.get_attribute("data-chart") != first) == (1, True)
    assert after.locator("svg.main-svg").first.bounding_box()["width"] == pytest.approx(width, abs=2)
    assert "unseen attack" in after.locator(".legend").text_content()
    assert roc.locator("details:visible").count() == 1
    assert said == []
    page.close()


def test_without_scripts_every_curve_has_its_numbers(browser, path):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.locator("#figure-roc details:visible").count() == 4
    assert page.locator("#figure-roc h4").all_inner_texts()[0] == "all attacks together"
    context.close()
