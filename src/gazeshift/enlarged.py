"""Inner products of bilinearly enlarged maps, without enlarging them.

Enlarging is linear and separable, U H V^T with small matrices, so that <U H V^T, U K V^T> = <(U^T U) H (V^T V), K>:
a product of maps at their own resolution with two Gram matrices.
"""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor


def enlarge(maps: Float[Tensor, "n h w"], size: tuple[int, int]) -> Float[Tensor, "n H W"]:
    """Maps resized bilinearly (align_corners=False); one that is not finite somewhere becomes NaN throughout.

    A map that is made smaller is not read at every pixel.
    """
    resized = torch.nn.functional.interpolate(maps[:, None], size=size, mode="bilinear")[:, 0]
    return resized.masked_fill(~maps.isfinite().all(2).all(1)[:, None, None], torch.nan)


def blended(maps: Float[Tensor, "n h w"], size: tuple[int, int]) -> Float[Tensor, "n h w"]:
    """(U^T U) H (V^T V): its inner product with another map is that of both maps enlarged to `size`."""
    rows, columns = (_gram(*pair).to(maps) for pair in zip(maps.shape[1:], size, strict=True))
    return rows @ maps @ columns


@cache
def weights(size: int, target: int) -> Float[Tensor, "size target"]:
    """What each pixel of a line adds to each pixel of the line enlarged to `target`, in float64."""
    ones = torch.eye(size, dtype=torch.float64)[:, None]
    return torch.nn.functional.interpolate(ones, size=target, mode="linear", align_corners=False)[:, 0]


@cache
def _gram(size: int, target: int) -> Float[Tensor, "size size"]:
    return weights(size, target) @ weights(size, target).T
