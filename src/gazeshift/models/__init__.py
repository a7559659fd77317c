"""Networks that take images in [0, 1] and normalise inside; their layers; one pass that shows them all."""

from collections.abc import Sequence
from typing import Any

import torch

from gazeshift.errors import DeviceError, SettingsError, UnknownNameError
from gazeshift.models._classifier import Classifier, ModelCard, Passes, PublicModelCard, prepared
from gazeshift.models._differentiable import live_pass, trace_live
from gazeshift.models._discovery import SELECTORS, select
from gazeshift.models._edge import NO_GRADIENT, as_classes, backward_explained, check_finite, checked_names
from gazeshift.models._imagenet import imagenet_names
from gazeshift.models._layer_hooks import tapped
from gazeshift.models._neurons import NeuronActivations, Neurons, coverage_curve, find_neurons
from gazeshift.models._paths import modules_reached, warn_of
from gazeshift.models._preflight import preflight
from gazeshift.models._preprocessing import MAX_PIXELS, Pixels, Preprocessing, picture_input, plain_picture
from gazeshift.models._smooth_second_derivative import SmoothSecondDerivative
from gazeshift.models._speed import sped_up
from gazeshift.models._trace import SCORES, trace
from gazeshift.registry import find, read_pixels

__all__ = [
    "MAX_PIXELS",
    "NO_GRADIENT",
    "SCORES",
    "SELECTORS",
    "Classifier",
    "ModelCard",
    "NeuronActivations",
    "Neurons",
    "Passes",
    "Pixels",
    "Preprocessing",
    "PublicModelCard",
    "SmoothSecondDerivative",
    "as_classes",
    "backward_explained",
    "check_finite",
    "choose_device",
    "coverage_curve",
    "find_neurons",
    "imagenet_names",
    "live_pass",
    "load",
    "modules_reached",
    "picture_input",
    "plain_picture",
    "preflight",
    "prepared",
    "select",
    "sped_up",
    "tapped",
    "trace",
    "trace_live",
    "warn_of",
]

DEFAULT = "efficientnet_lite0"
SOURCES = ("torchvision", "timm", "module")
SIZED = ("torchvision", "timm")  # sources that must know the size of the images before they make a network


def load(
    spec: str = DEFAULT,
    *,
    weights: str | None = None,
    device: str = "auto",
    input_size: Pixels | str | None = None,
    class_names: Sequence[str] = (),
) -> Classifier:
    """A classifier by name.

    Args:
        spec: ``efficientnet_lite0`` (weights included), ``torchvision:resnet50``, ``timm:xception``,
            ``timm:hf-hub:owner/name`` for a fine-tuned model on the Hugging Face hub, or
            ``module:my_package.models:make`` for a function that gives a network for images in [0, 1].
        weights: a ``.safetensors`` or tensors-only ``.pt`` file instead of the usual weights; ``random`` for none. A
            checkpoint of a training script will do, of which averaged (EMA) weights are taken before plain ones. The
            file's head says how many classes there are, and its weights must be all that the network has.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or ``auto`` for a GPU if there is one.
        input_size: side of the square, or height and width, that images are resized and cropped to instead of the
            model's own; the resize in proportion. A rectangle is covered without distortion, unless the model squashes.
        class_names: in the order of the class index, for a model that does not know them.

    Raises:
        UnknownNameError: no such model; names the nearest.
        ModelError: it cannot be built, or its weights are missing; says where to put them.
        DeviceError: the device is not there.
        SettingsError: the spec, the input size or the class names are not of that form, or the model has another
            number of classes.
    """
    if not isinstance(spec, str):
        raise SettingsError(f"a model is named by a text such as '{DEFAULT}' or 'timm:resnet50', got {spec!r}.")
    place, size = choose_device(device), read_pixels("input_size", input_size)
    class_names = checked_names(class_names)
    name, _, rest = spec.partition(":")
    make = _source(name)
    if name in SOURCES and not rest:
        raise SettingsError(f"'{spec}' names a source of models and not a model. Write {spec}:NAME.")
    if rest and name not in SOURCES:
        raise SettingsError(f"'{name}' is a model and takes nothing after a colon, got '{spec}'. Write {name}.")
    sized = {"size": size if isinstance(size, tuple) else (size, size)} if size and name in SIZED else {}
    classifier: Classifier = make(*[rest] * bool(rest), weights=weights, **sized)
    if size:
        classifier.preprocessing = classifier.preprocessing.scaled_to(size)
    if class_names:
        known = classifier.class_names if name != "module" else ()
        _check_count(classifier, len(class_names), len(known))
        classifier.class_names = class_names
    return classifier.to(place)


def _check_count(classifier: Classifier, names: int, known: int) -> None:
    """Refuse class names of another number than the classes, where that is known before an image is sent through."""
    classes = getattr(classifier.module, "num_classes", None) or known
    if isinstance(classes, int) and classes and classes != names:
        raise SettingsError(
            f"class_names must have one name for each class, in the order of the index, got {names} for the {classes} "
            f"classes of {classifier.name}."
        )


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
