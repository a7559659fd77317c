"""Any classifier of torchvision: ``torchvision:resnet50``."""

import sys
from contextlib import redirect_stdout
from typing import Any

import torch
import torchvision.models as zoo

from gazeshift.errors import UnknownNameError, did_you_mean
from gazeshift.models._classifier import Classifier, Preprocessing
from gazeshift.models._imagenet import imagenet_names
from gazeshift.models._weights import BROKEN, RANDOM, load_into, missing, repeatable

__all__ = ["torchvision"]


def torchvision(name: str, weights: str | None = None) -> Classifier:
    """A torchvision classifier with its ImageNet weights, a file's, or none (``random``).

    Raises:
        UnknownNameError: torchvision has no such classifier.
        ModelError: the weights are neither here nor to be downloaded; says where to put them.
    """
    known = zoo.list_models(module=zoo)
    if name not in known:
        raise UnknownNameError(f"torchvision has no classifier '{name}'. {did_you_mean(name, known)}")
    default = zoo.get_model_weights(name).DEFAULT
    with repeatable():
        network = _network(name, default if weights is None else None)
    if weights not in (None, RANDOM):
        load_into(network, str(weights), f"torchvision:{name}")
    if weights != RANDOM and hasattr(network, "transform_input"):
        network.transform_input = True  # Inception and GoogLeNet: their weights expect another normalisation
    return Classifier(
        network,
        name=f"torchvision:{name}",
        preprocessing=_preprocessing(default.transforms()),
        class_names=imagenet_names()[0],
        wnids=imagenet_names()[1],
        source=weights or str(default),
        own=True,
    )


def _network(name: str, weights: object) -> Any:
    options = {"init_weights": False} if name in ("inception_v3", "googlenet") else {}  # theirs takes a minute
    try:
        with redirect_stdout(sys.stderr):  # torch.hub announces its downloads where our results go
            return zoo.get_model(name, weights=weights, **options)
    except BROKEN as cause:
        url = getattr(weights, "url", "")
        place = f"Put {url.split('/')[-1]} into {torch.hub.get_dir()}/checkpoints, or name a file: --weights FILE."
        raise missing(f"torchvision:{name}", cause, place) from cause


def _preprocessing(transforms: object) -> Preprocessing:
    values = vars(transforms)
    return Preprocessing(
        resize=values["resize_size"][0],
        crop=values["crop_size"][0],
        interpolation=values["interpolation"].value,
        mean=tuple(values["mean"]),
        std=tuple(values["std"]),
    )
