"""Compiled, channels last, bfloat16: off by default, told of, close to the plain numbers, and layers still show."""

import json

import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError

import gazeshift as gs
from gazeshift.errors import ModelError
from gazeshift.models import sped_up
from helpers.small_study import make_images, make_network

Chakraborty2022 = pytest.importorskip("gazeshift.studies.chakraborty2022.settings").Chakraborty2022
Deviation = pytest.importorskip("gazeshift.studies.deviation.settings").Deviation


@pytest.fixture
def model(tmp_path) -> str:
    return make_network(tmp_path)


IMAGES = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def quickly_compiled(monkeypatch):
    """The compiler's front end alone: what is asked here is who goes through it."""
    real, calls = torch.compile, []

    def compiled(function):
        made = real(function, backend="eager")
        return lambda images: calls.append(len(images)) or made(images)

    monkeypatch.setattr(torch, "compile", compiled)
    return calls


def test_compiled_passes_are_the_bare_ones_and_layers_still_show(model, quickly_compiled):
    plain, fast = gs.load(model), sped_up(gs.load(model), compiled=True)
    quickly_compiled.clear()
    assert torch.allclose(plain(IMAGES), fast(IMAGES), atol=1e-6)
    assert quickly_compiled == [4]
    wanted, found = (gs.look(one, IMAGES, layers="convs", cams="grad_cam") for one in (plain, fast))
    assert quickly_compiled == [4]
    for layer in wanted.layers:
        assert torch.allclose(wanted.maps(layer, "grad_cam"), found.maps(layer, "grad_cam"), atol=1e-6)
    gs.attack(fast, IMAGES, by="pgd:steps=2")
    assert len(quickly_compiled) >= 3
    assert fast.card() == plain.card()


def test_channels_last_changes_the_layout_and_not_the_model(model):
    plain, turned = gs.load(model), sped_up(gs.load(model), channels_last=True)
    assert turned.module.first.weight.is_contiguous(memory_format=torch.channels_last)
    assert turned.weights_sha256 == plain.weights_sha256
    assert torch.allclose(plain(IMAGES), turned(IMAGES), atol=1e-6)


def test_bf16_is_another_model_for_detectors(model):
    plain, half = gs.load(model), sped_up(gs.load(model), bf16=True)
    assert half.card()["dtype"] == "bfloat16"
    assert half.weights_sha256 != plain.weights_sha256
    assert torch.allclose(plain(IMAGES), half(IMAGES).float(), atol=0.05)


def test_what_cannot_be_compiled_is_one_sentence(model, monkeypatch):
    def fail(_):
        raise RuntimeError("no compiler\nfound")

    monkeypatch.setattr(torch, "compile", lambda _: fail)
    with pytest.raises(ModelError, match=r"torch.compile fails on .* no compiler found\). Leave --compile out"):
        sped_up(gs.load(model), compiled=True)


@pytest.mark.parametrize("name", ["compile", "channels_last", "bf16"])
def test_studies_run_with_each_and_tell_it(name, model, tmp_path, quickly_compiled):
    images = make_images(tmp_path / "images", 6)
    shared = {"model": model, "images": images, "attack": "pgd:steps=2", "epsilon": 0.2, "strengths": "1"}
    plain, other = Deviation(**shared, layers="convs"), Deviation(**shared, layers="convs", **{name: True})
    assert name not in plain.identity()
    one, two = plain.run(tmp_path / "one"), other.run(tmp_path / "two")
    assert json.loads((two / "manifest.json").read_text())["settings"][name] is True
    before, after = (pq.read_table(folder / "rows.parquet")["value"].to_numpy() for folder in (one, two))
    assert abs(before - after).mean() < (0.1 if name == "bf16" else 1e-4)
    assert bool(quickly_compiled) is (name == "compile")


def test_studies_that_train_refuse_them():
    with pytest.raises(ValidationError, match="this study trains its networks"):
        Chakraborty2022(bf16=True)
