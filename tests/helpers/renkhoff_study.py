"""A renkhoff2022 study of seconds: a network that some small steps fool, and pictures of noise."""

from pathlib import Path

from helpers.small_study import make_images

ATTACK = "dlfuzz:step=0.001,delta=0.4,n_neurons=4,class_score=logit,coverage_weight=0.05,max_pops=1"
SETTINGS = {"attack": ATTACK, "strengths": "0.5,1", "coverage_seeds": 3, "device": "cpu", "batch_size": 4}
NETWORK = """
import torch
from torch import nn
import torch.nn.functional as F


class Balanced(nn.Module):
    input_size = 32

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 12, 3, padding=1, stride=2)
        self.head = nn.Linear(12, 3)

    def seen(self, images):
        return F.relu(self.second(F.relu(self.first(images - 0.5)))).mean((2, 3))

    def forward(self, images):
        return self.head(self.seen(images))


def balanced():
    torch.manual_seed(0)
    network = Balanced()
    with torch.no_grad():  # noise lies between the classes, so that its pictures differ in class
        network.head.weight.mul_(400)
        network.head.bias.copy_(-network.head.weight @ network.seen(torch.rand(64, 3, 32, 32)).mean(0))
    return network
"""


def make_settings(folder: Path, count: int = 9) -> dict[str, object]:
    """Settings of a study in `folder`, with its network and pictures written."""
    file = folder / "balanced_network.py"
    file.write_text(NETWORK)
    images = make_images(folder / "images", count)
    return {**SETTINGS, "images": images, "model": f"module:{file}:balanced"}
