"""A model whose answers can be computed by hand, and pictures for it: the class is the brightest quadrant."""

from pathlib import Path

import numpy as np
from PIL import Image

NETWORK = '''
from torch import nn

CLASSES = ["top left", "top right", "bottom left", "bottom right"]


class Quadrants(nn.Module):
    """Logits: ten times the mean brightness of each quadrant."""

    input_size = 16

    def __init__(self):
        super().__init__()
        self.mean = nn.Conv2d(3, 1, 8, stride=8, bias=False)
        nn.init.constant_(self.mean.weight, 10 / 192)

    def forward(self, images):
        return self.mean(images).flatten(1)


def quadrants():
    return Quadrants()


def dimmer():
    network = Quadrants()
    network.mean.weight.data.mul_(0.5)
    return network
'''


def make_quadrant_network(folder: Path, function: str = "quadrants") -> str:
    """Write the network's file; its name as a model."""
    file = folder / "quadrant_network.py"
    file.write_text(NETWORK)
    return f"module:{file}:{function}"


def make_quadrant_images(folder: Path, count: int) -> Path:
    """Pictures of 16 x 16 pixels, the label's quadrant brighter by 0 to 60 levels; every seventh label is wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    rows = ["file,label"]
    for number in range(count):
        label, name = number % 4, f"{number:03d}.png"
        levels = random.integers(0, 180, (16, 16, 3))
        top, left = 8 * (label // 2), 8 * (label % 2)
        levels[top : top + 8, left : left + 8] += 15 + 60 * number // max(count, 1)
        Image.fromarray(levels.astype(np.uint8)).save(folder / name)
        rows.append(f"{name},{(label + (number % 7 == 6)) % 4}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder
