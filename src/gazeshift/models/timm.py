"""Any classifier of timm: ``timm:resnet50.a1_in1k``."""

import math
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

import huggingface_hub
import timm as library
import torch
from timm.data.config import resolve_model_data_config

from gazeshift.errors import ModelError, UnknownNameError, did_you_mean
from gazeshift.models._classifier import Classifier, Preprocessing
from gazeshift.models._imagenet import imagenet_names
from gazeshift.models._weights import BROKEN, RANDOM, load_into, missing, repeatable

__all__ = ["timm"]

PATIENCE = 3  # seconds to wait for the weights' host; its own client tries six times and takes a minute to give up


def timm(name: str, weights: str | None = None) -> Classifier:
    """A timm classifier with its pretrained weights, a file's, or none (``random``).

    Raises:
        UnknownNameError: timm has no such model, or no weights under that tag.
        ModelError: the weights are neither here nor to be downloaded; says where to put them.
    """
    _check_name(name)
    with repeatable(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "deprecated model name" for timm:xception, which we mean
        network = _pretrained(name) if weights is None else library.create_model(name)
    if weights not in (None, RANDOM):
        load_into(network, str(weights), f"timm:{name}")
    imagenet = getattr(network, "num_classes", 0) == 1000
    return Classifier(
        network,
        name=f"timm:{name}",
        preprocessing=_preprocessing(resolve_model_data_config(network)),  # type: ignore[no-untyped-call]
        class_names=imagenet_names()[0] if imagenet else (),
        wnids=imagenet_names()[1] if imagenet else (),
        source=weights or f"timm:{name}",
        own=True,
    )


def _check_name(name: str) -> None:
    model, _, tag = name.partition(".")
    if not library.is_model(model):
        raise UnknownNameError(f"timm has no model '{name}'. {did_you_mean(model, library.list_models())}")
    tagged = library.list_pretrained(f"{model}.*")
    if tag and name not in tagged:
        raise UnknownNameError(f"timm has no weights '{name}'. {did_you_mean(name, [model, *tagged])}")


def _pretrained(name: str) -> torch.nn.Module:
    try:
        with _offline_if_unreachable(), redirect_stdout(sys.stderr):  # torch.hub announces its downloads
            return library.create_model(name, pretrained=True)
    except BROKEN as cause:
        config: dict[str, Any] = vars(library.create_model(name))["pretrained_cfg"]
        if not (config.get("hf_hub_id") or config.get("url")):
            raise ModelError(
                f"timm has no trained weights for '{name}'. Name a file: --weights FILE. Or look at the untrained "
                f"network with --weights {RANDOM}."
            ) from cause
        raise missing(f"timm:{name}", cause, _place(config)) from cause


def _place(config: Mapping[str, Any]) -> str:
    if config.get("hf_hub_id"):
        page = f"{huggingface_hub.constants.ENDPOINT}/{config['hf_hub_id']}"
        return f"Download model.safetensors from {page} elsewhere, and name the file: --weights FILE."
    file = config["url"].split("/")[-1]
    return f"Put {file} into {torch.hub.get_dir()}/checkpoints, or name a file: --weights FILE."


@contextmanager
def _offline_if_unreachable() -> Iterator[None]:
    """Let the hub's client look only into its cache, if its host does not answer at once."""
    before = huggingface_hub.constants.HF_HUB_OFFLINE
    try:
        if not before:
            huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=PATIENCE)
    except Exception:  # no network, a proxy's refusal, a wrong certificate: all the same here
        huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE = before


def _preprocessing(config: Mapping[str, object]) -> Preprocessing:
    size = config["input_size"][-1]  # type: ignore[index]
    return Preprocessing(
        resize=math.floor(size / config["crop_pct"]),
        crop=size,
        interpolation=str(config["interpolation"]),
        mean=tuple(config["mean"]),  # type: ignore[arg-type]
        std=tuple(config["std"]),  # type: ignore[arg-type]
    )
