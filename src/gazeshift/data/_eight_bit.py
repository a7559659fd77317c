"""Attacked images as 8-bit files hold them, without breaking the attack's promise."""

import math

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

SLACK = 1e-3  # grey levels by which 255 epsilon may miss a whole number because of rounding


def to_levels(images: Float[Tensor, "n channels h w"]) -> UInt8[Tensor, "n channels h w"]:
    """The nearest of 256 levels. Exact for what came from an 8-bit file."""
    return (images * 255).round().to(torch.uint8)


def attacked_levels(
    clean: Float[Tensor, "n channels h w"],
    attacked: Float[Tensor, "n channels h w"],
    *,
    norm: str | None,
    epsilon: float | None,
) -> UInt8[Tensor, "n channels h w"]:
    """Attacked images rounded to 8 bit so that epsilon still holds against the 8-bit clean images.

    Each value goes to the nearest level. Where that would leave the ball, it goes toward the clean pixel instead:
    in L-inf by as much as needed, in L2 all values of the image are cut. Without a norm nothing is bounded. A
    perturbation below half a level is lost. Values that are not finite become the clean pixel's.

    Args:
        clean: the images before.
        attacked: after.
        norm: ``linf``, ``l2``, or None.
        epsilon: radius of the ball in [0, 1] units, or None.
    """
    before = to_levels(clean).float()
    after = torch.where(attacked.isfinite(), attacked * 255, before)
    levels = after.round()
    if norm == "linf" and epsilon is not None:
        room = math.floor(epsilon * 255 + SLACK)
        levels = levels.clamp(before - room, before + room)
    elif norm == "l2" and epsilon is not None:
        lengths = (levels - before).square().sum((1, 2, 3), keepdim=True).sqrt()
        levels = torch.where(lengths > epsilon * 255 + SLACK, before + (after - before).trunc(), levels)
    return levels.clamp(0, 255).to(torch.uint8)
