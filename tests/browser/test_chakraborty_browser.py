"""The page of the study of Chakraborty et al. 2022 in a real browser: nothing on the console, all of it drawn."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from gazeshift import report
from gazeshift.studies.chakraborty2022 import Chakraborty2022

pytestmark = pytest.mark.browser
FACES = runpy.run_path(str(Path(__file__).parent.parent / "parts" / "_faces.py"))


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    settings = FACES["small_settings"](folder, FACES["make_vggface2"](folder / "faces", images=8))
    return report.write(Chakraborty2022(**settings).run(folder / "out"))


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
    assert charts.count() == 2 + 4 + 1  # accuracy and MOD, NISSIM and SSIM of two models, VID
    for at in range(charts.count()):
        assert charts.nth(at).locator("svg.main-svg").first.bounding_box()["height"] > 250
    items = set(page.locator(".item").all_inner_texts())
    assert items >= {"Fig 1", "Fig 2", "Fig 3", "Fig 4", "Fig 5", "Fig 6–10", "Table 1", "Table 2", "Table 3"}
    page.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
    page.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth > 20)")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator(".findings li").count() == 5
    assert said == []
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [path.as_uri()]
    context.close()


def test_the_quick_form_ends_with_a_page_that_says_what_it_is(browser, tmp_path):
    command = [sys.executable, "-m", "gazeshift", "study", "chakraborty2022", "--quick"]
    command += ["--models", "efficientnet_lite0", "--limit", "8", "--device", "cpu", "--out", str(tmp_path / "out")]
    made = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert made.returncode == 0, made.stderr
    assert "MOD at ε 0.1" in made.stdout
    page, said = browser.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((tmp_path / "out" / "report.html").as_uri())
    page.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)
    assert "ten overlapping views" in page.locator(".banner.warning").first.inner_text()
    assert "--quick" in page.locator("#command").inner_text()
    assert said == []
    page.close()
