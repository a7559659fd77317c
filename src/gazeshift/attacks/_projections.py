"""Directions, starts and projections in the two norms. Images and sizes are in [0, 1] units."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.seeds import Generators, normal, uniform


def steepest(gradient: Float[Tensor, "n channels h w"], norm: str) -> Float[Tensor, "n channels h w"]:
    """The direction of length 1 in `norm` that raises the loss fastest; 0 where the gradient is 0.

    L-inf: the sign, and NaN for NaN, of which PyTorch's sign would make 0. L2: the gradient over its length, at any
    scale: it is first divided by its largest value, because the squares of float32 numbers below 1e-23 vanish, and
    confident models have such gradients.
    """
    if norm == "linf":
        return gradient.sign().masked_fill_(gradient.isnan(), torch.nan)
    largest = gradient.abs().amax((1, 2, 3), keepdim=True)
    scaled = gradient / largest.masked_fill(largest == 0, 1)
    # A gradient that is not zero now has a length of 1 or more, so the clamp acts on zero gradients alone.
    return scaled / length_of(scaled).clamp(min=1)


def project(
    moved: Float[Tensor, "n channels h w"], images: Float[Tensor, "n channels h w"], epsilon: float, norm: str
) -> Float[Tensor, "n channels h w"]:
    """The point of the epsilon ball around `images` next to `moved`, then clipped to [0, 1]."""
    if norm == "linf":
        return moved.clamp(images - epsilon, images + epsilon).clamp_(0, 1)
    change = moved - images
    shrink = (epsilon / length_of(change)).clamp(max=1)  # no change: epsilon / 0 is infinite, clamped to 1
    return change.mul_(shrink).add_(images).clamp_(0, 1)


def random_start(
    images: Float[Tensor, "n channels h w"], epsilon: float, norm: str, generator: Generators
) -> Float[Tensor, "n channels h w"]:
    """A point drawn uniformly from the epsilon ball around each image, then clipped to [0, 1].

    L2: the first m coordinates of a uniform direction in m + 2 dimensions are uniform in the m-ball (Voelker et al.
    2017, "Efficiently sampling vectors and coordinates from the n-sphere and n-ball").
    """
    if norm == "linf":
        drawn = uniform(images.shape, generator, images.device).mul_(2).sub_(1)
    else:
        pixels = math.prod(images.shape[1:])
        direction = normal((len(images), pixels + 2), generator, images.device)
        drawn = (direction / torch.linalg.vector_norm(direction, dim=1, keepdim=True))[:, :pixels].view(images.shape)
    return project(images + drawn.to(images.dtype) * epsilon, images, epsilon, norm)


def length_of(change: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n 1 1 1"]:
    """Sums in pairs, unlike `vector_norm`, which on a CPU is 2e-5 too short for a photograph of equal changes."""
    wide = change.to(torch.promote_types(change.dtype, torch.float32))
    return wide.square().sum((1, 2, 3), keepdim=True).sqrt().to(change.dtype)
