"""What the explorer says of one image: the figures of look(), attack(), compare() and judge(), and its own limits."""

import base64
import io
import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from gazeshift.data import read_image
from gazeshift.errors import BoundsError, UnknownNameError
from gazeshift.models import Classifier
from gazeshift.pipeline import attack, compare, judge, look
from gazeshift.seeds import generator_for
from gazeshift.serve.explorer import routes
from gazeshift.serve.explorer.analysis import CAMS, AttackRequest, analyse
from gazeshift.serve.explorer.serialize import analysis_json, map_json
from gazeshift.serve.gateway.settings import ServeSettings
from helpers.gateways import Running, make_detector, png, refused, running, until
from helpers.small_study import make_network

RAW = "application/octet-stream"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("explorer")
    make_detector(home / "detector", make_network(home))
    with running(ServeSettings(detector=home / "detector", max_body=1)) as made:
        yield made


def image_of(gateway: Running, seed: int) -> torch.Tensor:
    return read_image(png(seed), gateway.state.classifier.preprocessing)


def ask(gateway: Running, query: str = "", seed: int = 1, path: str = "see"):
    return gateway.ask(f"/explorer/{path}{query}", png(seed), Content_Type=RAW)


def test_the_answers_are_those_of_the_pipeline(gateway: Running) -> None:
    classifier, deployed = gateway.state.classifier, gateway.state.deployed
    said, image = ask(gateway, "?seed=7").json, image_of(gateway, 1)[None]
    found = look(classifier, image, cams=CAMS)
    assert said["layers"] == list(found.layers)
    assert [answer["class"] for answer in said["before"]["answers"]] == found.logits[0].argsort(
        descending=True
    ).tolist()
    verdict = judge(classifier, image, deployed, generator=[generator_for(7, "views")])
    assert said["before"]["verdict"]["suspicion"] == pytest.approx(float(verdict.suspicion), rel=1e-4)
    for cam in CAMS:
        for place, layer in enumerate(found.layers):
            drawn, raw = said["before"]["maps"]["predicted"][cam][place], found.maps(layer, cam)[0].clamp_min(0)
            assert (drawn["height"], drawn["width"]) == tuple(raw.shape)
            if float(raw.max()) > 0:
                values = np.frombuffer(base64.b64decode(drawn["values"]), np.uint8).reshape(raw.shape)
                assert np.abs(values - (raw / raw.max() * 255).numpy()).max() <= 0.51
                assert drawn["max"] == pytest.approx(float(raw.max()), rel=1e-4)
            else:
                assert drawn["values"] is None


def test_the_parts_of_a_verdict_add_up_to_the_suspicion(gateway: Running) -> None:
    verdict = ask(gateway).json["before"]["verdict"]
    for part in ("layers", "views"):
        assert sum(verdict["reasons"][part].values()) == pytest.approx(verdict["suspicion"], abs=1e-4)


@pytest.mark.parametrize(("name", "levels"), [("fgsm", 1), ("fgsm", 16), ("pgd", 3)])
def test_the_attacked_image_is_a_file_within_epsilon_and_judged_as_such(
    gateway: Running, name: str, levels: int
) -> None:
    said = ask(gateway, f"?attack={name}&epsilon={levels}&steps=4&seed=5").json
    before, after = (_pixels(said[side]["picture"]) for side in ("before", "after"))
    change = np.abs(after.astype(int) - before.astype(int))
    assert 0 < change.max() <= levels
    assert said["attack"]["linf"] == pytest.approx(change.max(), abs=1e-3)
    classifier = gateway.state.classifier
    images = torch.from_numpy(np.stack([before, after]).transpose(0, 3, 1, 2)).float() / 255
    logits = classifier(images)
    for place, side in enumerate(("before", "after")):
        assert said[side]["answers"][0]["class"] == int(logits[place].argmax())
        found = judge(
            classifier, images[place : place + 1], gateway.state.deployed, generator=[generator_for(5, "views")]
        )
        verdict = said[side]["verdict"]
        assert verdict["suspicion"] == pytest.approx(float(found.suspicion), rel=1e-3, abs=1e-3)
        assert verdict["p_value"] == pytest.approx(float(found.p_value), rel=1e-3)
        assert verdict["is_attack"] == bool(found.is_attack)
        parts = [part for view in verdict["parts"].values() for part in view.values()]
        assert sum(parts) == pytest.approx(verdict["suspicion"], abs=1e-3)
    assert said["attack"]["l2"] == pytest.approx(np.linalg.norm(change / 255), rel=1e-3)
    assert said["attack"]["psnr"] == pytest.approx(-10 * np.log10(((change / 255) ** 2).mean()), rel=1e-3)
    assert said["attack"]["changed"] == pytest.approx((change != 0).any(2).mean(), abs=1e-3)
    assert said["attack"]["success"] == bool(logits[0].argmax() != logits[1].argmax())
    moved = compare(*(look(classifier, images[at : at + 1], cams=CAMS) for at in (0, 1)), measures="cosine")
    shown = [said["moved"]["predicted"][cam] for cam in CAMS]
    for cam, values in zip(CAMS, shown, strict=True):
        wanted = [
            None if int(moved.blank[layer, cam]) else float(moved.values[layer, cam]["cosine"])
            for layer in said["layers"]
        ]
        assert values == pytest.approx(wanted, abs=1e-4)


def _pixels(address: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


class Redder(torch.nn.Module):
    """Says whether an image is redder than green, or greener than red."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 2, 1)
        self.conv.weight.data = torch.tensor([[1.0, -1, 0], [-1, 1, 0]])[:, :, None, None]
        self.conv.bias.data.fill_(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(images)).mean((2, 3))


def test_a_switched_class_brings_maps_of_the_clean_class_too() -> None:
    image = torch.full((3, 16, 16), 0.5)
    image[0] += torch.rand((16, 16), generator=generator_for(0, "image")) / 50
    for levels, targets in ((0, ["predicted"]), (8, ["predicted", "reference"])):
        seen = analyse(
            Classifier(Redder(), name="redder"),
            None,
            image,
            seed=0,
            attack_request=AttackRequest(name="pgd", levels=levels),
        )
        assert list(seen.targets) == targets
        assert list(analysis_json(seen)["moved"]) == targets
        assert seen.targets.get("reference", seen.evidence).explained.tolist() == [0, 0]
    assert seen.evidence.explained.tolist() == [0, 1]


def test_a_detector_is_not_needed(gateway: Running) -> None:
    seen = analysis_json(analyse(gateway.state.classifier, None, image_of(gateway, 1), seed=0))
    assert seen["before"]["verdict"] is None


def test_the_same_seed_tells_the_same(gateway: Running) -> None:
    one, again, other = (ask(gateway, f"?attack=pgd&seed={seed}").body for seed in (3, 3, 4))
    assert one == again != other
    first, second = (ask(gateway).json for _ in range(2))
    assert first["seed"] != second["seed"], "without a seed nobody foresees the views"


def test_the_report_says_the_same_figures(gateway: Running) -> None:
    query = "?attack=fgsm&epsilon=8&seed=11"
    said = ask(gateway, query).json
    answer = ask(gateway, f"{query}&title=<script>alert(1)</script>", path="report")
    text = answer.body.decode()
    assert answer.headers["content-disposition"].startswith("attachment")
    for side in ("before", "after"):
        verdict, where = said[side]["verdict"], {True: "above", False: "not above"}
        assert f"suspicion is {verdict['suspicion']:.2f}, {where[verdict['is_attack']]} the threshold" in text
    assert ("switched" if said["attack"]["success"] else "did not switch") + " the answer" in text
    assert ("did not switch the answer" in text) != said["attack"]["success"]
    assert "<script>alert(1)" not in text
    assert said["sha256"] in text
    assert "/explorer/report?attack=fgsm&amp;epsilon=8&amp;steps=10&amp;seed=11" in text
    assert "unknown time" not in text
    assert "module:tiny_network.py:tiny" in text
    assert gateway.state.classifier.name.split(":")[1].rpartition("/")[0] not in text, "no path of this machine"
    assert not re.search(r'(src|href)="https?:', text)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?attack=pgd&epsilon=17", "epsilon must be from 0 to 16/255, got 17"),
        ("?attack=pgd&epsilon=-1", "epsilon must be from 0 to 16/255, got -1"),
        ("?attack=pgd&steps=41", "steps must be from 1 to 40, got 41"),
        ("?attack=pgd&steps=0", "steps must be from 1 to 40, got 0"),
        ("?attack=cw", "the explorer has no attack 'cw'"),
        ("?attack=pgd&epsilon=two", "epsilon"),
        ("?seed=-1", "seed"),
        ("?seed=99999999999999999999", "seed"),
    ],
)
def test_what_cannot_be_asked_is_told_in_one_sentence(gateway: Running, query: str, words: str) -> None:
    answer = ask(gateway, query)
    assert answer.status == 422
    assert answer.code
    assert words in answer.json["error"]["message"]


def test_attack_requests_have_bounds() -> None:
    with pytest.raises(BoundsError, match="0 to 16/255"):
        AttackRequest(levels=17)
    with pytest.raises(BoundsError, match="1 to 40"):
        AttackRequest(steps=99)
    with pytest.raises(UnknownNameError, match="fgsm, pgd"):
        AttackRequest(name="dlfuzz")


def test_an_attack_too_many_is_refused_while_the_others_run_and_looking_is_not(gateway: Running) -> None:
    go = threading.Event()
    gateway.state.batch_queue.run(go.wait, 30)
    with ThreadPoolExecutor(routes.MAX_ATTACKS + 1) as pool:
        waiting = [pool.submit(ask, gateway, "?attack=pgd&steps=1", seed) for seed in range(routes.MAX_ATTACKS)]
        until(lambda: gateway.state.waiting == routes.MAX_ATTACKS)
        for path in ("see", "report"):
            assert refused(ask(gateway, "?attack=pgd", path=path), 503, "busy")
        looking = pool.submit(ask, gateway)
        until(lambda: gateway.state.waiting == routes.MAX_ATTACKS + 1)
        go.set()
        assert [one.result(60).status for one in (*waiting, looking)] == [200] * (routes.MAX_ATTACKS + 1)


def test_only_a_few_attacks_wait_at_a_time(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "MAX_ATTACKS", 1)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda seed: ask(gateway, "?attack=pgd&steps=40", seed), range(6)))
    statuses = {answer.status for answer in answers}
    assert statuses <= {200, 503}
    assert 200 in statuses
    for full in (answer for answer in answers if answer.status == 503):
        assert int(full.headers["retry-after"]) >= 1
    assert ask(gateway, "?attack=pgd").status == 200, "a place is given back"


def test_tries_are_neither_counted_nor_logged_as_verdicts(gateway: Running) -> None:
    before = gateway.metric("gazeshift_verdicts_total")
    assert ask(gateway, "?attack=pgd").status == 200
    assert gateway.metric("gazeshift_verdicts_total") == before


def test_the_page_and_its_parts(gateway: Running) -> None:
    home = gateway.ask("/")
    text = home.body.decode()
    policy = home.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert 'data-mode="live"' in text
    for name in re.findall(r'(?:src|href)="(page/[^"]+)"', text):
        part = gateway.ask(f"/{name}")
        assert part.status == 200
        assert part.headers["content-type"].startswith(("text/javascript", "text/css"))
        for other in re.findall(r'from "\./([\w.]+)"', part.body.decode()):
            assert gateway.ask(f"/page/{other}").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/page/../app.py",
        "/page/..%2fapp.py",
        "/page/%2e%2e/app.py",
        "/page/index.html",
        "/page/assets.py",
        "/page//etc/passwd",
        "/page/%2fetc%2fpasswd",
        "/page/x.js%00",
        "/explorer/samples/../../app.py",
        "/explorer/samples/%2fetc%2fpasswd",
        "/explorer/samples/none.jpg",
    ],
)
def test_no_path_of_a_request_reaches_the_disk(gateway: Running, path: str) -> None:
    answer = gateway.ask(path)
    assert answer.status == 404
    assert answer.code == "not_found"


def test_samples(gateway: Running) -> None:
    start = gateway.ask("/explorer/start").json
    assert len(start["samples"]) == 20
    first = start["samples"][0]
    assert first["picture"].startswith("data:image/webp;base64,")
    whole = gateway.ask(f"/explorer/samples/{first['name']}")
    assert whole.status == 200
    assert gateway.ask("/explorer/see", whole.body, Content_Type="image/jpeg").status == 200


@pytest.mark.parametrize("cut", [0, 1, 20, 60, 200])
def test_damaged_images_are_refused_like_anywhere(gateway: Running, cut: int) -> None:
    for path in ("see", "report"):
        answer = gateway.ask(f"/explorer/{path}?attack=pgd", png(1)[:cut], Content_Type=RAW)
        assert answer.status == 422
        assert answer.code == "bad_image"


def test_too_large_a_body_is_refused(gateway: Running) -> None:
    assert gateway.ask("/explorer/see", bytes(2**20 + 1), Content_Type=RAW).code == "too_large"


def test_maps_that_are_not_defined_say_why() -> None:
    blank, nowhere = map_json(-np.ones((2, 3))), map_json(np.full((2, 3), np.nan))
    assert blank == {"height": 2, "width": 3, "values": None, "why": "it has no positive value"}
    assert nowhere["why"] == "it is not finite, or not defined at this layer"
    assert map_json(np.array([[1.0, np.inf]]))["why"] == "it is not finite"
    drawn = map_json(np.array([[-1.0, 1.0], [2.0, 4.0]]))
    assert list(base64.b64decode(drawn["values"])) == [0, 64, 128, 255]
    assert drawn["max"] == 4


def test_everything_told_is_json_even_if_the_detector_is_at_a_loss(gateway: Running) -> None:
    image = image_of(gateway, 2)
    seen = analyse(gateway.state.classifier, gateway.state.deployed, image, seed=1)
    lost = replace(seen, verdict=replace(seen.verdict, suspicion=torch.tensor([float("nan")])))
    text = json.dumps(analysis_json(lost), allow_nan=False)
    assert json.loads(text)["before"]["verdict"]["suspicion"] is None


def test_an_attack_by_an_attack_request_stays_in_range(gateway: Running) -> None:
    image = torch.cat([torch.zeros(1, 3, 32, 16), torch.ones(1, 3, 32, 16)], 3)
    found = attack(gateway.state.classifier, image, by=AttackRequest(name="pgd", levels=16))
    assert float(found.images.min()) >= 0
    assert float(found.images.max()) <= 1
    assert torch.equal((found.images * 255).round() / 255, found.images)
