"""Any classifier of timm: ``timm:resnet50.a1_in1k``, ``timm:hf-hub:owner/name``, ``timm:local-dir:FOLDER``."""

import json
import math
import pickle
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import huggingface_hub
import timm as library
import torch
from timm.data.config import resolve_model_data_config
from timm.models import PretrainedCfg, get_pretrained_cfg

from gazeshift.errors import ModelError, UnknownNameError, did_you_mean
from gazeshift.models._classifier import Classifier
from gazeshift.models._imagenet import imagenet_names
from gazeshift.models._preprocessing import Preprocessing
from gazeshift.models._weights import BROKEN, RANDOM, missing, network_of, reason, repeatable

__all__ = ["timm"]

PATIENCE = 3  # seconds to wait for the weights' host; its own client tries six times and takes a minute to give up
HUB, FOLDER = ("hf-hub:", "hf_hub:"), "local-dir:"
IMAGENET, MANY = 1000, 5000  # timm's own models have so many classes, or more; in between are image embeddings
ELSEWHERE = tuple(f"timm:{place}" for place in (*HUB, FOLDER))
FITS = {"squash": "squash", "border": "pad"}  # timm's crop modes; any other one is "center"


def timm(name: str, weights: str | None = None, *, size: tuple[int, int] | None = None) -> Classifier:
    """A timm classifier with its pretrained weights, a file's, or none (``random``).

    Args:
        name: of timm's, with a tag or its default one; or where `timm.models.push_to_hf_hub` and `save_for_hf` have
            put one: ``hf-hub:owner/name``, ``local-dir:FOLDER``. Pickled weights are read without running code.
        weights: a file; its head says how many classes there are.
        size: height and width that the images will have, if not the model's own; networks that are made for one size
            are made for this one, and timm resamples their pretrained position embeddings.

    Raises:
        UnknownNameError: timm has no such model, or no weights under that tag.
        ModelError: the weights are neither here nor to be downloaded (says where to put them), not those of this
            network, without classes, or made for one size alone.
    """
    spec, is_remote = f"timm:{name}", name.startswith((*HUB, FOLDER))
    config = _remote_config(name) if is_remote else _own_config(name)
    fixed = size if config.fixed_input_size else None
    file = None if weights in (None, RANDOM) else str(weights)
    if file is None:
        _check_classes(spec, config.num_classes, config)
    with repeatable(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "deprecated model name" for timm:xception, which we mean
        if weights is None:
            network: Any = _pretrained(name, config, fixed)
        else:
            build = partial(_built, name, fixed)
            # A network without a head is given one, so that a file can say what it is.
            head = {} if config.num_classes else {"num_classes": IMAGENET}
            network = build() if file is None else network_of(file, partial(build, **head), spec)[0]
    _check_classes(spec, network.num_classes, config)
    class_names, wnids = _class_names(network.num_classes, _config_of(network.pretrained_cfg))
    return Classifier(
        network,
        name=spec,
        preprocessing=_preprocessing(_config_of(resolve_model_data_config(network)), network),  # type: ignore[no-untyped-call]
        class_names=class_names,
        wnids=wnids,
        source=weights or spec,
        own=True,
    )


def _config_of(said: Mapping[str, object]) -> PretrainedCfg:
    """What timm knows of a network, out of whatever was said of it."""
    known = {field.name for field in fields(PretrainedCfg)}
    return PretrainedCfg(**{name: value for name, value in said.items() if name in known})  # type: ignore[arg-type]


def _own_config(name: str) -> PretrainedCfg:
    model, _, tag = name.partition(".")
    if not library.is_model(model):
        raise UnknownNameError(f"timm has no model '{name}'. {did_you_mean(model, library.list_models())}")
    tagged = library.list_pretrained(f"{model}.*")
    if tag and name not in tagged:
        raise UnknownNameError(f"timm has no weights '{name}'. {did_you_mean(name, [model, *tagged])}")
    config = get_pretrained_cfg(name)
    if config is None:  # of ``xception`` and other old names, which timm only follows when it makes the network
        with repeatable(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            network: Any = library.create_model(name)
        config = _config_of(network.pretrained_cfg)
    return config


def _remote_config(name: str) -> PretrainedCfg:
    """What a model on the Hugging Face hub, or in a folder, says of itself in its ``config.json``."""
    place = name.partition(":")[2]
    try:
        said = json.loads(_config_file(name, place).read_text("utf-8"))
    except (OSError, ValueError) as cause:
        raise _not_here(name, place, cause) from cause
    architecture = said.get("architecture") if isinstance(said, dict) else None
    if not isinstance(architecture, str):
        raise ModelError(
            f"timm:{name} is no model of timm: its config.json names no architecture of timm. Write a function that "
            "makes the network, and name it: module:FILE.py:FUNCTION."
        )
    if not library.is_model(architecture):
        raise UnknownNameError(
            f"timm:{name} has the architecture '{architecture}', which timm {library.__version__} does not know. "
            f"{did_you_mean(architecture, library.list_models())}"
        )
    where = "file" if name.startswith(FOLDER) else "hf_hub_id"
    return _config_of({**said.get("pretrained_cfg", {}), **said, where: place})


def _config_file(name: str, place: str) -> Path:
    if name.startswith(FOLDER):
        return Path(place) / "config.json"
    owner_name, _, revision = place.partition("@")
    with _offline_if_unreachable(), redirect_stdout(sys.stderr):
        return Path(huggingface_hub.hf_hub_download(owner_name, "config.json", revision=revision or None))


def _not_here(name: str, place: str, cause: Exception) -> ModelError:
    if name.startswith(FOLDER):
        return ModelError(
            f"no model of timm in {place} ({reason(cause)}). Give a folder with config.json and model.safetensors, as "
            "timm.models.save_for_hf writes it."
        )
    return ModelError(
        f"timm:{name} is not on this machine and could not be downloaded ({reason(cause)}). Check the name, written "
        f"owner/name or owner/name@revision; or download config.json and model.safetensors from {_page(place)} "
        f"elsewhere and name their folder: timm:{FOLDER}FOLDER."
    )


def _page(place: str) -> str:
    return f"{huggingface_hub.constants.ENDPOINT}/{place.partition('@')[0]}"


def _check_classes(spec: str, classes: int, config: PretrainedCfg) -> None:
    """Refuse networks that describe an image, in numbers that are no logits: DINO, CLIP, SigLIP..."""
    is_timms = not spec.startswith(ELSEWHERE) and classes == config.num_classes
    if classes == 0 or (is_timms and classes != IMAGENET and classes < MANY):
        raise ModelError(
            f"{spec} has no classes: it describes an image in {classes or 'some hundred'} numbers, which are no "
            "logits. Take a tag that was fine-tuned on classes (such as *_ft_in1k), or name a file with weights of a "
            "head: --weights FILE."
        )


def _built(name: str, size: tuple[int, int] | None, **options: Any) -> torch.nn.Module:
    try:
        with _offline_if_unreachable() if name.startswith(HUB) else nullcontext():
            return library.create_model(name, **options, **_of_size(size))
    except Exception as cause:  # a size that its layers cannot divide, a config.json of another version
        raise ModelError(f"timm cannot build timm:{name}{_sized(size)} ({reason(cause)}).") from cause


def _pretrained(name: str, config: PretrainedCfg, size: tuple[int, int] | None) -> torch.nn.Module:
    try:
        with _offline_if_unreachable(), redirect_stdout(sys.stderr):  # torch.hub announces its downloads
            return library.create_model(name, pretrained=True, **_of_size(size))
    except Exception as cause:  # what a config.json says, and a file holds, may break anything
        if not config.has_weights:
            raise ModelError(
                f"timm has no trained weights for '{name}'. Name a file: --weights FILE. Or look at the untrained "
                f"network with --weights {RANDOM}."
            ) from cause
        if size and not isinstance(cause, OSError | pickle.UnpicklingError):
            raise ModelError(
                f"the weights of timm:{name} do not fit images{_sized(size)} ({reason(cause)}). Leave out --input-size."
            ) from cause
        if name.startswith((*HUB, FOLDER)) and not isinstance(cause, OSError):
            raise ModelError(
                f"timm:{name} cannot be loaded ({reason(cause)}). Its weights are damaged, of another network than its "
                "config.json says, or hold more than tensors, and opening them could run code. Ask for "
                "model.safetensors."
            ) from cause
        if not isinstance(cause, BROKEN):
            raise
        raise missing(f"timm:{name}", cause, _place(config)) from cause


def _of_size(size: tuple[int, int] | None) -> Any:
    """The argument of timm that makes a network for images of this size."""
    return {"img_size": size} if size else {}


def _sized(size: tuple[int, int] | None) -> str:
    return f" of {size[0]} x {size[1]} pixels" if size else ""


def _place(config: PretrainedCfg) -> str:
    if config.hf_hub_id:
        page = _page(config.hf_hub_id)
        return f"Download model.safetensors from {page} elsewhere, and name the file: --weights FILE."
    file = Path(str(config.url or config.file)).name
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


def _class_names(classes: int, config: PretrainedCfg) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and WordNet ids: those that the config lists, or ImageNet's if there are a thousand without names."""
    labels: Any = config.label_names  # a config.json may hold anything
    about = config.label_descriptions or {}
    if isinstance(labels, Mapping):  # by index, with gaps
        labels = [labels.get(str(index), labels.get(index, f"class {index}")) for index in range(classes)]
    imagenet, wnids = imagenet_names()
    if not labels or len(labels) != classes:
        return (imagenet, wnids) if classes == IMAGENET and not labels else ((), ())
    if tuple(labels) == wnids:
        return imagenet, wnids
    return tuple(str(about.get(label, label)) for label in labels), ()


def _preprocessing(config: PretrainedCfg, network: Any) -> Preprocessing:
    """What `timm.data.create_transform` does for evaluation, which it does from the same config."""
    crop = (config.input_size[1], config.input_size[2])
    resize = (math.floor(crop[0] / config.crop_pct), math.floor(crop[1] / config.crop_pct))
    channels = getattr(network, "in_chans", 3)
    mean, std = (_for_channels(values, channels) for values in (config.mean, config.std))
    fit = FITS.get(config.crop_mode, "cover" if config.crop_pct <= 1 else "frame")
    is_square = fit in ("cover", "frame") and resize[0] == resize[1]
    return Preprocessing(
        resize=resize[0] if is_square else resize,
        crop=crop,
        interpolation=str(config.interpolation),
        mean=mean,
        std=std,
        fit=fit,
        channels=channels,
    )


def _for_channels(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """One number for each channel; their mean for another number of channels, as timm has it."""
    return tuple(values) if len(values) in (1, channels) else (sum(values) / len(values),) * channels
