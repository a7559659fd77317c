"""Images of half precision: attacked in float32, and given back in their own type without leaving the ball.

Half images have no room for the gradients of a sure model (float16) or for a step of 8/255 (bfloat16). Every attack's
``__call__`` is therefore decorated with `in_full_precision`, and `gazeshift.attack` does the same for any other attack.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gazeshift.attacks._projections import length_of
from gazeshift.models import Classifier
from gazeshift.precision import wide

Model = Callable[[Tensor], Tensor]


def returned(
    made: Float[Tensor, "n channels h w"],
    images: Float[Tensor, "n channels h w"],
    *,
    epsilon: float | None,
    norm: str | None,
) -> Float[Tensor, "n channels h w"]:
    """What an attack made of `wide(images)`, in the type of the images and still in the epsilon ball around them.

    Every value is rounded to the nearest one. Where that would leave the ball (a value in L-inf, an image in L2), it is
    rounded towards the clean image, so that no value changes by more than the attack changed it.

    Args:
        made: the attacked images, float32 or float64.
        images: the clean ones, of any floating type.
        epsilon: radius of the ball, or None without one.
        norm: of the ball, ``linf`` or ``l2``; None without one.
    """
    nearest, clean = made.to(images.dtype), images.detach()
    if epsilon is None or norm is None or made.dtype == torch.promote_types(made.dtype, images.dtype) == images.dtype:
        return nearest
    change = nearest.to(made.dtype) - clean.to(made.dtype)
    outside = (change.abs() if norm == "linf" else length_of(change)) > epsilon
    return torch.where(outside, inward(made, clean), nearest)


def inward(
    made: Float[Tensor, "n channels h w"], images: Float[Tensor, "n channels h w"]
) -> Float[Tensor, "n channels h w"]:
    """Attacked images in the type of the clean ones, each value rounded towards the clean one."""
    nearest, clean = made.to(images.dtype), images.detach()
    exact = clean.to(made.dtype)
    away = (nearest.to(made.dtype) - exact).abs() > (made - exact).abs()
    return torch.where(away, torch.nextafter(nearest, clean), nearest)


def in_full_precision(call: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """An attack's ``__call__`` for images of any floating type: float32 and float64 pass through as they are.

    A model that is no `Classifier` (which converts images by itself) is shown images of the type that the caller gave.
    """

    @wraps(call)
    def attacked(self: Any, model: Model, images: Tensor, labels: Tensor, *, generator: Any) -> Tensor:
        if wide(images).dtype == images.dtype:
            return call(self, model, images, labels, generator=generator)
        made = call(self, shown(model, images.dtype), wide(images), labels, generator=generator)
        return returned(made, images, epsilon=getattr(self, "epsilon", None), norm=self.norm)

    return attacked


def shown(model: Model, dtype: torch.dtype) -> Model:
    """The model for images in float32; one that is no `Classifier` is shown half images, if that is their `dtype`."""
    if isinstance(model, Classifier) or torch.finfo(dtype).bits >= 32:
        return model
    return _Converting(model, dtype) if isinstance(model, nn.Module) else lambda images: model(images.to(dtype))


class _Converting(nn.Module):
    """A module whose images are converted to a type first; its layers can still be found."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module, self.dtype = module, dtype

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.module(images.to(self.dtype))
        return logits
