"""The models that are measured, and the two passes that everything is compared with."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gazeshift.models import Classifier, load, select
from gazeshift.records import Layer

FOUR = ("grad_cam", "grad_cam_pp", "layer_cam", "noise_cam")
SUBJECTS = {"resnet50": "blocks", "vgg16": "convs", "efficientnet_lite0": "blocks"}  # model: layers to look at
SIZE = 224


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model twice: as its users have it, parameters asking for gradients, and as gazeshift's frozen classifier.

    Both in eval mode, the same weights, and the same input: images in [0, 1], normalised inside.
    """

    name: str
    network: nn.Module
    classifier: Classifier
    images: Tensor
    selector: str
    layers: tuple[Layer, ...]


def subject(name: str, batch: int, size: int = SIZE) -> Subject:
    """One of `SUBJECTS`: torchvision's with random weights (their cost is the same), EfficientNet-Lite0 as shipped."""
    torch.manual_seed(0)
    classifier = load(name, device="cpu") if name == "efficientnet_lite0" else _untrained(name)
    network = nn.Sequential(_Normalised(classifier), copy.deepcopy(classifier.module))
    network.requires_grad_(requires_grad=True)
    layers = select(classifier.layers((size, size)), SUBJECTS[name], name)
    images = torch.rand(batch, 3, size, size)
    return Subject(
        name=name, network=network, classifier=classifier, images=images, selector=SUBJECTS[name], layers=layers
    )


class _Normalised(nn.Module):
    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.mean, self.std = classifier.mean, classifier.std

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


def _untrained(name: str) -> Classifier:
    import torchvision

    network = getattr(torchvision.models, name)(weights=None)
    return Classifier(network, name=name, own=True)


def plain(subject: Subject) -> None:
    """One forward and one backward pass of the ordinary model: gradients of all parameters, as in training."""
    top_scores(subject.network(subject.images)).backward()
    subject.network.zero_grad(set_to_none=True)


def bare(subject: Subject) -> None:
    """The least that any map at these layers needs: forward, and backward to the first asked layer.

    Weights are frozen. What lies before the first asked layer runs without a graph; the graph begins at that layer,
    detached, and its gradient is all that is asked for. Nothing is looked at on the way.
    """
    first, leaf, calls = subject.layers[0], [], iter(range(1, 1000))

    def begin(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor | None:
        if next(calls) != first.call:
            return None
        leaf.append(output.detach().requires_grad_())
        return leaf[0]

    handle = subject.classifier.module.get_submodule(first.module).register_forward_hook(begin)
    try:
        logits = subject.classifier(subject.images)
    finally:
        handle.remove()
    torch.autograd.grad(top_scores(logits), leaf)


def top_scores(logits: Tensor) -> Tensor:
    """Sum of each image's own highest score."""
    return logits.amax(1).sum()


def ours(subject: Subject, cams: tuple[str, ...] = FOUR) -> None:
    """What a user calls: everything included, from checking the images to the record with all maps."""
    from gazeshift.pipeline import look

    look(subject.classifier, subject.images, layers=subject.selector, cams=cams)


def passes(subject: Subject) -> dict[str, Callable[[], None]]:
    """The two references and four CAMs of ours, ready to run."""
    return {"plain": partial(plain, subject), "bare": partial(bare, subject), "four": partial(ours, subject)}
