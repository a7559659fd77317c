"""Peak signal-to-noise ratio of two images."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.errors import SettingsError
from gazeshift.measures._pairs import matched
from gazeshift.precision import exact

__all__ = ["Psnr"]


@dataclass(frozen=True, kw_only=True)
class Psnr:
    """Peak signal-to-noise ratio in decibels, 10 log10(range^2 / mean squared error), over pixels and channels.

    Large = hardly changed: identical images give infinity, black against white gives 0. An unclipped step of epsilon
    everywhere gives -20 log10(epsilon): 30 for 8/255. An image with a NaN or infinite value
    gives NaN.

    Args:
        data_range: the distance between the lowest and the highest value that an image can have; 2 gives the numbers
            of papers whose images are in [-1, 1].

    Raises:
        SettingsError: `data_range` is not positive.

    >>> black, grey = torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.5)
    >>> Psnr()(black, grey)  # mean squared error 1/4, so 10 log10(4)
    tensor([6.0206])
    """

    data_range: float = 1.0

    compares: ClassVar[str] = "images"
    per: ClassVar[str] = "image"
    symmetric: ClassVar[bool] = True
    lowest: ClassVar[float] = 0.0
    highest: ClassVar[float] = math.inf
    same: ClassVar[float] = math.inf

    def __post_init__(self) -> None:
        if not 0 < self.data_range < math.inf:
            raise SettingsError(
                f"PSNR needs a data_range above 0, got {self.data_range}. For images in [0, 1] leave it out."
            )

    def __call__(
        self, first: Float[Tensor, "n channels h w"], second: Float[Tensor, "n channels h w"]
    ) -> Float[Tensor, " n"]:
        """One number per pair of images, in decibels."""
        first, second = matched(first, second, "(n, channels, h, w)")
        error = exact(first - second).square().mean((1, 2, 3))  # in float32 the square of a tiny change is 0
        decibels = 20 * math.log10(self.data_range) - 10 * error.log10()
        return decibels.masked_fill(error.isinf(), torch.nan).to(first)
