"""Normalised, inverted structural similarity of two maps."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from gazeshift.measures._pairs import matched, rectified
from gazeshift.measures.ssim import Ssim

__all__ = ["Nissim"]


@dataclass(frozen=True, kw_only=True)
class Nissim:
    """How unlike two heatmaps are, (1 - SSIM) / 2; Chakraborty et al. 2022, eq. 1.

    0 = identical, and the scale is not what it seems: values of 0.25 to 0.30 are already unrelated maps. At 224 x 224
    two random maps enlarged from 7 x 7 give 0.32, two small spots far apart 0.16; to pass 0.5 one map must fall where
    the other rises; 1 is a limit (0.998 for a fine checkerboard against its negative). The paper writes (0, 1], but
    has 0 in its own table 3. Compare only numbers of one map size: smoother maps give lower ones.

    Raw maps go in: each is rectified and divided by its maximum here, so that its scale does not count; resize them
    to the size of the images first. A map without a positive value is blank, zero throughout: two blanks give 0, a
    blank against another map is compared like any pair, and the caller is to count it. A map with a NaN or infinite
    value gives NaN.

    Args:
        window: ``uniform`` or ``gaussian``, as in `Ssim`.
        k1: as in `Ssim`.
        k2: as in `Ssim`.

    Raises:
        SettingsError: no such window, a `k1` or `k2` that is not positive.
        BoundsError: maps smaller than the window.

    >>> import torch
    >>> blank, constant = torch.full((1, 7, 7), -2.0), torch.full((1, 7, 7), 5.0)
    >>> Nissim(k1=0.5)(blank, constant)  # compared as 0 and 1: SSIM 0.2
    tensor([0.4000])
    """

    window: str = "uniform"
    k1: float = 0.01
    k2: float = 0.03

    compares: ClassVar[str] = "maps"
    per: ClassVar[str] = "image"
    symmetric: ClassVar[bool] = True
    lowest: ClassVar[float] = 0.0
    highest: ClassVar[float] = 1.0
    same: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        self._ssim()

    def __call__(self, first: Float[Tensor, "n h w"], second: Float[Tensor, "n h w"]) -> Float[Tensor, " n"]:
        """One number per pair of raw maps, in [0, 1]."""
        first, second = matched(first, second, "(n, h, w)")
        return (1 - self._ssim()(rectified(first), rectified(second))) / 2

    def _ssim(self) -> Ssim:
        return Ssim(window=self.window, k1=self.k1, k2=self.k2)
