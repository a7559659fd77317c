"""The page of the study of Chakraborty et al. 2022 in a real browser: nothing on the console, all of it drawn."""

from pathlib import Path

import pytest

from gazeshift import report
from gazeshift.studies.chakraborty2022.settings import Chakraborty2022
from helpers.faces import make_vggface2, small_settings
from helpers.visits import quick, visit

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    settings = small_settings(folder, make_vggface2(folder / "faces", images=8))
    return report.write(Chakraborty2022(**settings).run(folder / "out"))


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_everything_is_drawn_and_nothing_is_said(browser, path, width, scheme):
    with visit(browser, path.as_uri(), width, scheme) as made:
        assert made.charts(250) == 2 + 4 + 1  # accuracy and MOD, NISSIM and SSIM of two models, VID
        figures = {"Fig 1", "Fig 2", "Fig 3", "Fig 4", "Fig 5", "Fig 6–10", "Table 1", "Table 2", "Table 3"}
        assert set(made.items()) >= figures
        made.load_images(20)
        assert made.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert made.page.locator(".findings li").count() == 5
        assert made.faults() == []


def test_the_quick_form_ends_with_a_page_that_says_what_it_is(browser, run, tmp_path):
    flags = ("--models", "efficientnet_lite0", "--limit", "4", "--epsilons", "0.05,0.1")
    address, said = quick(run, "chakraborty2022", tmp_path, *flags)
    assert "MOD at ε 0.1" in said
    with visit(browser, address) as made:
        assert "ten overlapping views" in made.page.locator(".banner.warning").first.inner_text()
        assert "--quick" in made.text("#command")
