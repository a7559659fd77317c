"""Whether a map goes up where another does: Pearson's correlation."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from gazeshift.enlarged import weights
from gazeshift.measures._pairs import matched, own_size, rectified
from gazeshift.measures.cosine import Cosine
from gazeshift.precision import exact

__all__ = ["Correlation"]

FLAT = 1e-6  # of the largest value: a difference that is rounding


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """Pearson's correlation of two maps over their pixels; of their positive values.

    1 = the same map up to scale and offset, 0 = no linear relation, -1 = inverted: bright where the other is dark, as
    Chakraborty et al. 2022 see in wide networks, which a cosine of maps that are nowhere negative cannot show. Raw
    maps go in. Two flat maps (blank, or one value throughout) give 1 and a flat one against another gives 0, by
    convention. A map with a NaN or infinite value gives NaN.

    >>> import torch
    >>> ramp = torch.arange(6.0).reshape(1, 2, 3)
    >>> Correlation()(ramp, 5 - ramp), Correlation()(ramp, 2 * ramp)
    (tensor([-1.]), tensor([1.]))
    """

    compares: ClassVar[str] = "maps"
    per: ClassVar[str] = "image"
    symmetric: ClassVar[bool] = True
    lowest: ClassVar[float] = -1.0
    highest: ClassVar[float] = 1.0
    same: ClassVar[float] = 1.0

    def __call__(self, first: Float[Tensor, "n h w"], second: Float[Tensor, "n h w"]) -> Float[Tensor, " n"]:
        """One number per pair of raw maps, in [-1, 1]."""
        return self.enlarged(first, second, own_size(first))

    def enlarged(
        self, first: Float[Tensor, "n h w"], second: Float[Tensor, "n h w"], size: tuple[int, int]
    ) -> Float[Tensor, " n"]:
        """The same for maps resized bilinearly to `size`, without resizing them."""
        first, second = matched(first, second, "(n, h, w)")
        return Cosine().enlarged(_centred(first, size), _centred(second, size), size)


def _centred(maps: Float[Tensor, "n h w"], size: tuple[int, int]) -> Float[Tensor, "n h w"]:
    """Positive values minus the mean of the enlarged map: enlarging leaves a constant as it is."""
    values = rectified(maps)
    rows, columns = (weights(*pair).to(values).sum(1) for pair in zip(maps.shape[1:], size, strict=True))
    mean = exact(values @ columns) @ exact(rows) / (size[0] * size[1])
    apart = values - mean.to(values)[:, None, None]
    flat = apart.abs().amax((1, 2), keepdim=True) <= FLAT
    return apart.masked_fill(flat, 0)
