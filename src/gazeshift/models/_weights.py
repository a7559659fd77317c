"""Reads weights from files that cannot run code, and says where to put them when they cannot be had."""

import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from gazeshift.errors import ModelError

RANDOM = "random"  # asked for by name, never a silent fallback
HELD_IN = ("state_dict", "model_state_dict", "model")  # where training scripts keep the weights in their checkpoints
WRAPPERS = ("module.", "_orig_mod.")  # DataParallel's and torch.compile's
BROKEN = (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError)  # a download, or a file it left behind


def read_state(file: str | Path) -> dict[str, Tensor]:
    """A state dict from ``.safetensors``, or from a ``.pt``/``.pth`` that holds nothing but tensors.

    Raises:
        ModelError: no such file, another format, or a pickle that would run code.
    """
    file = Path(file)
    if not file.is_file():
        raise ModelError(f"no weights at {file}. Give a .safetensors file, or a .pt or .pth with a state dict.")
    try:
        state = _read(file)
    except Exception as cause:  # safetensors and torch raise many kinds for a file cut short
        if _is_pickle(file) and isinstance(cause, pickle.UnpicklingError):
            raise ModelError(
                f"{file} holds more than tensors, and opening it could run code. Save it again with "
                "torch.save(model.state_dict(), ...) or as safetensors."
            ) from cause
        raise ModelError(
            f"{file} cannot be read as weights ({_reason(cause)}). It may be cut short or of another format: copy it "
            "again, or save it with torch.save(model.state_dict(), ...)."
        ) from cause
    inner = next((state[key] for key in HELD_IN if isinstance(state.get(key), Mapping)), state)
    if not inner or not all(isinstance(value, Tensor) for value in inner.values()):
        raise ModelError(f"{file} holds no state dict. Save it with torch.save(model.state_dict(), ...).")
    return dict(inner)


def _is_pickle(file: Path) -> bool:
    """Whether a file is what pickle or torch.save writes. What torch refuses in one are objects that are no tensors."""
    with file.open("rb") as stream:
        return stream.read(1) == pickle.PROTO or zipfile.is_zipfile(file)


def _read(file: Path) -> dict[str, Tensor]:
    if file.suffix.lower() == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(file))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected pickle protocol")  # torch then reads it, or says what it lacks
        state = torch.load(file, map_location="cpu", weights_only=True)
    return dict(state) if isinstance(state, Mapping) else {}


def load_into(module: nn.Module, file: str | Path, name: str) -> None:
    """Load a file's weights, every one of them; half-precision weights are widened to the module's type.

    Raises:
        ModelError: a weight is missing, left over or of another shape; names the first ones.
    """
    state = read_state(file)
    for wrapper in WRAPPERS:
        if all(key.startswith(wrapper) for key in state) and not any(
            key.startswith(wrapper) for key in module.state_dict()
        ):
            state = {key.removeprefix(wrapper): value for key, value in state.items()}
    try:
        module.load_state_dict(state)
    except RuntimeError as cause:
        raise ModelError(f"the weights in {file} are not those of {name}: {_reason(cause, 300)}") from cause


@contextmanager
def repeatable() -> Iterator[None]:
    """Build a network whose random weights are the same every time, and leave the global random state alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def missing(name: str, cause: Exception, place: str) -> ModelError:
    """The error for weights that could not be downloaded."""
    return ModelError(
        f"the weights of {name} are not on this machine and could not be downloaded ({_reason(cause)}). {place} "
        f"Or look at the untrained network with --weights {RANDOM}."
    )


def _reason(cause: Exception, length: int = 160) -> str:
    """The error's own words on one line, cut short."""
    words = " ".join(str(cause).split()) or type(cause).__name__
    return words if len(words) <= length else f"{words[: length - 3]}..."
