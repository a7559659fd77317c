"""Reads weights from files that cannot run code, and says where to put them when they cannot be had."""

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from gazeshift.errors import ModelError

RANDOM = "random"  # asked for by name, never a silent fallback


def read_state(file: str | Path) -> dict[str, Tensor]:
    """A state dict from ``.safetensors``, or from a ``.pt``/``.pth`` that holds nothing but tensors.

    Raises:
        ModelError: no such file, another format, or a pickle that would run code.
    """
    file = Path(file)
    if not file.is_file():
        raise ModelError(f"no weights at {file}. Give a .safetensors file, or a .pt or .pth with a state dict.")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as cause:
        raise ModelError(
            f"{file} holds more than tensors, and opening it could run code. Save it again with "
            "torch.save(model.state_dict(), ...) or as safetensors."
        ) from cause
    except Exception as cause:  # safetensors and torch raise many kinds for a file cut short
        raise ModelError(f"{file} cannot be read as weights ({cause}). It may be cut short: copy it again.") from cause
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{file} holds no state dict. Save it with torch.save(model.state_dict(), ...).")
    return state


def load_into(module: nn.Module, file: str | Path, name: str) -> None:
    """Load a file's weights, every one of them; half-precision weights are widened to the module's type.

    Raises:
        ModelError: a weight is missing, left over or of another shape; names the first ones.
    """
    state = {key.removeprefix("module."): value for key, value in read_state(file).items()}
    try:
        module.load_state_dict(state)
    except RuntimeError as cause:
        problem = " ".join(str(cause).split())[:300]
        raise ModelError(f"the weights in {file} are not those of {name}: {problem}") from cause


def missing(name: str, cause: Exception, place: str) -> ModelError:
    """The error for weights that could not be downloaded."""
    reason = " ".join(str(cause).split())[:160] or type(cause).__name__
    return ModelError(
        f"the weights of {name} are not on this machine and could not be downloaded ({reason}). {place} "
        f"Or look at the untrained network with --weights {RANDOM}."
    )
