"""Any classifier of torchvision: ``torchvision:resnet50``, ``torchvision:resnet50@IMAGENET1K_V1``."""

import sys
from contextlib import redirect_stdout
from functools import partial
from typing import Any

import torch
import torchvision.models as zoo

from gazeshift.errors import ModelError, UnknownNameError, check_known, did_you_mean
from gazeshift.models._classifier import Classifier
from gazeshift.models._imagenet import imagenet_names
from gazeshift.models._preprocessing import Preprocessing
from gazeshift.models._weights import BROKEN, RANDOM, missing, network_of, repeatable

__all__ = ["torchvision"]

WITH_AUXILIARY = ("inception_v3", "googlenet")  # heads that only training uses
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")


def torchvision(name: str, weights: str | None = None, *, size: tuple[int, int] | None = None) -> Classifier:
    """A torchvision classifier with its ImageNet weights, a file's, or none (``random``).

    Args:
        name: ``resnet50``, with torchvision's default weights, or ``resnet50@IMAGENET1K_V1``.
        weights: a file; its head says how many classes there are.
        size: height and width that the images will have, if not the weights' own.

    Raises:
        UnknownNameError: torchvision has no such classifier, or no such weights of it.
        ModelError: the weights are neither here nor to be downloaded (says where to put them), not those of this
            network, or it takes images of one size alone.
    """
    name, _, tag = name.partition("@")
    meant = _meant(name, tag)
    classes = None
    with repeatable():
        if weights in (None, RANDOM):
            network = _network(name, meant if weights is None else None)
        else:
            build = partial(_network, name, None, training=False)
            network, classes = network_of(str(weights), build, f"torchvision:{name}", unused=AUXILIARY)
    _check_size(network, size, name)
    if weights != RANDOM and hasattr(network, "transform_input"):
        network.transform_input = True  # Inception and GoogLeNet: their weights expect another normalisation
    return Classifier(
        network,
        name=f"torchvision:{name}" + (f"@{tag}" if tag else ""),
        preprocessing=_preprocessing(meant.transforms()),
        class_names=() if classes else imagenet_names()[0],
        wnids=() if classes else imagenet_names()[1],
        source=weights or str(meant),
        own=True,
    )


def _meant(name: str, tag: str) -> Any:
    """The weights of that tag, or torchvision's default ones."""
    known = zoo.list_models(module=zoo)
    if name in zoo.list_models() and name not in known:
        raise UnknownNameError(
            f"torchvision has no classifier '{name}' with gradients: it is a network for another task, or quantised. "
            f"{did_you_mean(name.removeprefix('quantized_'), known)}"
        )
    check_known(name, known, f"torchvision has no classifier '{name}'")
    tags = zoo.get_model_weights(name)
    check_known(tag or "DEFAULT", tags.__members__, f"torchvision has no weights '{tag}' of {name}")
    meant = tags[tag] if tag else tags.DEFAULT
    if not meant.meta["categories"]:
        raise ModelError(
            f"torchvision's weights {meant} are of features alone and have no classes. Leave out '@{tag}'."
        )
    return meant


def _network(name: str, weights: object, *, training: bool = True, **options: Any) -> Any:
    if name in WITH_AUXILIARY:
        options |= {"init_weights": False} | ({} if training else {"aux_logits": False})  # theirs takes a minute
    try:
        with redirect_stdout(sys.stderr):  # torch.hub announces its downloads where our results go
            return zoo.get_model(name, weights=weights, **options)
    except BROKEN as cause:
        url = getattr(weights, "url", "")
        place = f"Put {url.split('/')[-1]} into {torch.hub.get_dir()}/checkpoints, or name a file: --weights FILE."
        raise missing(f"torchvision:{name}", cause, place) from cause


def _check_size(network: Any, size: tuple[int, int] | None, name: str) -> None:
    """Vision transformers embed the places of their patches, and so take images of one size alone."""
    side = getattr(network, "image_size", None)
    if side and size not in (None, (side, side)):
        raise ModelError(
            f"torchvision:{name} takes images of {side} x {side} pixels alone, got {size[0]} x {size[1]}. "
            "Leave out --input-size, or take a model of timm, which changes with it."
        )


def _preprocessing(transforms: object) -> Preprocessing:
    values = vars(transforms)
    return Preprocessing(
        resize=values["resize_size"][0],
        crop=values["crop_size"][0],
        interpolation=values["interpolation"].value,
        mean=tuple(values["mean"]),
        std=tuple(values["std"]),
    )
