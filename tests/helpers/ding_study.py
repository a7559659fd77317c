"""A ding2022 study small enough to run many times: a tiny network, a strong set that fools it, a tiny detector."""

from pathlib import Path
from typing import Any

import gazeshift as gs
from gazeshift.runs.adversarial_set.run import AttackRun
from gazeshift.runs.adversarial_set.settings import SetSettings
from helpers.small_study import NETWORK, make_images

SMALL = {
    "examples": 2,
    "draws": 2,
    "pixels": 20,
    "values": "0,255",
    "top": 3,
    "epochs": 2,
    "detector": "",
    "detector_side": 64,
    "detector_epochs": 1,
    "train_batch": 4,
    "gallery": 1,
    "device": "cpu",
    "batch_size": 4,
}
DETECTOR = """

def small():
    torch.manual_seed(0)
    convs = nn.Conv2d(3, 4, 3, stride=2), nn.ReLU()
    return nn.Sequential(*convs, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))


def balanced():
    network = tiny()
    images = torch.rand((64, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.head.weight.mul_(20)
        network.head.bias.zero_()
        network.head.bias.sub_(network(images).mean(0))
    return network
"""
HIDDEN = """
from helpers.networks import Residual, seeded


def made():
    network = seeded(Residual)
    network.input_size = 32
    return network
"""


def make_parts(folder: Path) -> dict[str, Any]:
    """Ten images, a network whose classes are balanced, and a network for the detector."""
    images = make_images(folder / "images", 10)
    file = folder / "networks.py"
    file.write_text(NETWORK + DETECTOR)
    return {"model": f"module:{file}:balanced", "images": images, "detector": f"module:{file}:small"}


def make_settings(folder: Path, parts: dict[str, Any]) -> dict[str, Any]:
    """Settings of a study over a set made here, whose labels are the network's own answers."""
    model = gs.load(parts["model"])
    batch = gs.open_source(parts["images"]).read(0, 10, model.preprocessing)
    own = model(batch.images).argmax(1).tolist()
    rows = [f"{name},{label}" for name, label in zip(batch.ids, own, strict=True)]
    labels, place = folder / "labels.csv", folder / "made"
    labels.write_text("\n".join(["file,label", *rows]) + "\n")
    wanted = {name: parts[name] for name in ("model", "images")}
    AttackRun("pgd", SetSettings(**wanted, labels=labels, epsilon=0.5, health_images=0, device="cpu"), place).run()
    return SMALL | {"model": parts["model"], "detector": parts["detector"], "sets": f"strong={place}"}
