"""`ding2022 --quick` and its page in a real browser: nothing on the console, all of it drawn."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser
FIGURES = {f"Fig {at}" for at in (2, 3, 4, 5)} | {f"Table {at}" for at in (1, 3, 6, 7, 9, 12, 13, 15)} | {"Section 4.7"}


@pytest.fixture
def path(tmp_path) -> Path:
    command = [sys.executable, "-m", "gazeshift", "study", "ding2022", "--quick", "--device", "cpu"]
    made = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, timeout=500, check=False
    )
    assert made.returncode == 0, made.stderr
    assert "images that the model gets right are fooled" in made.stdout
    return tmp_path / "out" / "report.html"


def test_the_quick_form_ends_with_all_figures_and_tables(browser, path):
    for width, scheme in ((1200, "light"), (390, "dark")):  # one study for both: it is what takes long
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page, said, asked = context.new_page(), [], []
        page.on("console", lambda message, said=said: said.append(message.text))
        page.on("pageerror", lambda error, said=said: said.append(str(error)))
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)
        charts = page.locator("[data-chart]")
        assert charts.count() == 7  # two histograms, painted pixels, layers, accuracy of both sides, ROC
        for at in range(charts.count()):
            assert charts.nth(at).locator("svg.main-svg").first.bounding_box()["height"] > 250
        assert set(page.locator(".item").all_inner_texts()) == FIGURES
        page.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
        page.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        assert page.evaluate("document.images.length") == 2 * (4 + 4 + 6) + 8  # two images, four pairs of maps
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        held = page.locator("table.words").first.locator("tbody td:nth-child(3)").all_inner_texts()
        assert held[-3:] == ["not tested"] * 3  # sixteen images train nothing
        assert "--quick" in page.locator("#command").inner_text()
        assert said == []
        assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)
        context.close()
