"""Networks that take images in [0, 1] and normalise inside; their layers; one pass that shows them all."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from gazeshift.errors import DeviceError, SettingsError, UnknownNameError
from gazeshift.models._classifier import Classifier, Passes, Preprocessing
from gazeshift.models._discovery import SELECTORS, select
from gazeshift.models._neurons import Neurons, Reading, coverage_curve, find_neurons
from gazeshift.models._preflight import preflight
from gazeshift.models._speed import sped_up
from gazeshift.models._trace import SCORES, trace
from gazeshift.registry import find

__all__ = [
    "SCORES",
    "SELECTORS",
    "Classifier",
    "Neurons",
    "Passes",
    "Preprocessing",
    "Reading",
    "choose_device",
    "coverage_curve",
    "find_neurons",
    "load",
    "preflight",
    "select",
    "sped_up",
    "trace",
]

DEFAULT = "efficientnet_lite0"
SOURCES = ("torchvision", "timm", "module")


def load(
    spec: str = DEFAULT,
    *,
    weights: str | None = None,
    device: str = "auto",
    input_size: int | None = None,
    class_names: Sequence[str] = (),
) -> Classifier:
    """A classifier by name.

    Args:
        spec: ``efficientnet_lite0`` (weights included), ``torchvision:resnet50``, ``timm:xception``, or
            ``module:my_package.models:make`` for a function that gives a network for images in [0, 1].
        weights: a ``.safetensors`` or tensors-only ``.pt`` file instead of the usual weights; ``random`` for none.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or ``auto`` for a GPU if there is one.
        input_size: height and width that images are resized and cropped to, instead of the model's own.
        class_names: in the order of the class index, for a model that does not know them.

    Raises:
        UnknownNameError: no such model; names the nearest.
        ModelError: it cannot be built, or its weights are missing; says where to put them.
        DeviceError: the device is not there.
        SettingsError: the spec, the input size or the class names are not of that form.
    """
    place = choose_device(device)
    if input_size is not None and input_size < 1:
        raise SettingsError(f"input_size is a height and width in pixels, such as 224; got {input_size}.")
    if isinstance(class_names, str):
        raise SettingsError(f"class_names must be a list with one name per class, got the text '{class_names}'.")
    name, _, rest = spec.partition(":")
    make = _source(name)
    if name in SOURCES and not rest:
        raise SettingsError(f"'{spec}' names a source of models and not a model. Write {spec}:NAME.")
    if rest and name not in SOURCES:
        raise SettingsError(f"'{name}' is a model and takes nothing after a colon, got '{spec}'. Write {name}.")
    classifier: Classifier = make(rest, weights=weights) if rest else make(weights=weights)
    if input_size:
        resize = round(input_size * (classifier.preprocessing.resize or 1) / (classifier.preprocessing.crop or 1))
        classifier.preprocessing = replace(classifier.preprocessing, resize=resize, crop=input_size)
    if class_names:
        classifier.class_names = tuple(class_names)
    return classifier.to(place)


def _source(name: str) -> Any:
    try:
        return find("models", name)
    except UnknownNameError as cause:
        raise UnknownNameError(f"{cause} Models of torchvision and timm are written torchvision:{name}.") from cause


def choose_device(device: str) -> torch.device:
    """The device of that name, if this machine has it.

    Raises:
        DeviceError: it does not.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError as cause:
        raise DeviceError(f"no device is called '{device}'. Known: auto, cpu, cuda, cuda:0, mps.") from cause
    if place.type not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"'{device}' is no device to run a model on here. Known: auto, cpu, cuda, cuda:0, mps.")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise DeviceError(f"'{device}' was asked for, and torch sees {count or 'no'} GPU here. Use --device cpu.")
    if place.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("'mps' was asked for, and this machine has none. Use --device cpu.")
    return place
