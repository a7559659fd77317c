"""The page of the noisecam2023 study in a real browser: nothing on the console, all of it drawn."""

from pathlib import Path

import pytest

from gazeshift import report
from gazeshift.studies.noisecam2023.settings import Noisecam2023
from helpers.noisecam_study import make_settings
from helpers.visits import quick, visit

pytestmark = pytest.mark.browser
FIGURES = {"Fig 1", "Fig 5", "Fig 6a", "Fig 6b", "Fig 7", "Fig 8a", "Fig 8b", "Fig 9a-f"}


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    return report.write(Noisecam2023(**make_settings(folder)).run(folder / "out"))


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_everything_is_drawn_and_nothing_is_said(browser, path, width, scheme):
    with visit(browser, path.as_uri(), width, scheme) as made:
        assert made.charts(250) == 3 + 4 + 2  # layers; detectors; combinations
        assert set(made.items()) == FIGURES
        made.load_images(20)
        assert made.page.locator("#figure-compared img").count() == 9
        assert made.page.locator("#figure-example img").count() == 6
        assert made.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert made.page.locator(".findings li").count() == 5
        assert made.faults() == []


def test_the_quick_form_ends_with_a_page(browser, run, tmp_path):
    address, said = quick(run, "noisecam2023", tmp_path, "--limit", "2", "--strengths", "1")
    assert "NoiseCAM with clusters (blocks.0.0, positive, E = 1" in said
    with visit(browser, address) as made:
        assert "Small numbers" in made.page.locator(".banner.warning").first.inner_text()
        assert set(made.items()) == FIGURES
