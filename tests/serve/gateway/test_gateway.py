"""The gateway's answers, over real HTTP: what they say is what judge() and look() say."""

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gazeshift.data import read_image
from gazeshift.models import Preprocessing
from gazeshift.pipeline import look
from gazeshift.serve.gateway._metrics import Metrics, chance_of
from gazeshift.serve.gateway.intake import Intake
from gazeshift.serve.gateway.settings import ServeSettings
from helpers.gateways import SIDE, Running, form, make_detector, png, running
from helpers.small_study import make_network


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gateway")
    model = make_network(folder)
    make_detector(folder / "detector", model)
    make_detector(folder / "alarming", model, threshold=-100.0)
    return folder


def settings(home: Path, **more: object) -> ServeSettings:
    return ServeSettings(**{"detector": home / "detector", **more})


@pytest.fixture(scope="module")
def gateway(home: Path) -> Iterator[Running]:
    with running(settings(home, log=home / "log" / "verdicts.jsonl")) as made:
        yield made


def test_a_verdict_has_the_classifiers_class_and_its_parts_add_up(gateway: Running) -> None:
    answer = gateway.judge(png(1))
    said = answer.json
    assert answer.status == 200
    image = read_image(png(1), gateway.state.classifier.preprocessing)[None]
    shares = gateway.state.classifier(image).softmax(1)[0]
    assert said["class"] == int(shares.argmax())
    assert said["name"] == gateway.state.classifier.class_names[said["class"]]
    assert said["confidence"] == pytest.approx(float(shares.max()), abs=1e-5)
    assert said["suspicion"] == pytest.approx(sum(said["reasons"]["layers"].values()), abs=1e-4)
    assert said["suspicion"] == pytest.approx(sum(said["reasons"]["views"].values()), abs=1e-4)
    assert said["threshold"] == pytest.approx(gateway.state.deployed.threshold, abs=1e-5)
    assert 0 < said["p_value"] <= 1
    assert said["is_attack"] == (said["suspicion"] > said["threshold"])
    assert said["verdict"] == answer.headers["x-gazeshift-verdict"] == ("attack" if said["is_attack"] else "clean")
    assert said["resized_from"] == [40, 32]
    assert said["sha256"] == hashlib.sha256(png(1)).hexdigest()
    assert "maps" not in said


def test_a_file_of_the_models_size_that_is_resized_and_cropped_back_says_so() -> None:
    encoded = png(width=32, height=32)
    for resize, from_ in ((40, [32, 32]), (32, None), (None, None)):
        intake = Intake(ServeSettings(), Preprocessing(resize=resize, crop=32))
        assert intake.decode(encoded).resized_from == from_


def test_an_image_of_the_models_size_is_taken_as_it_is_and_no_other(gateway: Running) -> None:
    encoded, classifier = png(6, width=SIDE, height=SIDE), gateway.state.classifier
    shares = classifier(read_image(encoded)[None]).softmax(1)[0]
    for path in ("/v1/judge?pixels=as-is", "/v1/look?pixels=as-is", "/explorer/see?pixels=as-is"):
        answer = gateway.ask(path, encoded, Content_Type="image/png")
        assert (answer.status, answer.json["resized_from"]) == (200, None)
        other = gateway.ask(path, png(6), Content_Type="image/png")
        assert (other.status, other.code) == (422, "bad_image")
        assert other.json["error"]["message"].startswith(
            "the image is 40 x 32 pixels, and as-is takes the model's 32 x 32"
        )
        wrong = gateway.ask(path.replace("as-is", "raw"), encoded, Content_Type="image/png")
        assert (wrong.status, wrong.code) == (422, "unprocessable")
        assert "'fit' or 'as-is'" in wrong.json["error"]["message"]
    assert gateway.judge(encoded, "?pixels=as-is").json["confidence"] == pytest.approx(float(shares.max()), abs=1e-5)
    assert gateway.judge(png(6), "?pixels=fit").json["resized_from"] == [40, 32]
    page = gateway.ask("/explorer/report?seed=1&pixels=as-is", encoded, Content_Type="image/png").body.decode()
    assert "/explorer/report?seed=1&amp;pixels=as-is" in page or "report?seed=1&pixels=as-is" in page


def test_an_image_as_it_is_keeps_every_pixel_whatever_the_model_does_with_files() -> None:
    encoded = png(7, width=32, height=32)
    picture = Intake(ServeSettings(), Preprocessing(resize=40, crop=32)).decode(encoded, "as-is")
    assert torch.equal(picture.image, read_image(encoded))
    assert (picture.resized_from, picture.pixels) == (None, "as-is")


def test_what_can_be_asked_of_pixels_is_documented(gateway: Running) -> None:
    paths = gateway.ask("/openapi.json").json["paths"]
    for path in ("/v1/judge", "/v1/look"):
        (pixels,) = [one for one in paths[path]["post"]["parameters"] if one["name"] == "pixels"]
        assert pixels["schema"]["enum"] == ["fit", "as-is"]
        assert pixels["schema"]["default"] == "fit"
    assert "fit or as-is, fit if not given" in gateway.ask("/docs").body.decode()


def test_a_form_and_raw_bytes_are_the_same_image(gateway: Running) -> None:
    body, kind = form(png(2))
    answers = [
        gateway.ask("/v1/judge", body, Content_Type=kind),
        gateway.ask("/v1/judge", body.replace(b"cut-here", b"a b"), Content_Type='multipart/form-data; boundary="a b"'),
        gateway.judge(png(2)),
        gateway.ask("/v1/judge", png(2), Content_Type="application/octet-stream"),
        gateway.ask("/v1/judge", iter([png(2)[:100], png(2)[100:]]), Content_Type="image/png"),  # chunked
    ]
    assert [answer.status for answer in answers] == [200] * 5
    assert len({answer.json["sha256"] for answer in answers}) == 1
    assert len({answer.json["confidence"] for answer in answers}) == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
def test_formats(gateway: Running, kind: str) -> None:
    assert gateway.judge(png(3, form=kind)).status == 200


def test_maps_are_those_of_look(gateway: Running) -> None:
    said = gateway.judge(png(4), "?maps=second").json["maps"]
    image = read_image(png(4), gateway.state.classifier.preprocessing)[None]
    wanted = look(gateway.state.classifier, image, layers=["second"]).maps("second")[0]
    assert list(said) == ["second"]
    assert (said["second"]["height"], said["second"]["width"], said["second"]["cam"]) == (16, 16, "grad_cam")
    np.testing.assert_allclose(said["second"]["values"], wanted.numpy(), rtol=1e-4, atol=1e-9)
    picture = Image.open(io.BytesIO(base64.b64decode(said["second"]["png"])))
    assert picture.size == (SIDE, SIDE)
    assert list(gateway.judge(png(4), "?maps=all").json["maps"]) == ["first", "second"]


def test_look_gives_every_cam_of_every_layer(gateway: Running) -> None:
    said = gateway.ask("/v1/look?cams=grad_cam,noise_cam&layers=convs", png(5), Content_Type="image/png").json
    image = read_image(png(5), gateway.state.classifier.preprocessing)[None]
    wanted = look(gateway.state.classifier, image, layers="convs", cams=["grad_cam", "noise_cam"])
    assert said["layers"] == list(wanted.layers)
    assert [one["class"] for one in said["top"]] == wanted.logits[0].argsort(descending=True).tolist()
    assert sum(one["confidence"] for one in said["top"]) == pytest.approx(1, abs=1e-4)
    for layer in wanted.layers:
        for cam in ("grad_cam", "noise_cam"):
            found = said["maps"][layer][cam]["values"]
            np.testing.assert_allclose(found, wanted.maps(layer, cam)[0].numpy(), rtol=1e-4, atol=1e-9)


def test_a_map_that_a_cam_does_not_define_is_null(gateway: Running) -> None:
    found = gateway.ask("/v1/look?cams=cam&layers=first", png(5), Content_Type="image/png").json["maps"]["first"]["cam"]
    assert found["png"] is None
    assert {value for row in found["values"] for value in row} == {None}


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/v1/judge?maps=nowhere", "nowhere"),
        ("/v1/look?layers=nowhere", "nowhere"),
        ("/v1/look?cams=grad_kam", "grad_kam"),
    ],
)
def test_unknown_names_are_told(gateway: Running, path: str, named: str) -> None:
    answer = gateway.ask(path, png(), Content_Type="image/png")
    assert (answer.status, answer.code) == (422, "unknown_name")
    assert named in answer.json["error"]["message"]


def test_the_model_is_described_without_a_path(gateway: Running, home: Path) -> None:
    answer = gateway.ask("/v1/model")
    assert answer.json["model"]["name"] == "module:tiny_network.py:tiny"
    assert answer.json["model"]["weights_sha256"] == gateway.state.classifier.weights_sha256
    assert [layer["name"] for layer in answer.json["layers"]] == ["first", "second"]
    assert answer.json["detector"]["calibrated_on"] == 24
    everything = answer.body + gateway.judge(png()).body + gateway.ask("/v1/look", png(), Content_Type="image/png").body
    assert str(home).encode() not in everything


def test_what_operators_ask(gateway: Running) -> None:
    assert gateway.ask("/healthz").json == gateway.ask("/readyz").json == {"status": "ok"}
    shown = gateway.ask("/docs")
    assert shown.status == 200
    assert b"/v1/judge" in shown.body
    assert b"<script" not in shown.body
    assert "/v1/look" in gateway.ask("/openapi.json").json["paths"]


def test_requests_that_arrive_together_are_judged_together(gateway: Running) -> None:
    alone = [gateway.judge(png(seed)).json["confidence"] for seed in range(12)]
    batches, images = (gateway.metric(f"gazeshift_batch_size_{what}") for what in ("count", "sum"))
    with ThreadPoolExecutor(12) as clients:
        together = list(clients.map(lambda seed: gateway.judge(png(seed)).json["confidence"], range(12)))
    assert together == pytest.approx(alone, abs=1e-5)
    assert gateway.metric("gazeshift_batch_size_sum") - images == 12
    assert gateway.metric("gazeshift_batch_size_count") - batches < 12


def test_every_verdict_is_on_record_without_the_image(gateway: Running, home: Path) -> None:
    said = gateway.judge(png(6)).json
    lines = [json.loads(line) for line in (home / "log" / "verdicts.jsonl").read_text().splitlines()]
    assert lines[-1]["sha256"] == said["sha256"]
    assert lines[-1]["suspicion"] == said["suspicion"]
    assert lines[-1]["policy"] == "flag"
    assert {"time", "request", "bytes"} <= set(lines[-1])
    assert "maps" not in lines[-1]
    assert [file.name for file in (home / "log").iterdir()] == ["verdicts.jsonl"]


def test_an_attack_is_flagged_or_blocked(home: Path) -> None:
    with running(settings(home, detector=home / "alarming")) as gateway:
        answer = gateway.judge(png())
        assert (answer.status, answer.headers["x-gazeshift-verdict"]) == (200, "attack")
        assert answer.json["is_attack"]
        assert "adversarial" in answer.json["warning"]
    with running(settings(home, detector=home / "alarming", policy="block", keep_images=home / "kept")) as gateway:
        answer = gateway.judge(png(), "?maps=first")
        assert (answer.status, answer.code) == (403, "blocked")
        assert answer.headers["x-gazeshift-verdict"] == "attack"
        assert answer.json["error"]["details"]["verdict"] == "attack"
        assert "first" in answer.json["error"]["details"]["maps"]
        kept = home / "kept" / f"{hashlib.sha256(png()).hexdigest()}.png"
        assert kept.read_bytes() == png()
        assert gateway.metric("gazeshift_verdicts_total") == 1


def test_metrics_count_and_notice_drift(home: Path) -> None:
    with running(settings(home, detector=home / "alarming")) as gateway:
        assert gateway.metric("gazeshift_drift_p_value") == 1
        for seed in range(3):
            gateway.judge(png(seed))
        assert gateway.metric("gazeshift_recent_judged") == gateway.metric("gazeshift_recent_flagged") == 3
        assert gateway.metric("gazeshift_drift_p_value") == pytest.approx(0.05**3)
        assert gateway.metric("gazeshift_request_seconds_count") >= 3
        assert gateway.metric("gazeshift_queue") == 0


def test_drift_is_the_binomial_tail_over_the_recent_verdicts() -> None:
    from scipy.stats import binomtest

    metrics = Metrics(0.05, recent=20)
    metrics.judgements([True] * 30 + [False] * 17 + [True] * 3)
    found = metrics.registry.get_sample_value("gazeshift_drift_p_value")
    assert found == pytest.approx(binomtest(3, 20, 0.05, alternative="greater").pvalue)
    assert chance_of(0, 20, 0.05) == 1


def test_a_record_that_cannot_be_written_is_counted_and_the_answer_goes_out(home: Path, tmp_path: Path) -> None:
    log = tmp_path / "log" / "verdicts.jsonl"
    with running(settings(home, log=log)) as gateway:
        log.unlink()
        log.mkdir()
        assert gateway.judge(png()).status == 200
        assert gateway.metric("gazeshift_log_failures_total") == 1


def test_nan_is_null_and_an_alarm(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(settings(home)) as gateway:
        monkeypatch.setattr(
            type(gateway.state.deployed.detector),
            "score",
            lambda _, measured: torch.full((len(measured),), torch.nan),
        )
        said = gateway.judge(png()).json
    assert said["suspicion"] is None
    assert said["is_attack"]


def test_a_fault_of_ours_is_told_without_its_inside(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    with running(settings(home)) as gateway:
        monkeypatch.setattr(type(gateway.state.deployed.detector), "measure", broken)
        answer = gateway.judge(png())
    assert (answer.status, answer.code) == (500, "internal")
    assert b"secret" not in answer.body
    assert answer.json["error"]["details"]["id"] == answer.headers["x-request-id"]
    assert answer.headers["x-request-id"] in caplog.text
    assert "secret" in caplog.text
