"""What a study's similarities say: spread, compromise probability, switched class against moved gaze, MOD and VID."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import binomtest

from gazeshift.measures.mod import Mod
from gazeshift.measures.vid import Vid

_Z = 1.959964


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How values spread over images, per layer; NaN values are left out, and what has none is NaN.

    Args:
        count: defined values.
        mean: their mean.
        quartiles: 25 %, 50 % and 75 % point.
    """

    count: Int[np.ndarray, " l"]
    mean: Float[np.ndarray, " l"]
    quartiles: Float[np.ndarray, "3 l"]


@dataclass(frozen=True, kw_only=True)
class Compromise:
    """Attacked maps against maps under matched noise, per layer l; SPEC 6.3.

    Args:
        attacked: similarity of the attacked images' maps to the clean ones.
        noise: the same for noise of the same mean and deviation.
        probability: share of attacked images whose similarity is strictly below the median of `noise`.
        paired: share of images whose attacked similarity is strictly below their own under noise.
        pairs: images with both values.
        lowest: images in which this layer has the lowest attacked similarity.
        per_image: compromised layers of each image that has a defined layer.
    """

    attacked: Spread
    noise: Spread
    probability: Float[np.ndarray, " l"]
    paired: Float[np.ndarray, " l"]
    pairs: Int[np.ndarray, " l"]
    lowest: Int[np.ndarray, " l"]
    per_image: Int[np.ndarray, " m"]


def spread(values: Float[np.ndarray, "l n"]) -> Spread:
    """Count, mean and quartiles over the last axis.

    >>> spread(np.array([[0.0, 1.0, np.nan, 0.5]])).quartiles[:, 0]
    array([0.25, 0.5 , 0.75])
    """
    defined = np.isfinite(values)
    count = defined.sum(1)
    mean = np.where(count > 0, np.where(defined, values, 0).sum(1) / np.maximum(count, 1), np.nan)
    quartiles = np.full((3, len(values)), np.nan)
    known = np.where(defined, values, np.nan)[count > 0]
    if len(known):
        quartiles[:, count > 0] = np.nanquantile(known, (0.25, 0.5, 0.75), axis=1)
    return Spread(count=count, mean=mean, quartiles=quartiles)


def compromise(attacked: Float[np.ndarray, "l n"], noise: Float[np.ndarray, "l n"]) -> Compromise:
    """How often a layer's gaze moves further than under matched noise. Tan et al. 2022, P1 figures 6 and 7.

    Chance is 0.5: noise itself falls below its median half of the time. Undefined maps count neither way.
    """
    under_noise = spread(noise)
    threshold = under_noise.quartiles[1][:, None]
    valid, both = np.isfinite(attacked) & np.isfinite(threshold), np.isfinite(attacked) & np.isfinite(noise)
    compromised = valid & (attacked < threshold)
    return Compromise(
        attacked=spread(attacked),
        noise=under_noise,
        probability=share(compromised.sum(1), valid.sum(1)),
        paired=share((both & (attacked < noise)).sum(1), both.sum(1)),
        pairs=both.sum(1),
        lowest=_lowest(attacked),
        per_image=compromised.sum(0)[valid.any(0)],
    )


def share(part: Int[np.ndarray, " l"], whole: Int[np.ndarray, " l"]) -> Float[np.ndarray, " l"]:
    """Part of the whole; NaN where the whole is empty."""
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def wilson(part: int, whole: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); the whole range 0 to 1 if nothing was counted.

    >>> [round(bound, 3) for bound in wilson(18, 18)]
    [0.824, 1.0]
    """
    if not whole:
        return 0.0, 1.0
    interval = binomtest(part, whole).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def chance_band(count: int) -> tuple[float, float]:
    """Where a compromise probability of `count` images lies in 19 of 20 layers if attack and noise do not differ.

    The noise's median cuts the common distribution at a point that varies by v = 1 / (4 (n + 2)), and the share of
    n attacked images below it by (1/4 - v) / n more. Similarities under attack and noise that go together within an
    image make the true band narrower.
    """
    cut = 1 / (4 * (count + 2))
    half = _Z * sqrt(cut + (0.25 - cut) / count) if count else 0.5
    return max(0.0, 0.5 - half), min(1.0, 0.5 + half)


def mod(nissim: Float[np.ndarray, "l n"]) -> Float[np.ndarray, " l"]:
    """Mean observed dissimilarity of every layer, over the images in which it is defined."""
    return np.array([Mod()(row[np.isfinite(row), None])[0] for row in nissim])


def vid(nissim: Float[np.ndarray, "s l n"]) -> Float[np.ndarray, "l n"]:
    """Variation in dissimilarity of every layer and image over the strengths; NaN if one of them is undefined."""
    return np.stack([Vid()(layer.T) for layer in nissim.transpose(1, 0, 2)])


def standard_error(count: int) -> float:
    """Largest standard error of a share of `count` images."""
    return 0.5 / sqrt(count)


def _lowest(values: Float[np.ndarray, "l n"]) -> Int[np.ndarray, " l"]:
    """Per layer, in how many images it has the smallest value; the first of equals."""
    some = np.isfinite(values).any(0)
    winners = np.where(np.isfinite(values), values, np.inf)[:, some].argmin(0)
    return np.bincount(winners, minlength=len(values))
