"""The page of the transfer study in a real browser: nothing on the console, all of it drawn."""

import pytest

from gazeshift import report
from helpers.transfer_study import write
from helpers.visits import visit

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_everything_is_drawn_and_nothing_is_said(browser, tmp_path, width, scheme):
    path = report.write(write(tmp_path / "study", sources=2))
    with visit(browser, path.as_uri(), width, scheme) as made:
        assert made.charts() == 4 + 2  # bars of two sources at two sizes, a matrix of each attack
        whiskers = made.page.locator("[data-chart]").first.locator(".errorbar")
        assert whiskers.count() == 9, "clean and two attacks on three models have whiskers"
        assert made.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert made.faults() == []
