"""A network of two classes, clean and attacked, that learns from nothing (Ding et al. 2022, section 4.7)."""

import copy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gazeshift.errors import ModelError
from gazeshift.models import Classifier, load
from gazeshift.seeds import generator_for


class Normalised(nn.Module):
    """A copy of a classifier's network that takes images in [0, 1] and can be trained.

    Args:
        classifier: copied, and left as it is.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.network = copy.deepcopy(classifier.module).requires_grad_(requires_grad=True)
        self.register_buffer("mean", classifier.mean.clone())
        self.register_buffer("std", classifier.std.clone())

    def forward(self, images: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n c"]:
        """Logits."""
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits


def fresh_detector(spec: str, seed: int, place: str, channels: int = 3) -> Normalised:
    """A network of two classes, clean and attacked, with random weights.

    One for images of other channels gets another first convolution, and normalises all channels alike.

    Raises:
        ModelError: its architecture does not end in a linear layer, or does not begin with a convolution.
    """
    with torch.random.fork_rng(devices=[]):  # a network of one's own may draw its weights from the global state
        torch.manual_seed(generator_for(seed, "body").initial_seed() % 2**63)
        body = load(spec, weights="random", device=place)
    network = Normalised(body)
    linear = [name for name, module in network.network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ModelError(f"a detector needs a network that ends in a linear layer, and {spec} has none.")
    parent, _, own = linear[-1].rpartition(".")
    old: Any = network.network.get_submodule(linear[-1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator_for(seed, "detector").initial_seed() % 2**63)
        setattr(network.network.get_submodule(parent), own, nn.Linear(old.in_features, 2))
        if channels != body.channels:
            _take_channels(network, body.channels, channels, spec)
    return network.to(body.device)


def _take_channels(network: Normalised, before: int, channels: int, spec: str) -> None:
    convs = [(name, one) for name, one in network.network.named_modules() if isinstance(one, nn.Conv2d)]
    if not convs or convs[0][1].in_channels != before:
        raise ModelError(
            f"{spec} takes images of {before} channels, and these have {channels}. Name a network that takes those."
        )
    name, old = convs[0]
    parent, _, own = name.rpartition(".")
    kept = ("out_channels", "kernel_size", "stride", "padding", "dilation", "padding_mode")
    settings: Any = {key: getattr(old, key) for key in kept}
    made = nn.Conv2d(channels, bias=old.bias is not None, **settings)
    setattr(network.network.get_submodule(parent), own, made)
    network.mean, network.std = (one.mean().repeat(channels)[:, None, None] for one in (network.mean, network.std))


def cropped(images: Float[Tensor, "n channels h w"], side: int) -> Float[Tensor, "n channels s s"]:
    """The middle of the images: to shrink them would smooth away what the detector is to see."""
    top, left = ((size - min(side, size)) // 2 for size in images.shape[2:])
    return images[:, :, top : top + side, left : left + side]
