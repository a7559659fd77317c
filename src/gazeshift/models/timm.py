"""Any classifier of timm: ``timm:resnet50.a1_in1k``."""

import math
import warnings

import timm as library

from gazeshift.errors import UnknownNameError, did_you_mean
from gazeshift.models._classifier import Classifier, Preprocessing
from gazeshift.models._imagenet import imagenet_names
from gazeshift.models._weights import RANDOM, load_into, missing

__all__ = ["timm"]


def timm(name: str, weights: str | None = None) -> Classifier:
    """A timm classifier with its pretrained weights, a file's, or none (``random``).

    Raises:
        UnknownNameError: timm has no such model.
        ModelError: the weights are neither here nor to be downloaded; says where to put them.
    """
    if not library.is_model(name.split(".")[0]):
        raise UnknownNameError(f"timm has no model '{name}'. {did_you_mean(name, library.list_models())}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "deprecated model name" for timm:xception, which we mean
            network = library.create_model(name, pretrained=weights is None)
    except (OSError, RuntimeError, ValueError) as cause:
        raise missing(f"timm:{name}", cause, "Download them elsewhere and name the file: --weights FILE.") from cause
    if weights not in (None, RANDOM):
        load_into(network, str(weights), f"timm:{name}")
    imagenet = getattr(network, "num_classes", 0) == 1000
    return Classifier(
        network,
        name=f"timm:{name}",
        preprocessing=_preprocessing(library.data.resolve_model_data_config(network)),
        class_names=imagenet_names()[0] if imagenet else (),
        wnids=imagenet_names()[1] if imagenet else (),
        source=weights or f"timm:{name}",
        own=True,
    )


def _preprocessing(config: dict[str, object]) -> Preprocessing:
    size = config["input_size"][-1]  # type: ignore[index]
    return Preprocessing(
        resize=math.floor(size / config["crop_pct"]),  # type: ignore[operator]
        crop=size,
        interpolation=str(config["interpolation"]),
        mean=tuple(config["mean"]),  # type: ignore[arg-type]
        std=tuple(config["std"]),  # type: ignore[arg-type]
    )
