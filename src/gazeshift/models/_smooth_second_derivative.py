"""Gradients of gradients of a frozen network, for attacks on what depends on gradients.

The slope of a ReLU is 0 or 1. Its derivative is zero wherever there is one, so that nobody can descend on a map's
weights. Attackers put a smooth bump in the place of that derivative, and so do we; the network's values and first
derivatives stay what they are.

PyTorch also asks what each weight had to do with a gradient, group by group of a convolution, and throws it away for
frozen ones; in a network of depthwise convolutions this takes most of the time, so it is left out here.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import batch_norm, conv2d
from torch.nn.grad import conv2d_input
from torch.overrides import TorchFunctionMode

Values = Float[Tensor, "..."]
Slope = tuple[float, float, float]  # it is 1 between the first two, and the third outside

SLOPES: Mapping[str, Callable[..., Slope]] = {
    "relu": lambda: (0.0, math.inf, 0.0),
    "relu6": lambda: (0.0, 6.0, 0.0),
    "hardtanh": lambda min_val=-1.0, max_val=1.0: (min_val, max_val, 0.0),
    "leaky_relu": lambda negative_slope=0.01: (0.0, math.inf, negative_slope),
}


class SmoothSecondDerivative(TorchFunctionMode):
    """In this thread, what the images lead to can be differentiated twice, as an attacker would.

    ReLU, ReLU6, hardtanh and leaky ReLU get the stand-in. Nothing of a model is touched; in-place calls write into
    their tensor as ever.

    Args:
        width: of the bump, a triangle from -width to width around each kink. What comes out of a batch norm has a
            spread of about 1.
    """

    def __init__(self, width: float = 0.5) -> None:
        super().__init__()
        self.width = width

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        if torch.is_grad_enabled():
            if name.removesuffix("_") in SLOPES:
                return self._activated(name, function, args, kwargs)
            if function is conv2d:
                return _convolved(*args, **kwargs)
            if function is batch_norm:
                return _normalised(*args, **kwargs)
        return function(*args, **kwargs)

    def _activated(self, name: str, function: Any, args: Any, kwargs: Any) -> Values:
        values, *rest = args or (kwargs["input"],)
        if not values.requires_grad:
            made: Values = function(*args, **kwargs)
            return made
        given = {key: value for key, value in kwargs.items() if key not in ("input", "inplace")}
        in_place = kwargs.get("inplace", False) or name.endswith("_")
        if rest and isinstance(rest[-1], bool):
            in_place = rest.pop()
        slope = SLOPES[name.removesuffix("_")](*rest, **given)
        made = _Bent.apply(values.clone() if in_place else values, slope, self.width)
        return values.copy_(made) if in_place else made


class _Bent(torch.autograd.Function):
    """The values of the activation, and `_Sloped` as its derivative."""

    @staticmethod
    def forward(ctx: Any, values: Values, slope: Slope, width: float) -> Values:
        ctx.save_for_backward(values)
        ctx.settings = slope, width
        low, high, outside = slope
        inside = values.clamp(low, high)
        return inside if outside == 0 else torch.where(values == inside, values, values * outside)

    @staticmethod
    def backward(ctx: Any, gradient: Values) -> tuple[Values | None, ...]:
        (values,) = ctx.saved_tensors
        return _Sloped.apply(values, gradient, *ctx.settings), None, None


class _Sloped(torch.autograd.Function):
    """A gradient times the exact slope, and a bump as the slope's derivative."""

    @staticmethod
    def forward(ctx: Any, values: Values, gradient: Values, slope: Slope, width: float) -> Values:
        ctx.save_for_backward(values, gradient)
        ctx.settings = slope, width
        return _sloped(values, gradient, slope)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Values) -> tuple[Values | None, ...]:
        values, gradient = ctx.saved_tensors
        slope, width = ctx.settings
        low, high, outside = slope
        change = _bump(values, low, width)
        if math.isfinite(high):
            change -= _bump(values, high, width)
        change *= 1 - outside
        return change.mul_(gradient).mul_(above), _sloped(values, above, slope), None, None


def _sloped(values: Values, gradient: Values, slope: Slope) -> Values:
    low, high, outside = slope
    within: Values = (
        torch.ops.aten.hardtanh_backward(gradient, values, low, high)
        if math.isfinite(high)
        else torch.ops.aten.threshold_backward(gradient, values, low)
    )
    return within if outside == 0 else torch.lerp(within, gradient, outside)


def _bump(values: Values, place: float, width: float) -> Values:
    """A triangle with an area of 1."""
    return (values - place).abs_().mul_(-1 / width**2).add_(1 / width).clamp_min_(0)


def _convolved(  # noqa: PLR0917 - as PyTorch calls it
    input: Values,  # noqa: A002
    weight: Values,
    bias: Values | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Values:
    """`conv2d`; if only the input asks for a gradient, its gradient's gradient is one more convolution."""
    learns = weight.requires_grad or (bias is not None and bias.requires_grad)
    if learns or not input.requires_grad or isinstance(padding, str):
        return conv2d(input, weight, bias, stride, padding, dilation, groups)
    made: Values = _Convolved.apply(input, weight, bias, (stride, padding, dilation, groups))
    return made


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Values, weight: Values, bias: Values | None, how: tuple[Any, ...]) -> Values:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.how = values.shape, how
        return conv2d(values, weight, bias, *how)

    @staticmethod
    def backward(ctx: Any, gradient: Values) -> tuple[Values | None, ...]:
        (weight,) = ctx.saved_tensors
        return _Returned.apply(gradient, weight, ctx.shape, ctx.how), None, None, None


class _Returned(torch.autograd.Function):
    """A convolution's gradient by its input: linear, and the convolution is its transpose."""

    @staticmethod
    def forward(ctx: Any, gradient: Values, weight: Values, shape: Any, how: tuple[Any, ...]) -> Values:
        ctx.save_for_backward(weight)
        ctx.how = how
        made: Values = conv2d_input(shape, weight, gradient, *how)  # type: ignore[no-untyped-call]  # in PyTorch
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Values) -> tuple[Values | None, ...]:
        (weight,) = ctx.saved_tensors
        return conv2d(above, weight, None, *ctx.how), None, None, None


def _normalised(  # noqa: PLR0917 - as PyTorch calls it
    input: Values,  # noqa: A002
    running_mean: Values | None,
    running_var: Values | None,
    weight: Values | None = None,
    bias: Values | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Values:
    """`batch_norm`; with frozen numbers it is one product and one sum for each channel."""
    learns = any(one is not None and one.requires_grad for one in (weight, bias))
    if training or learns or running_mean is None or running_var is None or not input.requires_grad:
        return batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    across = (1, -1, *(1,) * (input.ndim - 2))
    scale = (running_var + eps).rsqrt() * (1 if weight is None else weight)
    shift = (0 if bias is None else bias) - running_mean * scale
    return torch.addcmul(shift.view(across), input, scale.view(across))
