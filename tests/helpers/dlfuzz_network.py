"""A network on which every branch of DLFuzz is taken, and seeds for it."""

from typing import Any

import torch
from torch import Tensor, nn

from gazeshift.seeds import generator_for

# A small network needs other steps than ImageNet's, and a queue that is easier to enter, to show every branch.
LIVELY: dict[str, Any] = {"step": 1 / 255, "delta": 0.25, "queue_gain": 0.02, "n_neurons": 6, "max_pops": 2}
SHAPE = (3, 12, 10)


def make_network() -> nn.Sequential:
    """Seven layers with neurons: 6 + 6 + 8 + 8 + 8 + 7 + 5 = 48 of them, in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        layers = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 8, 3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 7),
            nn.ReLU(),
            nn.Linear(7, 5),
        )
    layers.double().eval().requires_grad_(requires_grad=False)
    head = layers[11]  # centred and stretched, so that images differ in class and small steps change it
    head.weight.mul_(240)
    head.bias.copy_(-layers[:11](images()).mean(0) @ head.weight.T)
    return layers


def images(n: int = 6) -> Tensor:
    return torch.rand((n, *SHAPE), generator=generator_for(0, "fuzzed"), dtype=torch.float64)


def generators(n: int) -> list[torch.Generator]:
    return [generator_for(5, "dlfuzz", str(at)) for at in range(n)]
