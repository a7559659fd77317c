"""How well scores tell attacks from the rest: AUROC and detection rates, each with what resampled images would give.

Every statistic comes as an array: first of the images as they are, then of bootstrap samples. An image is drawn with
all that was made of it, clean, changed and attacked, because these are not independent of each other. The samples are
shared by detectors and attacks, so that means and differences can be taken sample by sample.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from gazeshift.report.cells import Estimate

RESAMPLES = 500


class Resample(NamedTuple):
    """Scores (larger is more suspicious, infinite what cannot be judged), and the place of the image each is of."""

    score: Float[np.ndarray, " n"]
    image: Int[np.ndarray, " n"]


def resampled(images: int, repeats: int = RESAMPLES, seed: int = 0) -> Int[np.ndarray, "b i"]:
    """How often each image was drawn: first each once, then in `repeats` bootstrap samples of as many images.

    >>> resampled(3, 1).sum(1)
    array([3, 3])
    """
    once = np.ones((1, images), dtype=np.int32)
    if not images:
        return np.zeros((1 + repeats, 0), dtype=np.int32)
    drawn = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=repeats)
    return np.concatenate([once, drawn]).astype(np.int32)


def estimate(values: Float[np.ndarray, " b"]) -> Estimate:
    """The first value, and the range of 95 % of the others; those without a positive or a negative are left out.

    >>> estimate(np.array([0.5, 0.0, 1.0, np.nan]))
    Estimate(value=0.5, low=0.025, high=0.975)
    """
    known = values[1:][np.isfinite(values[1:])]
    low, high = np.quantile(known, (0.025, 0.975)) if known.size else (np.nan, np.nan)
    return Estimate(float(values[0]), float(low), float(high))


@dataclass(frozen=True, kw_only=True)
class Negatives:
    """Scores of what is no attack, in ascending order.

    Args:
        score: ascending.
        below: in each sample, how many of them are among the first 0, 1, ... n.
        counts: how often each image is in each sample.
    """

    score: Float[np.ndarray, " n"]
    below: Int[np.ndarray, "b m"]
    counts: Int[np.ndarray, "b i"]

    @classmethod
    def of(cls, sample: Resample, counts: Int[np.ndarray, "b i"]) -> "Negatives":
        """Sorted."""
        order = np.argsort(sample.score, kind="stable")
        running = counts[:, sample.image[order]].cumsum(1, dtype=np.int32)
        below = np.concatenate([np.zeros((len(counts), 1), dtype=running.dtype), running], axis=1)
        return cls(score=sample.score[order], below=below, counts=counts)

    def auroc(self, positive: Resample) -> Float[np.ndarray, " b"]:
        """Chance that a positive scores above a negative, equals counting half; NaN if either side is empty.

        >>> images = np.array([0, 1])
        >>> clean = Negatives.of(Resample(np.array([1.0, 0.0]), images), resampled(2, 0))
        >>> clean.auroc(Resample(np.array([2.0, 1.0]), images))
        array([0.875])
        """
        under, upto = (self.below[:, np.searchsorted(self.score, positive.score, side)] for side in ("left", "right"))
        weights = self.counts[:, positive.image]
        wins = (weights * (under + upto)).sum(1) / 2
        return _ratio(wins, weights.sum(1) * self.below[:, -1])

    def threshold(self, rate: float) -> Float[np.ndarray, " b"]:
        """The smallest of the scores that at most `rate` of them exceed; NaN if there is none.

        >>> Negatives.of(Resample(np.arange(20.0), np.arange(20)), resampled(20, 0)).threshold(0.05)
        array([18.])
        """
        total = self.below[:, -1]
        if not self.score.size:
            return np.full(len(total), np.nan)
        enough = self.below[:, 1:] >= (1 - rate) * total[:, None] - 1e-9
        return np.where(total > 0, self.score[enough.argmax(1)], np.nan)

    def detected(self, positive: Resample, rate: float) -> Float[np.ndarray, " b"]:
        """Share of positives strictly above the `threshold` of a rate of false alarms; NaN if either side is empty."""
        limit, weights = self.threshold(rate), self.counts[:, positive.image]
        above = (weights * (positive.score[None] > limit[:, None])).sum(1)
        return np.where(np.isnan(limit), np.nan, _ratio(above, weights.sum(1)))

    def roc(self, positive: Resample) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
        """False-alarm and detection rate at every threshold, from (0, 0) to (1, 1): the corners. Empty without a side.

        >>> images = np.array([0, 1])
        >>> clean = Negatives.of(Resample(np.array([1.0, 0.0]), images), resampled(2, 0))
        >>> false, true = clean.roc(Resample(np.array([3.0, 2.0]), images))
        >>> false.tolist(), true.tolist()
        ([0.0, 0.0, 1.0], [0.0, 1.0, 1.0])
        """
        if not self.score.size or not positive.score.size:
            return np.array([]), np.array([])
        levels = np.unique(np.concatenate([self.score, positive.score]))[::-1]
        false, true = (_at_least(side, levels) for side in (self.score, np.sort(positive.score)))
        corner = _corners(false, true)
        return false[corner], true[corner]


def share(
    weights: Bool[np.ndarray, " n"], image: Int[np.ndarray, " n"], counts: Int[np.ndarray, "b i"]
) -> Float[np.ndarray, " b"]:
    """Share of the things that are so, in each sample; NaN if there are none.

    >>> share(np.array([True, False]), np.array([0, 1]), resampled(2, 0))
    array([0.5])
    """
    drawn = counts[:, image]
    return _ratio((drawn * weights).sum(1), drawn.sum(1))


def mean(values: Iterable[Float[np.ndarray, " b"]]) -> Float[np.ndarray, " b"]:
    """Mean over attacks, sample by sample, of those that are defined for the images as they are; NaN without one."""
    known = [value for value in values if np.isfinite(value[0])]
    return np.mean(known, axis=0) if known else np.full(1, np.nan)


def _ratio(part: Float[np.ndarray, " b"], whole: Int[np.ndarray, " b"]) -> Float[np.ndarray, " b"]:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _at_least(ordered: Float[np.ndarray, " n"], levels: Float[np.ndarray, " k"]) -> Float[np.ndarray, " m"]:
    """Share of the ascending scores that reach each level, after 0 for a level above all."""
    return np.concatenate([[0.0], 1 - np.searchsorted(ordered, levels, "left") / len(ordered)])


def _corners(x: Float[np.ndarray, " k"], y: Float[np.ndarray, " k"]) -> Bool[np.ndarray, " k"]:
    """Where a path changes its direction; its ends as well."""
    dx, dy = np.diff(x), np.diff(y)
    straight = np.isclose(dx[:-1] * dy[1:], dx[1:] * dy[:-1], atol=1e-15)
    return np.concatenate([[True], ~straight, [True]])


def leaders(values: Mapping[str, Float[np.ndarray, " b"]]) -> tuple[str | None, list[str]]:
    """The name with the largest value, and those that the same images do not tell from it.

    Not told apart: 2.5 % or more of the bootstrap samples have no smaller value than the leader's.

    >>> same, worse = np.array([0.9, 0.8, 1.0]), np.array([0.5, 0.4, 0.6])
    >>> leaders({"worse": worse, "first": same, "second": same})
    ('first', ['second'])
    """
    known = {name: value for name, value in values.items() if np.isfinite(value[0])}
    if not known:
        return None, []
    best = max(known, key=lambda name: known[name][0])
    near = {name: estimate(value - known[best]).high for name, value in known.items() if name != best}
    return best, [name for name, high in near.items() if high >= 0]
