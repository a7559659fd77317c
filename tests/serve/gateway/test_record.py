"""Each image of a batch gets its own verdict, nobody foresees its views, and what is counted and recorded is so."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch

from gazeshift import pipeline
from gazeshift.serve.gateway import guarded_model, serialize
from gazeshift.serve.gateway._metrics import SHARED, Metrics, _forget_dead
from gazeshift.serve.gateway.errors import GatewayError
from gazeshift.serve.gateway.guarded_model import GuardedModel
from gazeshift.serve.gateway.settings import ServeSettings
from helpers.gateways import Running, make_detector, png, running
from helpers.small_study import make_network


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("record")
    make_detector(folder / "detector", make_network(folder))
    make_detector(folder / "trusting", make_network(folder), threshold=1e6)
    return folder


@pytest.fixture(scope="module")
def gateway(home: Path) -> Iterator[Running]:
    with running(ServeSettings(detector=home / "trusting", log=home / "verdicts.jsonl")) as made:
        yield made


def test_each_image_of_a_batch_gets_its_own_verdict(gateway: Running) -> None:
    classifier, deployed = gateway.state.classifier, gateway.state.deployed
    images = torch.rand((3, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    draws = [torch.Generator().manual_seed(at) for at in range(3)]
    found = pipeline.judge(classifier, images, deployed, generator=draws)
    object.__setattr__(found, "p_value", torch.tensor([0.1, 0.2, 0.3]))
    object.__setattr__(found, "is_attack", torch.tensor([False, True, False]))
    said = [found.as_dict(at) for at in range(3)]
    assert [one["suspicion"] for one in said] == pytest.approx(found.suspicion.tolist(), rel=1e-4)
    assert len({one["suspicion"] for one in said}) == 3
    assert [one["p_value"] for one in said] == pytest.approx([0.1, 0.2, 0.3])
    assert [one["is_attack"] for one in said] == [False, True, False]
    assert [one["verdict"] for one in said] == ["clean", "attack", "clean"]
    assert [one["class"] for one in said] == found.predicted.tolist()
    assert [one["confidence"] for one in said] == pytest.approx(found.confidence.tolist(), rel=1e-4)
    for one in said:
        for parts in one["reasons"].values():
            assert sum(parts.values()) == pytest.approx(one["suspicion"], abs=1e-4)


def test_every_image_is_judged_under_views_of_its_own(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    def noted(*arguments: object, generator: list[torch.Generator], **more: object):
        seeds.extend(one.initial_seed() for one in generator)
        return pipeline.judge(*arguments, generator=generator, **more)

    monkeypatch.setattr(guarded_model, "judge", noted)
    asked = GuardedModel(gateway.state.classifier, gateway.state.deployed)
    for _ in range(2):
        asked.judge([torch.full((3, 32, 32), 0.5)] * 3)
    assert len(set(seeds)) == 6


def test_memory_that_ran_out_is_not_the_images_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = GuardedModel(SimpleNamespace(input_size=None, name="any"), None)
    for raised, told in ((RuntimeError, GatewayError), (torch.OutOfMemoryError, torch.OutOfMemoryError)):
        monkeypatch.setattr(guarded_model, "judge", Mock(side_effect=raised))
        with pytest.raises(told):
            asked.judge([torch.zeros(3, 8, 8)])


def test_the_five_likeliest_classes_come_in_order() -> None:
    evidence = SimpleNamespace(logits=torch.tensor([[0.0] * 7, [3.0, 1.0, 6.0, 0.0, 5.0, 2.0, 4.0]]), class_name=str)
    said = serialize.likeliest(evidence, 1)
    assert [one["class"] for one in said] == [2, 4, 6, 0, 5]
    assert said[0]["confidence"] == pytest.approx(float(evidence.logits[1].softmax(0)[2]), rel=1e-5)


def test_a_clean_image_is_answered_without_a_warning(gateway: Running) -> None:
    said = gateway.judge(png())
    assert said.headers["x-gazeshift-verdict"] == said.json["verdict"] == "clean"
    assert said.json["warning"] is None


def test_look_says_of_which_file_it_speaks(gateway: Running) -> None:
    judged = gateway.judge(png(1)).json
    looked = gateway.ask("/v1/look?layers=first", png(1), Content_Type="image/png").json
    for key in ("sha256", "resized_from", "model", "class", "name"):
        assert looked[key] == judged[key], key


def test_a_record_says_when_which_request_and_how_many_bytes_and_holds_no_map(gateway: Running, home: Path) -> None:
    answer = gateway.judge(png(6), "?maps=first")
    line = json.loads((home / "verdicts.jsonl").read_text().splitlines()[-1])
    assert line["request"] == answer.headers["x-request-id"]
    assert line["bytes"] == len(png(6))
    assert datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0)
    assert "maps" in answer.json
    assert "maps" not in line


def test_a_request_is_counted_once_and_its_verdict_by_its_name(gateway: Running) -> None:
    names = (
        r'gazeshift_requests_total\{path="/v1/judge",status="200"\}',
        r'gazeshift_request_seconds_count\{path="/v1/judge"\}',
        r'gazeshift_verdicts_total\{verdict="clean"\}',
        "gazeshift_batch_seconds_count",
        "gazeshift_batch_size_count",
    )

    def numbers() -> list[float]:
        return [gateway.metric(name) for name in names]

    before = numbers()
    assert gateway.judge(png()).status == 200
    assert [after - first for after, first in zip(numbers(), before, strict=True)] == [1] * 5


def test_attacks_and_clean_images_are_counted_apart() -> None:
    metrics = Metrics(0.05)
    metrics.judgements([True, False, False])
    found = {
        word: metrics.registry.get_sample_value("gazeshift_verdicts_total", {"verdict": word})
        for word in ("attack", "clean")
    }
    assert found == {"attack": 1, "clean": 2}


def test_prometheus_is_answered_in_its_own_format(gateway: Running) -> None:
    assert gateway.ask("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")


def test_what_a_process_that_ended_said_of_its_queue_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    assert ended.wait(60) == 0
    names = [f"{kind}_{{}}.db" for kind in ("gauge_livesum", "gauge_livemin", "counter")]
    for pid in (ended.pid, os.getpid()):
        for name in names:
            (tmp_path / name.format(pid)).touch()
    _forget_dead(tmp_path)
    left = {file.name for file in tmp_path.iterdir()}
    assert left == {name.format(os.getpid()) for name in names} | {names[2].format(ended.pid)}, "what it counted stays"
    only = tmp_path / "only"
    only.mkdir()
    (only / names[0].format(ended.pid)).touch()
    metrics = Metrics(0.05)
    monkeypatch.setenv(SHARED, str(only))
    assert metrics.page() == b""
    assert list(only.iterdir()) == []
