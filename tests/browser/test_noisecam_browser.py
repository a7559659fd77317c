"""The page of the noisecam2023 study in a real browser: nothing on the console, all of it drawn."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from gazeshift import report
from gazeshift.studies.noisecam2023 import Noisecam2023

pytestmark = pytest.mark.browser
SMALL = runpy.run_path(str(Path(__file__).parent.parent / "parts" / "_noisecam_study.py"))
FIGURES = {"Fig 1", "Fig 5", "Fig 6a", "Fig 6b", "Fig 7", "Fig 8a", "Fig 8b", "Fig 9a-f"}


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    return report.write(Noisecam2023(**SMALL["make_settings"](folder)).run(folder / "out"))


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
    assert charts.count() == 3 + 4 + 2  # layers; detectors; combinations
    for at in range(charts.count()):
        assert charts.nth(at).locator("svg.main-svg").first.bounding_box()["height"] > 250
    assert set(page.locator(".item").all_inner_texts()) == FIGURES
    page.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
    page.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth > 20)")
    assert page.locator("#figure-compared img").count() == 9
    assert page.locator("#figure-example img").count() == 6
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator(".findings li").count() == 5
    assert said == []
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [path.as_uri()]
    context.close()


def test_the_quick_form_ends_with_a_page(browser, tmp_path):
    command = [sys.executable, "-m", "gazeshift", "study", "noisecam2023", "--quick", "--limit", "4"]
    command += ["--strengths", "1", "--device", "cpu", "--out", str(tmp_path / "out")]
    made = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert made.returncode == 0, made.stderr
    assert "NoiseCAM with clusters (blocks.0.0, positive, E = 1" in made.stdout
    page, said = browser.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((tmp_path / "out" / "report.html").as_uri())
    page.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)
    assert "Small numbers" in page.locator(".banner.warning").first.inner_text()
    assert set(page.locator(".item").all_inner_texts()) == FIGURES
    assert said == []
    page.close()
