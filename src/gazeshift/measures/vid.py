"""Variation in dissimilarity. Imports no torch, so that reports can use it."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from gazeshift.measures._levels import table

__all__ = ["Vid"]


@dataclass(frozen=True, kw_only=True)
class Vid:
    """Variation in dissimilarity: spread of an image's NISSIM over levels of attack; Chakraborty et al. 2022, eq. 4.

    It is the population standard deviation over the levels; the paper's text says variance, its formula has the
    root. 0 = the heatmap is equally far at every level, 0.5 = half of the levels at 0 and half at 1. A level of
    epsilon 0 is always 0 and inflates it. A NaN makes its image NaN; no levels at all give NaN.

    Raises:
        BoundsError: not an array (images, levels).

    >>> Vid()(np.array([[0.1, 0.3], [0.2, 0.2]]))  # two images at two levels
    array([0.1, 0. ])
    """

    compares: ClassVar[str] = "levels"
    per: ClassVar[str] = "image"
    symmetric: ClassVar[bool] = True
    lowest: ClassVar[float] = 0.0
    highest: ClassVar[float] = 0.5
    same: ClassVar[float] = 0.0

    def __call__(self, nissim: Float[np.ndarray, "n levels"]) -> Float[np.ndarray, " n"]:
        """One float64 number per image, from the NISSIM values of one model."""
        values = table(nissim)
        # Deviations from the first level have the same spread, and equal values give exactly 0.
        return (values - values[:, :1]).std(axis=1) if values.shape[1] else np.full(len(values), np.nan)
