"""The explorer in a real browser, over a gateway that really listens."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gazeshift.data import read_image
from gazeshift.pipeline import attack, compare, look
from gazeshift.serve.explorer.analysis import CAMS, AttackRequest
from gazeshift.serve.gateway.settings import ServeSettings
from helpers.gateways import Running, make_detector, png, running
from helpers.small_study import make_network
from helpers.visits import Visit, visit

pytestmark = pytest.mark.browser
TOKEN = "a-token-long-enough"  # noqa: S105


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explorer")
    make_detector(folder / "detector", make_network(folder))
    (folder / "random.png").write_bytes(png(3))
    (folder / "words.png").write_text("no image at all")
    (folder / "large.png").write_bytes(bytes(2**20 + 1))
    return folder


@pytest.fixture(scope="module")
def gateway(home: Path) -> Iterator[Running]:
    with running(ServeSettings(detector=home / "detector", max_body=1)) as made:
        yield made


@pytest.fixture(scope="module")
def address(gateway: Running) -> str:
    return f"http://127.0.0.1:{gateway.port}/"


@pytest.fixture
def opened(browser, address: str) -> Iterator[Visit]:
    with visit(browser, address) as made:
        yield made


def upload(opened: Visit, file: Path) -> None:
    opened.page.set_input_files("#file", file)
    opened.page.wait_for_selector("#cards .badge")


def attacked(opened: Visit) -> None:
    opened.page.locator("#run").click()
    opened.page.wait_for_selector("#clear:not([disabled])")


def slide(opened: Visit, name: str, value: int) -> None:
    opened.page.locator(f"#{name}").fill(str(value))


def test_an_uploaded_image_gets_the_models_answer_and_a_verdict(opened: Visit, gateway: Running, home: Path) -> None:
    upload(opened, home / "random.png")
    classifier = gateway.state.classifier
    image = read_image((home / "random.png").read_bytes(), classifier.preprocessing)[None]
    shares = classifier(image).softmax(1)[0]
    first = opened.page.locator("#cards .answers tr").first.inner_text()
    assert classifier.class_names[int(shares.argmax())] in first
    assert f"{100 * float(shares.max()):.1f}" in first
    assert opened.text("#cards .badge").strip() in {"No sign of an attack", "Looks like an attack"}
    assert "random.png" in opened.text("#cards h3 >> nth=0")
    assert "32 × 32" in opened.text("#cards")
    assert "the file has 40 × 32" in opened.text("#cards")
    status = opened.page.locator("#status")
    assert status.get_attribute("role") == "status"
    assert opened.text("#status").startswith("random.png: ")


def test_a_file_of_the_models_size_is_taken_as_it_is_when_the_box_is_ticked(opened: Visit, home: Path) -> None:
    (home / "own.png").write_bytes(png(4, width=32, height=32))
    opened.page.locator("#as-is").check()
    upload(opened, home / "own.png")
    opened.page.wait_for_selector("#seen:not([aria-busy])")
    opened.page.locator("#as-is").uncheck()
    opened.page.wait_for_selector("#seen:not([aria-busy])")
    asked = [url.rpartition("/")[2] for url in opened.asked if "explorer/see" in url]
    assert asked == ["see?pixels=as-is", "see"]


def test_a_sample_is_chosen_and_marked(opened: Visit) -> None:
    samples = opened.page.locator("#samples button")
    assert samples.count() == 20
    assert all(image.get_attribute("alt") for image in opened.page.locator("#samples img").all())
    samples.nth(4).click()
    opened.page.wait_for_selector("#cards .badge")
    assert [one.get_attribute("aria-pressed") for one in samples.all()].index("true") == 4


def test_an_image_can_be_dropped_and_pasted(opened: Visit) -> None:
    give = """([text, kind]) => {
        const bytes = Uint8Array.from(atob(text), one => one.charCodeAt(0));
        const file = new File([bytes], 'given.png', { type: 'image/png' });
        const given = new DataTransfer();
        given.items.add(file);
        const event = kind === 'drop' ? new DragEvent('drop', { bubbles: true, dataTransfer: given })
            : new ClipboardEvent('paste', { bubbles: true, clipboardData: given });
        document.body.dispatchEvent(event);
    }"""
    for kind, seed in (("drop", 5), ("paste", 6)):
        opened.page.evaluate(give, [base64.b64encode(png(seed)).decode(), kind])
        opened.page.wait_for_selector("#cards .badge")
        opened.page.wait_for_selector("#seen:not([aria-busy])")
    assert "given.png" in opened.text("#cards")


def test_the_slider_walks_through_the_layers_and_the_film_follows(opened: Visit, home: Path) -> None:
    upload(opened, home / "random.png")
    layer = opened.page.locator("#layer")
    layer.focus()
    opened.page.keyboard.press("Home")
    assert opened.text("#layer-name") == "first, 1 of 2"
    assert layer.get_attribute("aria-valuetext") == "first, 1 of 2"
    before = opened.drawn("clean")
    opened.page.keyboard.press("ArrowRight")
    assert opened.text("#layer-name") == "second, 2 of 2"
    assert opened.drawn("clean") != before
    assert opened.page.locator("#film button[aria-pressed=true]").get_attribute("data-at") == "1"
    opened.page.locator("#film button").nth(0).click()
    assert opened.text("#layer-name") == "first, 1 of 2"
    assert opened.drawn("clean") == before
    opened.page.keyboard.press("ArrowRight")
    assert opened.text("#layer-name") == "second, 2 of 2", "arrows walk along the film"
    assert opened.page.locator("#charts tr.chosen").first.get_attribute("data-layer") == "second"


def test_opacity_and_the_kind_of_map_change_what_is_drawn(opened: Visit, home: Path) -> None:
    upload(opened, home / "random.png")
    drawn = {}
    for place, name in enumerate(("Grad-CAM", "Grad-CAM++", "LayerCAM", "NoiseCAM")):
        opened.page.locator("#cam input").nth(place).check(force=True)
        assert opened.text("#map-note").startswith(f"{name}: ")
        drawn[name] = opened.drawn("clean")
    assert len(set(drawn.values())) >= 3
    slide(opened, "opacity", 0)
    assert opened.text("#opacity-name") == "0 %"
    bare = opened.drawn("clean")
    opened.page.locator("#cam input").nth(0).check(force=True)
    assert opened.drawn("clean") == bare, "without opacity every map shows the picture alone"


def test_maps_are_drawn_as_pictures_draw_them(opened: Visit, gateway: Running, home: Path) -> None:
    from gazeshift import pictures

    upload(opened, home / "random.png")
    opened.page.locator("#layer").focus()
    opened.page.keyboard.press("End")
    image = read_image((home / "random.png").read_bytes(), gateway.state.classifier.preprocessing)
    found = look(gateway.state.classifier, image[None]).maps("second")[0]
    large = pictures.photograph(image).resize((448, 448), Image.Resampling.NEAREST)
    wanted = pictures.overlay(np.asarray(large).transpose(2, 0, 1) / 255, found, opacity=0.6)
    made = np.asarray(Image.open(io.BytesIO(opened.drawn("clean"))).convert("RGB"))
    assert np.abs(made - np.asarray(wanted).astype(int)).mean() < 3


def test_an_attack_made_on_the_spot_is_compared(opened: Visit, gateway: Running, home: Path) -> None:
    upload(opened, home / "random.png")
    opened.page.get_by_label("FGSM").check()
    assert opened.page.locator("#steps").is_disabled()
    slide(opened, "epsilon", 9)
    assert opened.text("#epsilon-name") == "9/255"
    attacked(opened)
    assert opened.text("#cards h3 >> nth=1") == "Attacked: FGSM, 9/255"
    assert opened.page.locator("#stage canvas").count() == 2
    assert opened.drawn("clean") != opened.drawn("attacked")
    assert opened.page.locator("#stage img").get_attribute("alt") == "the perturbation at full contrast"
    classifier = gateway.state.classifier
    image = read_image((home / "random.png").read_bytes(), classifier.preprocessing)[None]
    found = attack(classifier, image, by=AttackRequest(name="fgsm", levels=9))
    assert found.linf.item() <= 9 / 255 + 1e-6
    moved = compare(look(classifier, image, cams=CAMS), look(classifier, found.images, cams=CAMS), measures="cosine")
    shown = [cell.inner_text() for cell in opened.page.locator("#charts figure >> nth=0 >> css=td.number").all()]
    assert shown == [f"{value:.2f}" for value in moved.table("cosine")[:, 0].tolist()]
    opened.page.locator("#clear").click()
    opened.page.wait_for_selector("#clear[disabled]")
    assert opened.page.locator("#stage canvas").count() == 1


def test_an_attack_of_size_nought_changes_nothing_and_says_so(opened: Visit, home: Path) -> None:
    upload(opened, home / "random.png")
    slide(opened, "epsilon", 0)
    attacked(opened)
    assert "A size of 0 changes nothing" in opened.text("#cards")
    numbers = [cell.inner_text() for cell in opened.page.locator("#charts figure >> nth=0 >> css=td.number").all()]
    assert numbers == ["1.00", "1.00"]


def saved(opened: Visit, button: str) -> bytes:
    with opened.page.expect_download() as waiting:
        opened.page.locator(button).click()
    return Path(waiting.value.path()).read_bytes()


def test_the_evidence_is_saved_as_a_page_numbers_and_a_picture(
    browser, opened: Visit, home: Path, tmp_path: Path
) -> None:
    upload(opened, home / "random.png")
    attacked(opened)
    told = json.loads(saved(opened, "#save-json"))
    assert told["image"] == "random.png"
    assert told["attack"]["name"] == "pgd"
    assert told["layers"] == ["first", "second"]
    made = Image.open(io.BytesIO(saved(opened, "#save-png")))
    seen = Image.open(io.BytesIO(base64.b64decode(told["before"]["picture"].partition(",")[2])))
    assert 0 < np.abs(np.asarray(made).astype(int) - np.asarray(seen).astype(int)).max() <= 4
    (tmp_path / "report.html").write_bytes(saved(opened, "#save-html"))
    report = Visit(browser, (tmp_path / "report.html").as_uri())
    report.ready()
    text = report.text("body")
    for side in ("before", "after"):
        assert f"Its suspicion is {told[side]['verdict']['suspicion']:.2f}" in text
    assert told["sha256"] in text
    assert report.page.locator("#answers table").count() == 2
    assert report.page.locator("#answers tbody th").first.inner_text() == told["before"]["answers"][0]["name"]
    assert report.faults() == []
    assert report.said == []
    assert [url for url in report.asked if not url.startswith(("file:", "data:", "blob:"))] == []
    report.context.close()


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("words.png", "The image must be one of JPEG, PNG, WEBP, BMP, GIF"),
        ("large.png", "The file large.png has 1 MiB, and at most 1 MiB are taken."),
    ],
)
def test_a_refusal_is_one_sentence_where_it_belongs(browser, address: str, home: Path, file: str, words: str) -> None:
    made = Visit(browser, address).ready()
    made.page.set_input_files("#file", home / file)
    problem = made.page.locator("#problem")
    problem.wait_for()
    assert problem.get_attribute("role") == "alert"
    assert words in problem.inner_text()
    assert made.page.locator("#intro").is_visible()
    assert [said for said in made.said if "422" not in said] == []
    upload(made, home / "random.png")
    assert problem.is_hidden()
    made.context.close()


def test_a_refusal_comes_into_view(browser, address: str, home: Path) -> None:
    made = Visit(browser, address, width=375).ready()
    upload(made, home / "random.png")
    made.page.evaluate("scrollTo(0, document.body.scrollHeight)")
    made.page.set_input_files("#file", home / "words.png")
    made.page.locator("#problem").wait_for()
    box = made.page.locator("#problem").bounding_box()
    assert 0 <= box["y"] < 900
    made.context.close()


def test_a_server_that_is_gone_is_told(browser, home: Path) -> None:
    with running(ServeSettings(detector=home / "detector")) as gone:
        made = Visit(browser, f"http://127.0.0.1:{gone.port}/").ready()
    made.page.set_input_files("#file", home / "random.png")
    made.page.locator("#problem").wait_for()
    assert made.text("#problem") == "The server does not answer. Is it still running?"
    made.context.close()


def test_a_token_is_asked_for_once(browser, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAZESHIFT_TOKEN", TOKEN)
    with running(ServeSettings(detector=home / "detector")) as guarded:
        made = Visit(browser, f"http://127.0.0.1:{guarded.port}/")
        made.page.locator("#token-value").fill(TOKEN)
        made.page.keyboard.press("Enter")
        made.ready()
        upload(made, home / "random.png")
        attacked(made)
        assert made.page.locator("#token").is_hidden()
        made.page.reload()
        made.ready()
        wrong = Visit(browser, f"http://127.0.0.1:{guarded.port}/")
        wrong.page.locator("#token-value").fill("not-the-token-at-all")
        wrong.page.keyboard.press("Enter")
        wrong.page.locator("#fatal").wait_for()
        assert wrong.text("#fatal") == "That is not this server’s token. Reload the page and type it again."
        for one in (made, wrong):
            one.context.close()


def test_everything_can_be_done_with_the_keyboard(opened: Visit) -> None:
    press = opened.page.keyboard.press

    def focused() -> str:
        return opened.page.evaluate("document.activeElement.id || document.activeElement.dataset.sample || ''")

    def walk(wanted: str, most: int = 12, key: str = "Tab") -> None:
        for _ in range(most):
            press(key)
            if focused() == wanted or opened.page.evaluate("document.activeElement.name") == wanted:
                return
        raise AssertionError(f"{wanted} is not reached with {key}; the focus is on {focused()}")

    walk("file")
    outline = "getComputedStyle(document.getElementById('drop')).outlineStyle"
    assert opened.page.evaluate(outline) == "solid"
    walk("as-is")
    press("Tab")
    first = focused()
    press("ArrowRight")
    assert focused() not in {"", first}
    press("Enter")
    opened.page.wait_for_selector("#cards .badge")
    walk("attack")
    press("ArrowLeft")
    assert opened.page.evaluate("document.activeElement.value") == "fgsm"
    walk("epsilon")
    press("ArrowRight")
    assert opened.text("#epsilon-name") == "5/255"
    walk("run")
    press("Enter")
    opened.page.wait_for_selector("#clear:not([disabled])")
    walk("layer")
    press("Home")
    assert opened.text("#layer-name").startswith("first")
    walk("opacity")
    walk("cam")
    press("ArrowRight")
    assert opened.text("#map-note").startswith("Grad-CAM++")
    walk("save-html", most=40)
    assert opened.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.mark.parametrize("width", [375, 768, 1280])
def test_no_width_scrolls_sideways(browser, address: str, home: Path, width: int) -> None:
    with visit(browser, address, width=width) as made:
        assert made.too_wide() == []
        upload(made, home / "random.png")
        assert made.too_wide() == []
        attacked(made)
        assert made.too_wide() == []
        boxes = [canvas.bounding_box() for canvas in made.page.locator("#stage canvas").all()]
        assert abs(boxes[0]["y"] - boxes[1]["y"]) < 1, "clean and attacked are side by side"


def brightness(made: Visit) -> float:
    colour = made.page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]) / 3


def test_the_theme_follows_the_system_until_one_is_chosen(browser, address: str) -> None:
    with visit(browser, address, scheme="dark") as made:
        assert brightness(made) < 60
        made.page.emulate_media(color_scheme="light")
        assert brightness(made) > 200
        made.page.locator("#theme").select_option("dark")
        assert brightness(made) < 60
        made.page.reload()
        made.ready()
        assert brightness(made) < 60, "the choice is remembered"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, address: str, home: Path, scheme: str) -> None:
    with visit(browser, address, scheme=scheme) as made:
        assert made.faults() == []
        upload(made, home / "random.png")
        attacked(made)
        assert made.faults() == []
    refused = Visit(browser, address, scheme=scheme).ready()
    refused.page.set_input_files("#file", home / "words.png")
    refused.page.locator("#problem").wait_for()
    assert refused.faults() == []
    refused.context.close()


def test_the_page_may_ask_nobody_else(browser, address: str) -> None:
    made = Visit(browser, address).ready()
    made.page.evaluate("fetch('https://example.org/').catch(() => {})")
    made.page.evaluate("new Image().src = 'https://example.org/x.png'")
    made.page.wait_for_timeout(300)
    assert sum("Content Security Policy" in said for said in made.said) >= 2
    made.context.close()


@pytest.mark.slow
def test_a_real_classifier_with_the_detector_that_ships(browser) -> None:
    with running(ServeSettings(timeout=600)) as real, visit(browser, f"http://127.0.0.1:{real.port}/") as made:
        made.page.set_default_timeout(300_000)
        made.page.locator("#samples button[title=drum]").click()
        made.page.wait_for_selector("#cards .badge")
        assert "drum" in made.page.locator("#cards .answers tr").first.inner_text()
        attacked(made)
        assert "The answer switched." in made.text("#cards")
        assert made.page.locator("#cards .badge").nth(1).inner_text() == "Looks like an attack"
        assert made.page.locator("#film button").count() == 18
        own = made.drawn("attacked")
        made.page.get_by_label("Clean image’s").check()
        assert made.drawn("attacked") != own, "the class of the clean image is explained in both"
        assert made.too_wide() == []
        assert made.faults() == []
