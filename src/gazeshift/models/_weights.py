"""Reads weights from files that cannot run code, and says where to put them when they cannot be had."""

import argparse
import pickle
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from gazeshift.errors import ModelError

RANDOM = "random"  # asked for by name, never a silent fallback
EMA = ("state_dict_ema", "ema_state_dict", "model_ema", "ema")  # averaged weights: those that training validates
HELD_IN = (*EMA, "state_dict", "model_state_dict", "model")  # where training scripts keep them in their checkpoints
WRAPPERS = {"module", "_orig_mod"}  # the names that DataParallel and torch.compile put before or between others
HARMLESS: list[Any] = [argparse.Namespace]  # a training script's arguments, which timm and torchvision store beside
# a download, or a file it left behind
BROKEN = (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, SafetensorError)


def read_state(file: str | Path) -> dict[str, Tensor]:
    """A state dict from ``.safetensors``, or from a ``.pt``/``.pth``/``.ckpt`` that runs no code.

    Of a checkpoint with averaged (EMA) weights beside the plain ones, the averaged: they are what training scripts
    validate and publish, and what timm's own loader takes.

    Raises:
        ModelError: no such file, another format, or a pickle that would run code.
    """
    file = Path(file)
    if not file.is_file():
        raise ModelError(f"no weights at {file}. Give a .safetensors file, or a .pt or .pth with a state dict.")
    try:
        content = _read(file)
    except Exception as cause:  # safetensors and torch raise many kinds for a file cut short
        if _is_pickle(file) and isinstance(cause, pickle.UnpicklingError):
            raise ModelError(
                f"{file} holds more than tensors, and opening it could run code. Save it again with "
                "torch.save(model.state_dict(), ...) or as safetensors."
            ) from cause
        raise ModelError(
            f"{file} cannot be read as weights ({reason(cause)}). It may be cut short or of another format: copy it "
            "again, or save it with torch.save(model.state_dict(), ...)."
        ) from cause
    state = _state_in(content)
    if not state:
        raise ModelError(f"{file} holds no state dict. Save it with torch.save(model.state_dict(), ...).")
    return dict(state)


def _is_pickle(file: Path) -> bool:
    """Whether a file is what pickle or torch.save writes. What torch refuses in one are objects that are no tensors."""
    with file.open("rb") as stream:
        return stream.read(1) == pickle.PROTO or zipfile.is_zipfile(file)


def _read(file: Path) -> Any:
    if file.suffix.lower() == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file)
    with warnings.catch_warnings(), torch.serialization.safe_globals(HARMLESS):
        warnings.filterwarnings("ignore", "Detected pickle protocol")  # torch then reads it, or says what it lacks
        return torch.load(file, map_location="cpu", weights_only=True)


def _state_in(content: Any) -> Mapping[str, Tensor] | None:
    """The named tensors in a checkpoint, at any depth of the names that people store them under."""
    if not isinstance(content, Mapping) or not content:
        return None
    if all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()):
        return content
    return next((state for name in HELD_IN if (state := _state_in(content.get(name)))), None)


def network_of(
    file: str | Path, build: Callable[..., nn.Module], name: str, *, unused: Sequence[str] = ()
) -> tuple[nn.Module, int | None]:
    """The network that a file's weights belong to, with as many classes as their head has.

    Args:
        file: see `read_state`.
        build: makes the network; takes ``num_classes``.
        name: how messages call it.
        unused: beginnings of the names of weights that the answer does not depend on, and that are left out.

    Returns:
        The network, and its number of classes if it is another than usual.

    Raises:
        ModelError: the weights are not those of such a network.
    """
    state, network = read_state(file), build()
    state = {key: value for key, value in _named_as(network, state, file).items() if not key.startswith(tuple(unused))}
    classes = _other_classes(network.state_dict(), state)
    network = network if classes is None else build(num_classes=classes)
    _load(network, state, file, name)
    return network, classes


def load_into(module: nn.Module, file: str | Path, name: str) -> None:
    """Load a file's weights, every one of them; half-precision weights are widened to the module's type.

    Raises:
        ModelError: a weight is missing, left over or of another shape; names the first ones.
    """
    _load(module, _named_as(module, read_state(file), file), file, name)


def _named_as(network: nn.Module, state: Mapping[str, Tensor], file: str | Path) -> dict[str, Tensor]:
    """Weights under the network's own names, without what wrappers and training modules put before them.

    A prefix is taken off if more of the network's names follow it than any other. What then does not begin with it is
    not the network's: a loss, a metric, a count of averaged steps. Of two networks, the one that is called EMA.
    """
    own = network.state_dict()
    if not any(WRAPPERS & set(name.split(".")) for name in own):
        state = {".".join(part for part in name.split(".") if part not in WRAPPERS): state[name] for name in state}
    counts = Counter(head for name in state for head, rest in _splits(name) if rest in own)
    likely = [prefix for prefix, count in counts.items() if count == max(counts.values())]
    likely = [prefix for prefix in likely if "ema" in prefix.lower().replace("_", ".").split(".")] or likely
    if not likely or "" in likely:
        return {name: value for name, value in state.items() if name != "n_averaged" or name in own}
    if len(likely) > 1:
        raise ModelError(
            f"{file} holds {len(likely)} networks ({', '.join(likely)}). Save the one that is meant with "
            "torch.save(model.state_dict(), ...)."
        )
    return {name.removeprefix(likely[0]): value for name, value in state.items() if name.startswith(likely[0])}


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """``a.b.c`` as ("", a.b.c), ("a.", b.c), ("a.b.", c)."""
    parts = name.split(".")
    for cut in range(len(parts)):
        yield ".".join([*parts[:cut], ""]), ".".join(parts[cut:])


def _other_classes(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> int | None:
    """Number of classes in a state dict that differs from the network's only there: fine-tuned weights."""
    pairs = [(own[name].shape, state[name].shape) for name in own if name in state]
    heads = [(mine, theirs) for mine, theirs in pairs if mine != theirs]
    if not all(mine and theirs and mine[1:] == theirs[1:] for mine, theirs in heads):
        return None
    changes = {(mine[0], theirs[0]) for mine, theirs in heads}
    return changes.pop()[1] if len(changes) == 1 else None


def _load(network: nn.Module, state: Mapping[str, Tensor], file: str | Path, name: str) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as cause:
        raise ModelError(
            f"the weights in {file} are not those of {name}: {_differences(network, state) or reason(cause)}. Name the "
            "architecture that they were trained with; a network of your own is named module:FILE.py:FUNCTION."
        ) from cause


def _differences(network: nn.Module, state: Mapping[str, Tensor]) -> str:
    """The first names that only one side has, and the first shapes that differ."""
    own = {key: tensor for key, tensor in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in state and not nn.parameter.is_lazy(own[key]) and own[key].shape != state[key].shape
    ]
    found = {
        "the file lacks": [key for key in own if key not in state],
        "it has too much": [key for key in state if key not in network.state_dict()],
        "other shapes": shapes,
    }
    return "; ".join(f"{what} {_first(names)}" for what, names in found.items() if names)


def _first(names: Sequence[str], count: int = 3) -> str:
    more = len(names) - count
    return ", ".join(names[:count]) + (f" and {more} more" if more > 0 else "")


@contextmanager
def repeatable() -> Iterator[None]:
    """Build a network whose random weights are the same every time, and leave the global random state alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def missing(name: str, cause: Exception, place: str) -> ModelError:
    """The error for weights that could not be downloaded."""
    return ModelError(
        f"the weights of {name} are not on this machine and could not be downloaded ({reason(cause)}). {place} "
        f"Or look at the untrained network with --weights {RANDOM}."
    )


def reason(cause: Exception, length: int = 160) -> str:
    """The error's own words on one line, cut short."""
    words = " ".join(str(cause).split()) or type(cause).__name__
    return words if len(words) <= length else f"{words[: length - 3]}..."
