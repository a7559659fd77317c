"""A verdict has one shape, whichever way it is asked for: Python, the command line, HTTP, the explorer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import gazeshift as gs
from gazeshift import pipeline
from gazeshift.calibrated import CalibratedDetector
from gazeshift.data import open_source
from gazeshift.seeds import generator_for
from gazeshift.serve.gateway import guarded_model
from gazeshift.serve.gateway._schemas import JudgeAnswer
from gazeshift.serve.gateway.settings import ServeSettings
from helpers.gateways import make_detector, png, running
from helpers.small_study import make_network

SEED, NAME = 3, "suspect.png"
OLD = {"prediction", "resized"}  # of the command line, for one minor version


def test_every_entrance_gives_the_same_verdict(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_network(tmp_path)
    detector, file = make_detector(tmp_path / "detector", model), tmp_path / NAME
    file.write_bytes(png(1))

    def judge_with_seed(*arguments: Any, **_: Any) -> Any:
        return pipeline.judge(*arguments, generator=[generator_for(SEED, "view", NAME)])

    monkeypatch.setattr(guarded_model, "judge", judge_with_seed)
    with running(ServeSettings(detector=detector)) as gateway:
        served = gateway.judge(png(1)).json
        explored = gateway.ask("/explorer/see?seed=1", png(1), Content_Type="image/png").json["before"]["verdict"]
    code, out, shown = run("detect", "score", file, "--detector", detector, "--device", "cpu", "--json", "--seed", SEED)
    assert code == 0, shown
    printed = json.loads(out)
    classifier = gs.load(model, device="cpu")
    images = open_source(file, labelled=False).read(preprocessing=classifier.preprocessing).images
    deployed = CalibratedDetector.load(detector)
    computed = gs.judge(classifier, images, deployed, generator=[generator_for(SEED, "view", NAME)]).as_dict()

    assert served.keys() - computed.keys() == {"resized_from", "sha256", "warning"}  # of the file, and of the policy
    assert served.keys() == JudgeAnswer.__required_keys__ == JudgeAnswer.__annotations__.keys() - {"maps"}
    assert printed.keys() - served.keys() == {"file", "most_moved", *OLD}
    assert explored.keys() - computed.keys() == {"parts"}
    for key, value in computed.items():
        assert served[key] == printed[key] == value, key
        assert type(explored[key]) is type(value), key
    assert (served["resized_from"], served["sha256"]) == (printed["resized_from"], printed["sha256"])
    assert served["resized_from"] == [40, 32]
    assert printed["prediction"] == printed["name"]
    assert str(tmp_path) not in json.dumps(computed), "a folder's name gets out"


def test_what_is_not_finite_is_null(tmp_path: Path) -> None:
    classifier = gs.load(make_network(tmp_path), device="cpu")
    deployed = CalibratedDetector.load(make_detector(tmp_path / "detector", make_network(tmp_path)))
    verdict = gs.judge(classifier, torch.full((1, 3, 32, 32), 0.5), deployed)
    object.__setattr__(verdict, "suspicion", verdict.suspicion * float("nan"))
    assert verdict.as_dict()["suspicion"] is None
    json.dumps(verdict.as_dict(), allow_nan=False)
