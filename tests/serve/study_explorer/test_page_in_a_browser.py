"""The explorer of a finished study in a real browser: filter, sort, open, walk through the layers, go back."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from gazeshift.serve.gateway.server import bound, config_of
from gazeshift.serve.gateway.settings import ServeSettings
from gazeshift.serve.study_explorer.app import create_study_app
from helpers.scorecard_study import write as write_scorecard
from helpers.small_study import make_images, make_network
from helpers.synthetic_study import HOSTILE, write_study
from helpers.visits import Visit, visit

Deviation = pytest.importorskip("gazeshift.studies.deviation.settings").Deviation

pytestmark = pytest.mark.browser


@contextmanager
def serving(folder: Path, model: str | None = None) -> Iterator[str]:
    settings = ServeSettings(port=0)
    sock = bound(settings)
    server = uvicorn.Server(config_of(settings, create_study_app(folder, model=model)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(20)
        sock.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = write_study(tmp_path_factory.mktemp("study"), images=120, layers=6, shown=3, strengths=(0.5, 1.0, 2.0))
    with serving(folder) as made:
        yield made


@pytest.fixture
def opened(browser, address: str) -> Iterator[Visit]:
    with visit(browser, address) as made:
        yield made


def names(made: Visit) -> list[str]:
    return [one.inner_text() for one in made.page.locator("table.list tbody th").all()]


def column(made: Visit, place: int) -> list[str]:
    return [one.inner_text() for one in made.page.locator(f"table.list tbody td:nth-of-type({place})").all()]


def choose(made: Visit, name: str, value: str) -> None:
    before = made.page.evaluate("location.hash")
    made.page.locator(f"#choose-{name}").select_option(value)
    made.page.wait_for_function("before => location.hash !== before", arg=before)
    settled(made)


def settled(made: Visit) -> None:
    """The page shows what its address says, and nothing is under way any more."""
    made.page.wait_for_function("() => document.documentElement.dataset.ready === location.hash")
    made.page.wait_for_selector("#list[aria-busy], .status.busy", state="detached")


def find(made: Visit, text: str) -> None:
    made.page.locator("#search").fill(text)
    made.page.locator("#search").press("Enter")
    made.page.wait_for_function("text => location.hash.includes('search=')", arg=text)
    settled(made)


def test_the_list_is_sorted_and_paged(opened: Visit) -> None:
    assert opened.text("#list-title") == "120 images"
    first = names(opened)
    assert len(first) == 50
    similar = [float(text.split()[0]) for text in column(opened, 4)]
    assert similar == sorted(similar)
    opened.page.get_by_role("button", name="Next").first.click()
    opened.page.wait_for_function("() => location.hash.includes('start=50')")
    settled(opened)
    assert not set(first) & set(names(opened))
    assert opened.text(".pager >> nth=0").startswith("51 to 100")
    opened.page.go_back()
    opened.page.wait_for_function("() => !location.hash.includes('start')")
    settled(opened)
    assert names(opened) == first


def test_filters_narrow_the_list(opened: Visit) -> None:
    choose(opened, "attack", "pgd")
    choose(opened, "strength", "2")
    choose(opened, "outcome", "fooled")
    assert set(column(opened, 3)) == {"fooled"}
    fooled = int(opened.text("#list-title").split()[0])
    assert 0 < fooled < 120
    mean = column(opened, 4)
    choose(opened, "layer", "blocks.2")
    assert column(opened, 4) != mean
    opened.page.locator("#reverse").check()
    opened.page.wait_for_function("() => location.hash.includes('reverse')")
    settled(opened)
    similar = [float(text.split()[0]) for text in column(opened, 4)]
    assert similar == sorted(similar, reverse=True)
    find(opened, "no such image")
    assert "No image meets these choices" in opened.text("#list")
    assert opened.page.locator("#choose-outcome").input_value() == "fooled", "choices are kept"


def test_an_image_is_opened_layer_by_layer(opened: Visit) -> None:
    find(opened, "animals/0001")
    opened.page.get_by_role("link", name="animals/0001.jpg").click()
    opened.page.wait_for_selector("#seen:not([hidden]) #stage canvas")
    assert opened.page.locator("#stage canvas").count() == 3
    drawn = {kind: opened.drawn(kind) for kind in ("clean", "attacked", "noise")}
    assert len(set(drawn.values())) == 3
    opened.page.locator("#layer").focus()
    opened.page.keyboard.press("Home")
    assert opened.text("#layer-name") == "stem, 1 of 6"
    assert opened.drawn("attacked") != drawn["attacked"]
    rows = opened.page.locator("#charts tbody tr")
    assert rows.count() == 6
    assert "chosen" in rows.nth(0).get_attribute("class")
    rows.nth(3).get_by_role("button").click()
    assert opened.text("#layer-name").endswith("4 of 6")
    shown = [cell.inner_text() for cell in rows.nth(3).locator("td.number").all()]
    for kind, value in zip(("attacked", "noise"), shown, strict=True):
        label = opened.page.locator(f"#stage canvas[data-kind={kind}]").get_attribute("aria-label")
        assert f"Cosine to the clean map: {value}." in label
    opened.page.locator("#back").click()
    opened.page.wait_for_selector("#list:not([hidden])")
    assert names(opened) == ["animals/0001.jpg"], "the list is as it was"


def test_an_image_without_maps_has_its_numbers_and_says_why(opened: Visit) -> None:
    find(opened, "animals/0077")
    opened.page.get_by_role("link", name="animals/0077.jpg").click()
    opened.page.wait_for_selector("#seen:not([hidden])")
    assert opened.page.locator("#layers-panel").is_hidden()
    assert "cannot be drawn anew" in opened.text("#anew")
    assert opened.page.locator("#charts tbody tr").count() == 6
    choose(opened, "strength", "2")
    assert "strength 2" in opened.text("#cards")


def test_names_of_files_are_text(opened: Visit) -> None:
    find(opened, "script")
    assert names(opened) == [HOSTILE]
    opened.page.locator("table.list tbody a").click()
    opened.page.wait_for_selector("#seen:not([hidden])")
    assert HOSTILE in opened.text("#study-side")
    opened.page.locator("#cam input").nth(1).check(force=True)
    opened.page.locator("#layer").focus()
    opened.page.keyboard.press("End")
    labels = [canvas.get_attribute("aria-label") for canvas in opened.page.locator("#stage canvas").all()]
    assert ["undefined: it has no positive value" in label for label in labels] == [True, True, False]
    assert "undefined: it is not finite" in labels[2]


def test_the_keyboard_alone_filters_and_opens(opened: Visit) -> None:
    press = opened.page.keyboard.press
    opened.page.locator("#choose-attack").focus()
    press("ArrowDown")
    opened.page.wait_for_function("() => location.hash.includes('attack=pgd')")
    settled(opened)
    assert opened.page.evaluate("document.activeElement.id") == "choose-attack", "the focus stays"
    for _ in range(20):
        press("Tab")
        if opened.page.evaluate("document.activeElement.matches('table.list a')"):
            break
    press("Enter")
    opened.page.wait_for_selector("#seen:not([hidden])")
    settled(opened)
    assert opened.page.evaluate("document.activeElement.id") == "content"


def test_a_wrong_address_is_told(browser, address: str) -> None:
    made = Visit(browser, f"{address}#image=9999")
    made.page.locator("#fatal").wait_for()
    assert "The study has images 0 to 119, got 9999" in made.text("#fatal")
    assert made.text("#status") == "", "nothing is under way any more"
    made.context.close()


@pytest.mark.parametrize(("width", "scheme"), [(375, "light"), (1280, "light"), (1280, "dark")])
def test_every_width_and_theme_is_usable(browser, address: str, width: int, scheme: str) -> None:
    with visit(browser, address, width=width, scheme=scheme) as made:
        assert made.too_wide() == []
        assert made.faults() == []
        made.page.goto(f"{address}#image=1")
        made.page.wait_for_selector("#seen:not([hidden]) #stage canvas")
        settled(made)
        assert made.too_wide() == []
        assert made.faults() == []


def test_a_scorecards_verdicts(browser, tmp_path: Path) -> None:
    with serving(write_scorecard(tmp_path / "scorecard")) as address, visit(browser, address) as made:
        choose(made, "judge", "stability")
        choose(made, "outcome", "missed")
        assert set(column(made, 2)) == {"fooled"}
        assert set(column(made, 3)) == {"clean"}
        assert made.faults() == []
        version = column(made, 1)[0]
        made.page.locator("table.list tbody a").first.click()
        made.page.wait_for_selector("#seen:not([hidden]) table.list")
        heads = [one.inner_text() for one in made.page.locator("#cards thead th").all()]
        assert heads == ["Version", "Model", "stability", "feature_squeezing", "confidence"]
        assert made.page.locator("#cards tbody tr").count() == 6
        assert made.page.locator("#cards tr.chosen th").inner_text() == version
        assert made.page.locator("#cards tr.chosen td").nth(1).inner_text().split() == ["clean", "0.50"]
        made.page.locator("#choose-learned").select_option("without fgsm")
        made.page.wait_for_selector("#cards th[title=confidence]", state="detached")
        assert made.page.locator("#layers-panel").is_hidden()
        assert made.too_wide() == []
        assert made.faults() == []


def test_maps_are_drawn_anew(browser, tmp_path: Path) -> None:
    model = make_network(tmp_path)
    settings = Deviation(
        images=make_images(tmp_path / "photos", 3),
        model=model,
        attack=("fgsm",),
        strengths=(1.0,),
        cams=("grad_cam", "layer_cam"),
        gallery=0,
        device="cpu",
    )
    with serving(settings.run(tmp_path / "study"), model) as address, visit(browser, address) as made:
        made.page.locator("table.list tbody a").first.click()
        made.page.locator("#draw").click()
        made.page.wait_for_selector("#stage canvas[data-kind=noise]")
        assert made.page.locator("#stage canvas").count() == 3
        assert "drawn anew" in made.text("#anew")
