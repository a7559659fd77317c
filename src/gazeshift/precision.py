"""In which type numbers are computed, whatever type or device they come in."""

import torch
from torch import Tensor

SINGLE = ("mps",)  # devices that have no float64


def wide(values: Tensor) -> Tensor:
    """In float32 or wider: half types have too few digits to count in, and their squares underflow."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def exact(values: Tensor) -> Tensor:
    """In float64, where the device has it, else on the CPU: slower, and the same numbers. Can be differentiated.

    >>> exact(torch.tensor([1], dtype=torch.int32))
    tensor([1.], dtype=torch.float64)
    """
    # Moved first and widened there: one step would make it wide on the device.
    return (values if has_float64(values.device) else values.cpu()).double()


def placed(values: Tensor, device: torch.device) -> Tensor:
    """On that device; what is float64 becomes float32 where the device has none."""
    single = values.dtype == torch.float64 and not has_float64(device)
    return values.to(device, torch.float32 if single else values.dtype)


def has_float64(device: torch.device) -> bool:
    """Whether a device can hold float64 at all."""
    return device.type not in SINGLE
