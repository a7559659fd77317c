"""How far the centre of a map moves."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.enlarged import weights
from gazeshift.measures._pairs import matched, own_size, rectified
from gazeshift.precision import exact

__all__ = ["Displacement"]


@dataclass(frozen=True, kw_only=True)
class Displacement:
    """Distance between the centres of mass of two maps, as a part of the longest distance in them.

    0 = the same centre, 1 = from one corner to the opposite one. What Chakraborty et al. 2022, section 4.5, call a
    focus that shifts in some direction, as a number. Raw maps go in, and only their positive values have mass. Two
    blank maps (no positive value) give 0 and a blank one against another gives 1, by convention: count the blanks
    where it matters. A map with a NaN or infinite value gives NaN.

    >>> first, second = torch.zeros(1, 3, 5), torch.zeros(1, 3, 5)
    >>> first[0, 0, 0] = second[0, 0, 4] = 2.0
    >>> Displacement()(first, second)  # 4 of the 20 ** 0.5 pixels between the corners
    tensor([0.8944])
    """

    compares: ClassVar[str] = "maps"
    per: ClassVar[str] = "image"
    symmetric: ClassVar[bool] = True
    lowest: ClassVar[float] = 0.0
    highest: ClassVar[float] = 1.0
    same: ClassVar[float] = 0.0

    def __call__(self, first: Float[Tensor, "n h w"], second: Float[Tensor, "n h w"]) -> Float[Tensor, " n"]:
        """One number per pair of raw maps, in [0, 1]."""
        return self.enlarged(first, second, own_size(first))

    def enlarged(
        self, first: Float[Tensor, "n h w"], second: Float[Tensor, "n h w"], size: tuple[int, int]
    ) -> Float[Tensor, " n"]:
        """The same for maps resized bilinearly to `size`, without resizing them: a centre is a sum over pixels."""
        first, second = matched(first, second, "(n, h, w)")
        (one, mass), (two, other) = (_centre(maps, size) for maps in (first, second))
        longest = max(1.0, sum((pixels - 1) ** 2 for pixels in size) ** 0.5)
        far = ((one - two).square().sum(1).sqrt() / longest).clamp(max=1)
        blank = (mass == 0).int() + (other == 0).int()  # NaN is no blank
        return torch.where(blank == 0, far, torch.where(blank == 2, 0.0, 1.0) + 0 * (mass + other)).to(first)


def _centre(maps: Float[Tensor, "n h w"], size: tuple[int, int]) -> tuple[Float[Tensor, "n 2"], Float[Tensor, " n"]]:
    """Centre of mass in pixels of the enlarged map, and the mass."""
    values = rectified(maps)
    left, right = (_sums(*pair, values) for pair in zip(maps.shape[1:], size, strict=True))
    sums = torch.einsum("nhj,hi->nij", exact(values @ right), exact(left))  # along the rows in the maps' own type
    mass = sums[:, 0, 0]
    return torch.stack([sums[:, 1, 0], sums[:, 0, 1]], 1) / torch.where(mass == 0, 1.0, mass)[:, None], mass


def _sums(size: int, target: int, like: Tensor) -> Float[Tensor, "size 2"]:
    """What a line of pixels adds to the sum of the enlarged line, and to the sum of its places."""
    line = weights(size, target)
    return torch.stack([line.sum(1), line @ torch.arange(target, dtype=line.dtype)], 1).to(like)
