"""Says which timm and torchvision classifiers have maps to look at: a table from a run over every family.

    python tools/list_maps.py > maps.md

The smallest model of each family is made with weights of zero and sent one grey image; no weights are fetched. `unseen`
is the share of its layers of weights that lead to the answer through no map: a network above 0.5 is refused.
"""

import re
import sys
import warnings
from collections.abc import Iterator
from itertools import chain
from typing import Any

import timm
import torchvision
from torch import nn
from torch.overrides import TorchFunctionMode

from gazeshift.errors import GazeshiftError
from gazeshift.models import Classifier, Preprocessing

SMALL = (
    *("test", "zepto", "atto", "femto", "pico", "nano", "xxs", "xxt", "xs", "tiny", "micro", "mini", "small"),
    *("s0", "b0", "light", "lite", "s", "m0", "t0", "050", "slim"),
)


class NoWeights(TorchFunctionMode):
    """Fills weights with zeros instead of random numbers, which takes longer than everything else here."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(function, "__name__", "") in ("uniform_", "normal_", "erfinv_"):
            return (args[0] if args else kwargs["tensor"]).detach().zero_()
        return function(*args, **(kwargs or {}))


def smallest(names: list[str]) -> str:
    """The model that its name calls the smallest: by a word for its size, else by its first number."""

    def size(name: str) -> tuple[int, int, str]:
        words = [SMALL.index(word) for word in re.split(r"[_\d]*_", name) if word in SMALL]
        return min(words, default=len(SMALL)), int(next(iter(re.findall(r"\d+", name)), 0)), name

    return min(names, key=size)


def families(names: list[str]) -> dict[str, list[str]]:
    """Names by the letters that they begin with: ``convnext_atto`` and ``convnext_base`` are one family."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(re.match(r"[a-z]+", name)[0], []).append(name)  # type: ignore[index]
    return found


def from_timm() -> Iterator[tuple[str, nn.Module, tuple[int, int, int]]]:
    """One network of each family of each file of timm's, and its input's channels, height and width."""
    for file in timm.list_modules():
        for names in families(timm.list_models(module=file)).values():
            name = smallest(names)
            with NoWeights():
                network = timm.create_model(name)
            yield f"timm:{name}", network, network.pretrained_cfg.get("input_size", (3, 224, 224))


def from_torchvision() -> Iterator[tuple[str, nn.Module, tuple[int, int, int]]]:
    """One network of each family of torchvision's classifiers."""
    models = torchvision.models
    for names in families(models.list_models(module=models)).values():
        name = smallest(names)
        size = 299 if name.startswith("inception") else 224
        with NoWeights():
            network = models.get_model(name, weights=None)
        yield f"torchvision:{name}", network, (3, size, size)


def row(name: str, network: nn.Module, size: tuple[int, int, int]) -> str:
    """One line of the table."""
    channels, height, width = size
    preprocessing = Preprocessing(resize=None, crop=(height, width), mean=(0.0,) * channels, std=(1.0,) * channels)
    try:
        layers = Classifier(network, name=name, preprocessing=preprocessing, own=True).layers()
    except GazeshiftError as cause:
        return f"| {name} | {height} | no | | {cause} |"
    trunk = [layer for layer in layers if "trunk" in layer.kinds]
    last = f"{trunk[-1].name}, {' x '.join(map(str, trunk[-1].shape))}"
    return f"| {name} | {height} | yes | {layers.unseen:.2f} | {len(trunk)} in the trunk; the last is {last} |"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.stdout.write("| model | pixels | maps | unseen | layers, or why there are none |\n|---|---|---|---|---|\n")
    for made in chain(from_torchvision(), from_timm()):
        sys.stdout.write(row(*made) + "\n")
        sys.stdout.flush()
