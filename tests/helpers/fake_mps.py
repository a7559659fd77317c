"""A device that is not there: tensors that say they are on MPS, and refuse what MPS refuses.

Their values lie on the CPU. Every operation of theirs passes here, those of autograd too. One that makes float64, one
that PyTorch has no MPS kernel for (its own table of operators says which), and one that mixes devices raise as they
would on a Mac.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import torch
import torchgen
from torch import Tensor
from torch.autograd import graph
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

MPS = torch.device("mps")
WIDE = (torch.float64, torch.complex128)
OPERATORS = Path(torchgen.__file__).parent / "packaged" / "ATen" / "native" / "native_functions.yaml"
EVERYWHERE = {"MPS", "CompositeExplicitAutograd", "CompositeExplicitAutogradNonFunctional"}


class OnMps(Tensor):
    """A tensor that says it is on MPS. To autograd it is on the CPU: its engine has no thread for MPS here."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Self:
        made: Any = Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype
        )
        made.held = held
        return made

    device = property(lambda _: MPS)
    is_cpu = property(lambda _: False)
    __torch_function__ = torch._C._disabled_torch_function_impl

    def __repr__(self) -> str:
        return f"OnMps({self.held})"

    @classmethod
    def __torch_dispatch__(cls, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = tree_leaves((args, kwargs))
        strange = [one for one in given if isinstance(one, Tensor) and not isinstance(one, OnMps) and one.ndim]
        if strange and not (torch._C._current_graph_task_id() != -1 and all(is_nothing(one) for one in strange)):
            raise RuntimeError(f"Expected all tensors to be on the same device, got mps:0 and cpu in {function}.")
        if (kwargs or {}).get("dtype") in WIDE:
            raise refusal()
        if not has_kernel(function):
            raise NotImplementedError(f"The operator '{function}' is not currently implemented for the MPS device.")
        made = function(*tree_map(held, args), **tree_map(held, kwargs or {}))
        written = {id(one.held): one for one in given if isinstance(one, OnMps)}
        return tree_map(lambda one: written.get(id(one), placed(one)), made)


class ToMps(torch.autograd.Function):
    """Copies a CPU tensor to the device, and its gradient back."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        made: Tensor = placed(values.detach().clone())
        return made

    @staticmethod
    def backward(_: Any, upward: Tensor) -> Any:
        return FromMps.apply(upward)


class FromMps(torch.autograd.Function):
    """Copies a tensor of the device to the CPU, and its gradient back."""

    @staticmethod
    def forward(_: Any, values: Any) -> Tensor:
        made: Tensor = values.held.detach().clone()
        return made

    @staticmethod
    def backward(_: Any, upward: Tensor) -> Any:
        return ToMps.apply(upward)


@contextmanager
def fake_mps() -> Iterator[None]:
    """While it is open, tensors and networks can be moved to ``mps``, and made there."""

    def run_backward(*args: Any, **kwargs: Any) -> Any:
        with Places():  # the hooks of a backward pass see the device too
            return graph._engine_run_backward(*args, **kwargs)

    torch.__future__.set_overwrite_module_params_on_conversion(True)  # a weight's own memory stays on the CPU
    try:
        with patch.object(torch.autograd, "_engine_run_backward", run_backward), Places():
            yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)


class Places(TorchFunctionMode):
    """Calls that name a device, which never reach PyTorch with a name that it cannot serve here."""

    def __torch_function__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in (Tensor.to, Tensor.cpu):
            wanted = (torch.device("cpu"),) if function is Tensor.cpu else (*args[1:], *kwargs.values())
            return moved(args[0], *aims(wanted))
        if function in (Tensor.tolist, Tensor.untyped_storage):
            return function(held(args[0]), *args[1:], **kwargs)
        if function in (Tensor.numpy, Tensor.__array__) and isinstance(args[0], OnMps):
            raise TypeError("can't convert mps:0 device type tensor to numpy. Use Tensor.cpu() first.")
        if function is Tensor.copy_:
            return function(args[0], moved(args[1], args[0].device, args[0].dtype))
        if kwargs.get("device") is not None and torch.device(kwargs["device"]) == MPS:
            return moved(function(*args, **kwargs | {"device": "cpu"}), MPS, None)
        return function(*args, **kwargs)


def aims(wanted: Any) -> tuple[Any, Any]:
    """Device and type that the arguments of ``Tensor.to`` name."""
    place = dtype = None
    for one in wanted:
        if isinstance(one, Tensor):
            place, dtype = one.device, one.dtype
        elif isinstance(one, torch.dtype):
            dtype = one
        elif isinstance(one, str | torch.device):
            place = torch.device(one)
    return place, dtype


def moved(values: Tensor, place: torch.device | None, dtype: torch.dtype | None) -> Tensor:
    """On that device: a type changes before the copy to the device, and after the copy from it."""
    if isinstance(values, OnMps) and place == torch.device("cpu"):
        values = FromMps.apply(values)
    changed = values if dtype in (None, values.dtype) else torch.ops.aten.to.dtype(values, dtype)
    return ToMps.apply(changed) if place == MPS and not isinstance(changed, OnMps) else changed


def placed(value: Any) -> Any:
    """A tensor as it is on the device; whatever else as it is."""
    if not isinstance(value, Tensor) or isinstance(value, OnMps):
        return value
    if value.dtype in WIDE:
        raise refusal()
    return OnMps(value)


def is_nothing(values: Tensor) -> bool:
    """Whether these are the zeros that a derivative makes in C++, where it takes the device to be the CPU."""
    return not values.any()


def held(value: Any) -> Any:
    return value.held if isinstance(value, OnMps) else value


def refusal() -> TypeError:
    return TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64.")


@cache
def has_kernel(function: Any) -> bool:
    """Whether PyTorch's table of operators names a kernel for MPS; what it makes of others is not in the table."""
    entry = operators().get(str(function).removeprefix("aten.").removesuffix(".default"))
    while entry and (other := re.search(r"structured_delegate: (\S+)", entry)):
        entry = operators().get(other[1])
    places = re.findall(r"^    ([\w, ]+):", entry or "", re.MULTILINE)
    return not places or bool(EVERYWHERE & {one for names in places for one in re.split(", ?", names)})


@cache
def operators() -> dict[str, str]:
    """Entries of the table by name."""
    entries = re.split(r"^- func: ", OPERATORS.read_text(), flags=re.MULTILINE)[1:]
    return {entry.partition("(")[0]: entry for entry in entries}
