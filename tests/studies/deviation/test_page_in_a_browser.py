"""The report in a real browser: nothing asked of the network, nothing on the console, all of it drawn and usable."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gazeshift import report
from helpers.synthetic_study import write_study
from helpers.visits import Visit

pytestmark = pytest.mark.browser
CHARTS = ["layers", "compromise", "histogram", "split", "strengths_attacked", "strengths_noise", "strengths"]
CHARTS += ["mod", "vid", "structure"]


class Watched(Visit):
    """A report."""

    def __init__(self, browser, path: Path, width: int = 1280, scheme: str = "light", *, scripts: bool = True) -> None:
        super().__init__(browser, path.as_uri(), width, scheme, scripts=scripts)
        if scripts:
            self.ready()

    def rows(self, table: str) -> list[list[str]]:
        return self.page.evaluate(
            "name => [...document.querySelector(`[data-table=${name}]`).tBodies[0].rows]"
            ".map(row => [...row.cells].map(cell => cell.textContent))",
            table,
        )


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return report.write(write_study(tmp_path_factory.mktemp("study"), images=12, layers=9, shown=3))


@pytest.fixture(scope="module")
def shared(browser, path) -> Watched:
    return Watched(browser, path)


@pytest.fixture
def opened(browser, path) -> Iterator[Watched]:
    made = Watched(browser, path)
    yield made
    assert made.said == []
    made.context.close()


def test_it_says_nothing_and_asks_for_nothing(shared, path):
    shared.page.wait_for_timeout(300)
    assert shared.said == []
    foreign = [url for url in shared.asked if not url.startswith(("data:", "blob:"))]
    assert foreign == [path.as_uri()]


def test_the_policy_stops_requests(browser, path):
    made = Watched(browser, path)
    made.page.evaluate("fetch('https://example.org/').catch(() => {})")
    made.page.evaluate("new Image().src = 'https://example.org/x.png'")
    made.page.wait_for_timeout(300)
    assert sum("Content Security Policy" in said for said in made.said) >= 2
    made.context.close()


@pytest.mark.parametrize("chart", CHARTS)
def test_chart_is_drawn(shared, chart):
    plot = shared.page.locator(f"#plot-{chart}")
    box = plot.locator("svg.main-svg").first.bounding_box()
    assert box["width"] > 250
    assert box["height"] > 250
    marks = plot.locator("path.point, g.point path, path.js-line").count()
    assert marks >= 2
    assert plot.get_attribute("role") == "img"
    assert plot.get_attribute("aria-label")


def test_lines_pass_through_the_numbers_of_the_table(shared):
    drawn = shared.page.evaluate(
        "() => document.getElementById('plot-layers').data.filter(trace => trace.name === 'attacked')[0].y"
    )
    assert drawn == pytest.approx([float(row[1]) for row in shared.rows("layers")], abs=0.0051)


@pytest.mark.parametrize("width", [375, 1280])
def test_a_hovered_layer_names_itself_and_its_numbers(browser, path, width):
    opened = Watched(browser, path, width=width)
    plot = opened.page.locator("#plot-layers")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    opened.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 150)
    opened.page.wait_for_selector("#plot-layers .hoverlayer text")
    ticks = [text.strip() for text in opened.page.locator("#plot-layers .xtick text").all_text_contents()]
    assert (ticks[0], ticks[-1]) == (("1", "9") if width == 375 else ("stem", "head"))
    title, *shown = opened.page.locator("#plot-layers .hoverlayer text").all_text_contents()
    assert title in {"blocks.2", "blocks.3", "blocks.4"}
    assert any(text.startswith("attacked : 0.") and "quartiles" in text for text in shown)
    opened.context.close()


def test_tables_of_the_script_equal_the_printed_ones(browser, path, shared):
    without = Watched(browser, path, scripts=False)
    plain = without.page.content()
    names = ("layers", "rank", "histogram", "split", "strengths", "mod", "structure")
    for name in names:
        printed = without.page.locator(f"[data-table={name}] tbody tr").all()
        cells = [[cell.text_content() for cell in row.locator("th, td").all()] for row in printed]
        assert cells == shared.rows(name), name
        assert len(cells) > 1
    assert "Scripts are off" in plain
    without.context.close()


def test_choosers_are_linked_and_work_by_keyboard(opened):
    before = opened.rows("layers")
    picker = opened.page.locator(".choosers select[data-choose=strength]")
    picker.focus()
    opened.page.keyboard.press("ArrowDown")
    assert picker.input_value() == "3"
    assert "strength 2" in opened.text("#shown")
    assert opened.rows("layers") != before
    opened.page.locator("#gallery select[data-choose=cam]").select_option("1")
    assert opened.page.locator(".choosers select[data-choose=cam]").input_value() == "1"
    assert "LayerCAM" in opened.text("#shown")


def test_a_choice_that_leaves_no_image_says_so(opened):
    opened.page.locator(".choosers select[data-choose=attack]").select_option("1")
    assert opened.page.locator("#plot-layers").is_hidden()
    assert "fooled none at strength 1" in opened.text("#figure-layers .empty")
    opened.page.locator(".choosers select[data-choose=images]").select_option("all")
    assert opened.page.locator("#plot-layers").is_visible()
    assert opened.page.locator("#figure-layers .empty").is_hidden()


def pixels(watched: Watched, kind: str) -> list[int]:
    return watched.page.evaluate(
        "kind => { const canvas = document.querySelector(`#stage canvas[data-kind=${kind}]`);"
        "return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data] }",
        kind,
    )


def test_gallery_shows_every_kind_at_once(shared):
    assert shared.page.locator("#stage figure").count() == 4
    for place in range(4):
        box = shared.page.locator("#stage figure img").nth(place).bounding_box()
        assert box["width"] > 100
    assert shared.page.locator("#film button").count() == 9
    assert shared.page.locator("#film button.framed").count() == 3
    assert shared.page.locator(".thumbs input").count() == 3
    assert len({tuple(pixels(shared, kind)) for kind in ("clean", "attacked", "noise")}) == 3
    assert all(image.get_attribute("alt") for image in shared.page.locator("#stage img").all())


def test_sliders_change_the_maps_by_keyboard(opened):
    opened.page.locator("#layer").focus()
    opened.page.keyboard.press("Home")
    assert opened.text("#layer-name") == "stem"
    first = pixels(opened, "attacked")
    opened.page.keyboard.press("ArrowRight")
    assert opened.text("#layer-name") == "blocks.0"
    second = pixels(opened, "attacked")
    assert first != second
    opened.page.locator("#opacity").focus()
    opened.page.keyboard.press("Home")
    assert opened.text("#opacity-name") == "0 %"
    bare = pixels(opened, "attacked")
    assert bare != second
    opened.page.locator("#layer").focus()
    opened.page.keyboard.press("End")
    assert pixels(opened, "attacked") == bare, "without opacity every layer shows the picture alone"


def test_maps_are_drawn_as_pictures_draw_them(opened, path):
    """The script's overlay against the one of pictures.py, for the map that the page holds."""
    import base64
    import io

    import numpy as np
    from PIL import Image

    from gazeshift import pictures

    opened.page.locator("#layer").focus()
    opened.page.keyboard.press("End")
    data = report.read(path.parent)
    shown = opened.page.evaluate("JSON.parse(document.getElementById('maps').textContent).images[0]")
    row = next(
        row
        for row in data.gallery.to_pylist()
        if (row["image"], row["kind"], row["attack"], row["target"], row["layer"], row["cam"])
        == (shown["id"], "attacked", "pgd", "predicted", "head", "grad_cam")
    )
    encoded = shown["pictures"]["attacked.0"].partition(",")[2]
    photograph = (
        Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
    )
    heat = pictures.rectified(np.array(row["map"]).reshape(row["height"], row["width"]))
    wanted = np.asarray(pictures.overlay(np.asarray(photograph).transpose(2, 0, 1) / 255, heat, opacity=0.6))
    made = np.array(pixels(opened, "attacked")).reshape(224, 224, 4)[:, :, :3]
    assert np.abs(made - wanted.astype(int)).mean() < 4


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_in_it_keeps_anybody_out(browser, path, scheme):
    made = Watched(browser, path, scheme=scheme)
    assert made.faults() == []
    made.page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert made.faults() == []
    made.context.close()


def test_film_is_walked_with_arrows(opened):
    opened.page.locator("#film button[tabindex='0']").focus()
    name = opened.text("#layer-name")
    opened.page.keyboard.press("ArrowLeft")
    assert opened.text("#layer-name") != name
    focused = opened.page.evaluate("document.activeElement.getAttribute('aria-pressed')")
    assert focused == "true"
    assert opened.page.locator("#film button[aria-pressed=true]").count() == 1


def test_undefined_maps_are_hatched_and_said(opened):
    opened.page.locator("#gallery select[data-choose=cam]").select_option("1")
    hostile = opened.page.evaluate(
        "JSON.parse(document.getElementById('maps').textContent).images.findIndex(image => image.id.includes('script'))"
    )
    opened.page.locator(".thumbs input").nth(hostile).check(force=True)
    opened.page.locator("#layer").focus()
    opened.page.keyboard.press("End")
    labels = [canvas.get_attribute("aria-label") for canvas in opened.page.locator("#stage canvas").all()]
    assert ["undefined: the map has no positive value" in label for label in labels] == [True, True, False]
    assert "undefined: the map is not finite" in labels[2]
    white = sum(pixels(opened, "noise")[i : i + 3] == [255, 255, 255] for i in range(0, 40, 4))
    assert white == 0
    values = pixels(opened, "noise")
    plate = sum(values[i] == values[i + 1] == values[i + 2] == 255 for i in range(0, len(values), 4))
    assert plate > 500, "the white plate behind the word"


@pytest.mark.parametrize("width", [375, 768, 1280, 1920])
def test_no_width_scrolls_sideways(browser, path, width):
    made = Watched(browser, path, width=width)
    made.page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert made.page.evaluate("document.documentElement.scrollWidth") <= width
    wide = made.page.evaluate(
        "width => [...document.querySelectorAll('main *')]"
        ".filter(part => !part.closest('.scroll, .film, .plot, pre, svg, summary')"
        " && part.getBoundingClientRect().right > width + 1).map(part => part.outerHTML.slice(0, 80))",
        width,
    )
    assert wide == []
    assert made.said == []
    made.context.close()


def brightness(colour: str) -> float:
    numbers = [float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    return sum(numbers) / 3


def test_dark_is_dark_and_charts_follow(browser, path):
    made = Watched(browser, path, scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    ink = "getComputedStyle(document.querySelector('#plot-layers .xtick text')).fill"
    assert brightness(made.page.evaluate(paper)) < 60
    assert brightness(made.page.evaluate(ink)) > 120
    made.page.emulate_media(color_scheme="light")
    made.page.wait_for_timeout(200)
    assert brightness(made.page.evaluate(paper)) > 200
    assert brightness(made.page.evaluate(ink)) < 130
    assert made.said == []
    made.context.close()


def test_print_is_light_opens_the_tables_and_goes_back(browser, path):
    made = Watched(browser, path, scheme="dark")
    made.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    ink = "getComputedStyle(document.querySelector('#plot-layers .xtick text')).fill"
    assert brightness(made.page.evaluate(ink)) < 130
    assert made.page.locator("[data-table=layers]").is_visible()
    made.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert brightness(made.page.evaluate(ink)) > 120
    assert made.page.locator("[data-table=layers]").is_hidden()
    made.context.close()


SMALL = {
    "one of each": {
        "images": 1,
        "layers": 1,
        "attacks": ("pgd",),
        "strengths": (1.0,),
        "cams": ("grad_cam",),
        "shown": 1,
    },
    "no noise": {"noise": False},
    "no success": {"success": False},
    "all undefined": {"defined": False},
    "one target": {"targets": ("reference",)},
    "no gallery": {"shown": 0},
    "many layers": {"layers": 60, "images": 2, "attacks": ("pgd",), "strengths": (1.0,), "shown": 1},
}


@pytest.mark.parametrize("case", SMALL)
def test_degenerate_studies_open_without_an_error(browser, tmp_path, case):
    made = Watched(browser, report.write(write_study(tmp_path, **SMALL[case])), width=800)
    for select in made.page.locator(".choosers select").all():
        for option in select.locator("option").all():
            select.select_option(option.get_attribute("value"))
    assert made.said == []
    assert made.page.evaluate("document.documentElement.scrollWidth") <= 800
    made.context.close()
