"""Structural similarity of two maps."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.errors import BoundsError, SettingsError, did_you_mean
from gazeshift.measures._pairs import matched
from gazeshift.precision import exact

__all__ = ["Ssim"]

SIZES = {"uniform": 7, "gaussian": 11}
SIGMA = 1.5


@dataclass(frozen=True, kw_only=True)
class Ssim:
    """Structural similarity, the mean over all windows that lie inside the maps; Wang et al. 2004, eqs. 13 and 17.

    1 = identical; near 0 = no common structure; negative = one goes up where the other goes down. The ends are
    limits: maps in [0, 1] reach -0.996 (a fine checkerboard against its negative). `data_range` is a constant and
    never taken from the maps, so that a number means the same for every pair. A map with a NaN or infinite
    value gives NaN.

    Computed in float64, because in float32 the variance of a nearly constant window is mostly rounding. Equal to
    scikit-image's ``structural_similarity(first, second, data_range=1.0)`` of float64 maps; the Gaussian window, to
    the same with ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False``.

    Args:
        window: ``uniform`` (7 x 7, sample covariance) or ``gaussian`` (11 x 11, sigma 1.5, population covariance).
        data_range: the distance between the lowest and the highest value that a map can have.
        k1: keeps the comparison of means stable where both are near 0.
        k2: keeps the comparison of structure stable where both are nearly constant.

    Raises:
        SettingsError: no such window, or a `data_range`, `k1` or `k2` that is not positive.
        BoundsError: maps smaller than the window.

    >>> black, white = torch.zeros(1, 7, 7), torch.ones(1, 7, 7)
    >>> Ssim(k1=0.5)(black, white)  # means 0 and 1, no structure: (2 * 0 * 1 + 0.25) / (0 + 1 + 0.25)
    tensor([0.2000])
    """

    window: str = "uniform"
    data_range: float = 1.0
    k1: float = 0.01
    k2: float = 0.03

    compares: ClassVar[str] = "scaled maps"
    per: ClassVar[str] = "image"
    symmetric: ClassVar[bool] = True
    lowest: ClassVar[float] = -1.0
    highest: ClassVar[float] = 1.0
    same: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        if self.window not in SIZES:
            raise SettingsError(f"SSIM has no window '{self.window}'. {did_you_mean(self.window, SIZES)}")
        for name in ("data_range", "k1", "k2"):
            if not 0 < getattr(self, name) < math.inf:
                raise SettingsError(
                    f"SSIM needs a {name} above 0, got {getattr(self, name)}. For maps in [0, 1] leave it out."
                )

    def __call__(self, first: Float[Tensor, "n h w"], second: Float[Tensor, "n h w"]) -> Float[Tensor, " n"]:
        """One number per pair of maps, in [-1, 1]."""
        first, second = matched(first, second, "(n, h, w)")
        self._check_size(first)
        step = _chunk(first)
        pairs = zip(torch.split(first, step), torch.split(second, step), strict=True)
        return torch.cat([self._mean(exact(one), exact(two)) for one, two in pairs]).to(first)

    def _mean(self, first: Float[Tensor, "n h w"], second: Float[Tensor, "n h w"]) -> Float[Tensor, " n"]:
        # With sum and difference in place of the two maps, four filtered planes do for five, and equal maps give
        # exactly 1: 4 * mean1 * mean2 = mean(sum)^2 - mean(difference)^2, and so on for the covariances.
        mean_sum, spread_sum = self._moments(first + second)
        mean_gap, spread_gap = self._moments(first - second)
        c1, c2 = (2 * (k * self.data_range) ** 2 for k in (self.k1, self.k2))
        alike = (mean_sum - mean_gap + c1) * (spread_sum - spread_gap + c2)
        return (alike / ((mean_sum + mean_gap + c1) * (spread_sum + spread_gap + c2))).mean((1, 2)).clamp(-1, 1)

    def _moments(self, plane: Float[Tensor, "n h w"]) -> tuple[Float[Tensor, "n i j"], Float[Tensor, "n i j"]]:
        """Squared mean and variance in every window."""
        blur, correction = (_uniform, 49 / 48) if self.window == "uniform" else (_gaussian, 1.0)
        square = _both_ways(blur, plane).square()
        return square, (_both_ways(blur, plane * plane) - square) * correction

    def _check_size(self, maps: Float[Tensor, "n h w"]) -> None:
        size, (height, width) = SIZES[self.window], maps.shape[1:]
        if min(height, width) < size:
            raise BoundsError(
                f"SSIM's {self.window} window is {size} x {size} pixels, got maps of {height} x {width}. "
                "Resize the maps to the size of the images first."
            )


def _chunk(maps: Float[Tensor, "n h w"]) -> int:
    # On a CPU the planes of a few maps stay in the cache: 64 maps of 224 x 224 take a fifth of the time.
    pixels = 2**18 if maps.device.type == "cpu" else 2**24
    return max(1, pixels // maps.shape[1:].numel())


def _both_ways(blur: Callable[[Tensor, int], Tensor], plane: Float[Tensor, "n h w"]) -> Float[Tensor, "n i j"]:
    return blur(blur(plane, 1), 2)


def _uniform(plane: Float[Tensor, "n h w"], axis: int) -> Float[Tensor, "n i j"]:
    """Mean of every 7 neighbours, as pairs, pairs of pairs, and the rest: 4 additions in place of 6."""
    size = plane.shape[axis] - 6
    pairs = plane.narrow(axis, 0, size + 4) + plane.narrow(axis, 1, size + 4)
    four = pairs.narrow(axis, 0, size) + pairs.narrow(axis, 2, size)
    return four.add_(pairs.narrow(axis, 4, size)).add_(plane.narrow(axis, 6, size)).div_(7)


def _gaussian(plane: Float[Tensor, "n h w"], axis: int) -> Float[Tensor, "n i j"]:
    """Mean of every 11 neighbours, weighted by a Gaussian that is cut off at 3.5 sigma."""
    taps = [math.exp(-0.5 * (offset / SIGMA) ** 2) for offset in range(-5, 6)]
    size = plane.shape[axis] - 10
    blurred = plane.narrow(axis, 0, size) * (taps[0] / sum(taps))
    for start, tap in enumerate(taps[1:], 1):
        blurred = blurred.add_(plane.narrow(axis, start, size), alpha=tap / sum(taps))
    return blurred
