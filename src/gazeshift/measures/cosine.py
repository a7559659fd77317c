"""Cosine similarity of two maps."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.enlarged import blended, enlarge
from gazeshift.errors import SettingsError, did_you_mean
from gazeshift.measures._jet import jet_picture
from gazeshift.measures._pairs import matched
from gazeshift.precision import exact

__all__ = ["Cosine"]

SPACES = ("raw", "jet")


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Cosine of the angle between two maps, taken as they come; Renkhoff et al. 2022, section III-C.

    1 = the same map up to a positive factor, 0 = nothing in common, -1 = one is the negative of the other. Maps that
    were rectified first stay in [0, 1]. The papers call this number a degree of deviation, although larger means
    *less* deviation. Two blank maps (zero throughout) give 1 and a blank map against another gives 0, by
    convention: count the blanks where it matters. A map with a NaN or infinite value gives NaN.

    Args:
        space: ``raw`` compares the maps. ``jet`` compares colour pictures of them, as the released code of that paper
            does: nearly everything is then alike, because background is blue in both. Only to show where published
            numbers come from.

    Raises:
        SettingsError: no such space.

    >>> first = torch.tensor([[[3.0, 4.0]], [[1.0, 0.0]], [[0.0, 0.0]]])
    >>> second = torch.tensor([[[4.0, 3.0]], [[0.0, 2.0]], [[0.0, 0.0]]])
    >>> Cosine()(first, second)
    tensor([0.9600, 0.0000, 1.0000])
    """

    space: str = "raw"

    compares: ClassVar[str] = "maps"
    per: ClassVar[str] = "image"
    symmetric: ClassVar[bool] = True
    lowest: ClassVar[float] = -1.0
    highest: ClassVar[float] = 1.0
    same: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise SettingsError(f"cosine has no space '{self.space}'. {did_you_mean(self.space, SPACES)}")

    def __call__(self, first: Float[Tensor, "n h w"], second: Float[Tensor, "n h w"]) -> Float[Tensor, " n"]:
        """One number per pair of maps, in [-1, 1]."""
        first, second = matched(first, second, "(n, h, w)")
        if self.space == "jet":
            first, second = jet_picture(first), jet_picture(second)
        one, two = _peak_one(first), _peak_one(second)
        return _angle(_product(one, two), _product(one, one), _product(two, two)).to(one)

    def enlarged(
        self, first: Float[Tensor, "n h w"], second: Float[Tensor, "n h w"], size: tuple[int, int]
    ) -> Float[Tensor, " n"]:
        """The same for maps resized bilinearly to `size`, without resizing them where that is possible.

        Colours must be seen at full size, and a map that is made smaller may lose its only spot; all others are
        compared at their own resolution.
        """
        first, second = matched(first, second, "(n, h, w)")
        smaller = any(pixels < own for pixels, own in zip(size, first.shape[1:], strict=True))
        if self.space == "jet" or smaller or tuple(first.shape[1:]) == size:
            return self(enlarge(first, size), enlarge(second, size))
        one, two = _peak_one(first), _peak_one(second)
        wide, other = blended(one, size), blended(two, size)
        return _angle(_product(wide, two), _product(wide, one), _product(other, two)).to(one)


def _angle(product: Float[Tensor, " n"], own: Float[Tensor, " n"], other: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    blank = torch.where(own == 0, 1.0, own), torch.where(other == 0, 1.0, other)
    return torch.where((own == 0) & (other == 0), 1.0, product / (blank[0] * blank[1]).sqrt()).clamp(-1, 1)


def _peak_one(maps: Float[Tensor, "n h w"]) -> Float[Tensor, "n h w"]:
    # Gradients of a confident network are so small that their squares vanish in float32. The factor cancels in the
    # cosine, so it is no part of the derivative either.
    peak = maps.detach().abs().amax((1, 2), keepdim=True)
    return maps / torch.where(peak == 0, 1.0, peak)


def _product(first: Float[Tensor, "n h w"], second: Float[Tensor, "n h w"]) -> Float[Tensor, " n"]:
    # Rows in the maps' own type, then their sums in float64: as exact as needed, without a float64 copy of the maps.
    return exact((first * second).sum(2)).sum(1)
