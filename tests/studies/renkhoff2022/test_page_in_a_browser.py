"""`renkhoff2022 --quick`, its page in a real browser: all figures drawn, nothing on the console or from the network."""

import pytest

from helpers.visits import quick, visit

pytestmark = pytest.mark.browser
FIGURES = ["Fig 2a", "Fig 2b", "Fig 3", "Fig 4a", "Fig 4b", "Fig 5a", "Fig 5b", "Fig 6", "Fig 7"]


def test_the_quick_form_ends_with_all_figures(browser, run, tmp_path):
    address, said = quick(run, "renkhoff2022", tmp_path, "--limit", "4", "--strengths", "1,2", "--coverage-seeds", "1")
    assert "dlfuzz found an example for" in said
    for width, scheme in ((1200, "light"), (420, "dark")):  # one study for both: it is what takes long
        with visit(browser, address, width, scheme) as made:
            assert made.charts() == 13
            assert made.page.locator("h3 .item").all_inner_texts() == FIGURES
            made.load_images()
            maps = made.page.locator("#figure-layer-maps img")
            assert maps.count() == 3 * (1 + 18)  # clean, attacked, noise at 18 layers
            assert made.page.evaluate("document.documentElement.scrollWidth") <= width
            assert "--quick" in made.text("#command")
            assert made.faults() == []
