"""A study small enough to run many times: a tiny network of a user's own, and pictures made here."""

from pathlib import Path

import numpy as np
from PIL import Image

NETWORK = """
import torch
from torch import nn
import torch.nn.functional as F

CLASSES = ["dark", "light", "striped"]


class Tiny(nn.Module):
    input_size = 32

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 12, 3, padding=1, stride=2)
        self.head = nn.Linear(12, 3)

    def forward(self, images):
        seen = F.relu(self.second(F.relu(self.first(images - 0.5))))
        return self.head(seen.mean((2, 3)))


def tiny():
    torch.manual_seed(0)
    return Tiny()
"""


def make_network(folder: Path) -> str:
    """Write the network's file; its name as a model."""
    file = folder / "tiny_network.py"
    file.write_text(NETWORK)
    return f"module:{file}:tiny"


def make_images(folder: Path, count: int) -> Path:
    """Write `count` random pictures of 40 x 32 pixels and a labels.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    rows = ["file,label"]
    for number in range(count):
        name = f"{number:03d}.png"
        Image.fromarray(random.integers(0, 256, (32, 40, 3), dtype=np.uint8)).save(folder / name)
        rows.append(f"{name},{number % 3}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder
