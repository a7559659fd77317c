"""The renkhoff2022 report in a real browser: all figures drawn, nothing on the console, nothing from the network."""

import runpy
import sys
from pathlib import Path

import pytest

from gazeshift import report
from gazeshift.studies.renkhoff2022 import Renkhoff2022

pytestmark = pytest.mark.browser
PARTS = Path(__file__).parent.parent / "parts"


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    sys.path.insert(0, str(PARTS))
    make_settings = runpy.run_path(str(PARTS / "_renkhoff_study.py"))["make_settings"]
    home = tmp_path_factory.mktemp("renkhoff")
    return report.write(Renkhoff2022(**make_settings(home)).run(home / "out"))


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (420, "dark")])
def test_all_figures_are_drawn(browser, path, width, scheme):
    page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)
    charts = page.locator("[data-chart]")
    assert charts.count() == 13
    drawn = page.evaluate(
        "[...document.querySelectorAll('[data-chart]')].filter(p => p.querySelector('.main-svg')).length"
    )
    assert drawn == 13
    items = page.locator("h3 .item").all_inner_texts()
    assert items == ["Fig 2a", "Fig 2b", "Fig 3", "Fig 4a", "Fig 4b", "Fig 5a", "Fig 5b", "Fig 6", "Fig 7"]
    assert page.locator("#figure-layer-maps img").count() == 2 * 3 * 3
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
