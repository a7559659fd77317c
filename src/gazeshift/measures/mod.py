"""Mean observed dissimilarity. Imports no torch, so that reports can use it."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from gazeshift.measures._levels import table

__all__ = ["Mod"]


@dataclass(frozen=True, kw_only=True)
class Mod:
    """Mean observed dissimilarity: mean NISSIM over the images, per level of attack; Chakraborty et al. 2022, eq. 2.

    0 = no heatmap changed; read values as those of `Nissim`, where 0.25 to 0.30 are already unrelated maps. A NaN
    makes its level NaN: leave such images out beforehand, and say how many. No images at all give NaN.

    Raises:
        BoundsError: not an array (images, levels).

    >>> Mod()(np.array([[0.0, 0.1], [0.0, 0.3]]))  # two images at epsilon 0 and 0.01
    array([0. , 0.2])
    """

    compares: ClassVar[str] = "levels"
    per: ClassVar[str] = "level"
    symmetric: ClassVar[bool] = True
    lowest: ClassVar[float] = 0.0
    highest: ClassVar[float] = 1.0
    same: ClassVar[float] = 0.0

    def __call__(self, nissim: Float[np.ndarray, "n levels"]) -> Float[np.ndarray, " levels"]:
        """One float64 number per level, from the NISSIM values of one model."""
        values = table(nissim)
        return values.mean(axis=0) if len(values) else np.full(values.shape[1], np.nan)
