"""The page of a scorecard in a real browser: nothing on the console, all of it drawn, curves that can be chosen."""

from pathlib import Path

import pytest

from gazeshift import report
from helpers.scorecard_study import write
from helpers.visits import Visit, visit

pytestmark = pytest.mark.browser
ADAPTIVE = [{"method": "joint", "epsilon": size / 255, "n": 64, "evaded": 10 * size} for size in (1, 2, 4)]


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return report.write(write(tmp_path_factory.mktemp("card") / "study", adaptive=ADAPTIVE))


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_everything_is_drawn_and_nothing_is_said(browser, path, width, scheme):
    with visit(browser, path.as_uri(), width, scheme) as made:
        every = made.page.locator("[data-chart]")
        assert every.count() == 5 + 4 + 3  # evasion, two heat maps, sizes, alarms; ROC; suspicions
        assert made.charts() == 5 + 1 + 1
        assert made.page.locator("#plot-benign .errorbar").count() == 4 * 3
        assert made.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert made.faults() == []


def test_the_chosen_curves_are_shown_at_full_width(browser, path):
    with visit(browser, path.as_uri(), 1000) as made:
        roc = made.page.locator("#figure-roc")
        before = roc.locator("[data-chart]:visible")
        width, first = before.bounding_box()["width"], before.get_attribute("data-chart")
        roc.locator("select").select_option(label="fgsm-4 (fgsm, L-inf 4/255)")
        after = roc.locator("[data-chart]:visible")
        assert (after.count(), after.get_attribute("data-chart") != first) == (1, True)
        assert after.locator("svg.main-svg").first.bounding_box()["width"] == pytest.approx(width, abs=2)
        assert "unseen attack" in after.locator(".legend").text_content()
        assert roc.locator("details:visible").count() == 1


def test_without_scripts_every_curve_has_its_numbers(browser, path):
    made = Visit(browser, path.as_uri(), scripts=False)
    assert made.page.locator("#figure-roc details:visible").count() == 4
    assert made.page.locator("#figure-roc h4").all_inner_texts()[0] == "all attacks together"
    made.context.close()
