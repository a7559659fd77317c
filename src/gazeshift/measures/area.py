"""How much larger a map's spot becomes."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.enlarged import blended, weights
from gazeshift.measures._pairs import matched, own_size, rectified
from gazeshift.precision import exact

__all__ = ["Area"]


@dataclass(frozen=True, kw_only=True)
class Area:
    """Area of the second map minus that of the first, as parts of the whole; both of their positive values.

    0 = as large as before, 1 = from nothing to everything, -1 = from everything to nothing. The area of a map p of N
    pixels is (sum p)^2 / (N sum p^2): a part that is bright throughout counts with its size, and a blank map (no
    positive value) has none. What Chakraborty et al. 2022, section 4.5, call a region of participation that expands or
    shrinks, as a number. A map with a NaN or infinite value gives NaN.

    >>> first, second = torch.zeros(1, 2, 4), torch.ones(1, 2, 4)
    >>> first[0, 0, :2] = 3.0
    >>> Area()(first, second)  # from 2 of 8 pixels to all
    tensor([0.7500])
    """

    compares: ClassVar[str] = "maps"
    per: ClassVar[str] = "image"
    symmetric: ClassVar[bool] = False
    lowest: ClassVar[float] = -1.0
    highest: ClassVar[float] = 1.0
    same: ClassVar[float] = 0.0

    def __call__(self, first: Float[Tensor, "n h w"], second: Float[Tensor, "n h w"]) -> Float[Tensor, " n"]:
        """One number per pair of raw maps, in [-1, 1]."""
        return self.enlarged(first, second, own_size(first))

    def enlarged(
        self, first: Float[Tensor, "n h w"], second: Float[Tensor, "n h w"], size: tuple[int, int]
    ) -> Float[Tensor, " n"]:
        """The same for maps resized bilinearly to `size`, without resizing them."""
        first, second = matched(first, second, "(n, h, w)")
        return (_area(second, size) - _area(first, size)).to(first)


def _area(maps: Float[Tensor, "n h w"], size: tuple[int, int]) -> Float[Tensor, " n"]:
    values = rectified(maps)
    rows, columns = (weights(*pair).to(values).sum(1) for pair in zip(maps.shape[1:], size, strict=True))
    total = exact(values @ columns) @ exact(rows)
    square = exact((values * blended(values, size)).sum(2)).sum(1)
    return (total.square() / (size[0] * size[1] * torch.where(square == 0, 1.0, square))).clamp(max=1)
