"""`ding2022 --quick` and its page in a real browser: nothing on the console, all of it drawn."""

import pytest

from helpers.visits import quick, visit

pytestmark = pytest.mark.browser
FIGURES = {f"Fig {at}" for at in (2, 3, 4, 5)} | {f"Table {at}" for at in (1, 3, 6, 7, 9, 12, 13, 15)} | {"Section 4.7"}


def test_the_quick_form_ends_with_all_figures_and_tables(browser, run, tmp_path):
    address, said = quick(run, "ding2022", tmp_path, "--limit", "12", "--detector-epochs", "1")
    assert "images that the model gets right are fooled" in said
    for width, scheme in ((1200, "light"), (390, "dark")):  # one study for both: it is what takes long
        with visit(browser, address, width, scheme) as made:
            assert made.charts(250) == 7  # two histograms, painted pixels, layers, accuracy of both sides, ROC
            assert set(made.items()) == FIGURES
            made.load_images()
            assert made.page.evaluate("document.images.length") == 2 * (4 + 4 + 6) + 8  # two images, four pairs of maps
            assert made.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            held = made.page.locator("table.words").first.locator("tbody td:nth-child(3)").all_inner_texts()
            assert held[-3:] == ["not tested"] * 3  # sixteen images train nothing
            assert "--quick" in made.text("#command")
            assert made.faults() == []
