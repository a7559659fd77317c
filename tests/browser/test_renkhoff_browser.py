"""`renkhoff2022 --quick`, its page in a real browser: all figures drawn, nothing on the console or from the network."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser
FIGURES = ["Fig 2a", "Fig 2b", "Fig 3", "Fig 4a", "Fig 4b", "Fig 5a", "Fig 5b", "Fig 6", "Fig 7"]


@pytest.fixture
def path(tmp_path) -> Path:
    command = [sys.executable, "-m", "gazeshift", "study", "renkhoff2022", "--quick", "--device", "cpu"]
    made = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, timeout=500, check=False
    )
    assert made.returncode == 0, made.stderr
    assert "dlfuzz found an example for" in made.stdout
    return tmp_path / "out" / "report.html"


def test_the_quick_form_ends_with_all_figures(browser, path):
    for width, scheme in ((1200, "light"), (420, "dark")):  # one study for both: it is what takes long
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page, said, asked = context.new_page(), [], []
        page.on("console", lambda message, said=said: said.append(message.text))
        page.on("pageerror", lambda error, said=said: said.append(str(error)))
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)
        charts = page.locator("[data-chart]")
        assert charts.count() == 13
        for at in range(charts.count()):
            assert charts.nth(at).locator("svg.main-svg").first.bounding_box()["height"] > 200
        assert page.locator("h3 .item").all_inner_texts() == FIGURES
        page.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
        page.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        assert page.locator("#figure-layer-maps img").count() == 3 * (1 + 18)  # clean, attacked, noise at 18 layers
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert "--quick" in page.locator("#command").inner_text()
        assert said == []
        assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
        context.close()
