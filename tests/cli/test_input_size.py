"""``--input-size``: a square or a rectangle, in every command that has the flag."""

import json

import numpy as np
import pytest
from PIL import Image

NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)
    def forward(self, images):
        return self.head(torch.relu(self.conv(images)).mean((2, 3)))

def make():
    torch.manual_seed(0)
    return Net()
"""


@pytest.fixture
def model(tmp_path):
    (tmp_path / "own.py").write_text(NETWORK)
    return f"module:{tmp_path / 'own.py'}:make"


@pytest.fixture
def images(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(2):
        values = np.random.default_rng(number).integers(0, 256, (60, 50, 3), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / "images" / f"{number}.png")
    return tmp_path / "images"


@pytest.mark.parametrize(("size", "shown"), [("20", "18x18"), ("20x34", "18x32")])
def test_list_layers(run, model, size, shown):
    code, out, _ = run("list", "layers", "--model", model, "--input-size", size)
    assert code == 0
    assert shown in out


def test_look(run, model, images, tmp_path):
    made = ("--model", model, "--input-size", "20x34", "--out", tmp_path / "looked")
    assert run("look", images, *made)[0] == 0
    maps = [one for file in (tmp_path / "looked").rglob("maps.npz") for one in np.load(file).values()]
    assert {one.shape[-2:] for one in maps} == {(18, 32)}


def test_attack_and_verify(run, model, images, tmp_path):
    made = ("--model", model, "--input-size", "20x34", "--out", tmp_path / "set", "--device", "cpu")
    assert run("attack", "fgsm", "--images", images, *made)[0] == 0
    assert json.loads((tmp_path / "set" / "manifest.json").read_text())["settings"]["input_size"] == [20, 34]
    assert run("set", "verify", tmp_path / "set", "--device", "cpu")[0] == 0
    assert run("set", "verify", tmp_path / "set", "--model", model, "--input-size", "20x34", "--device", "cpu")[0] == 0


@pytest.mark.parametrize("size", ["0", "-3", "64x", "64x128x3", "wide", "2.5"])
@pytest.mark.parametrize(
    "command", ["list layers", "look images", "attack fgsm --out out", "study deviation --out out"]
)
def test_what_is_no_size(run, images, monkeypatch, command, size):
    monkeypatch.chdir(images.parent)
    code, _, err = run(*command.split(), f"--input-size={size}")
    assert code == 2
    assert "must be a number of pixels such as 224, or height and width such as" in err
    assert f"got '{size}'" in err
    assert len(err.splitlines()) == 1
