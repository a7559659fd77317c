"""ROC curves and the area under them, of scores of which larger ones are more suspicious."""

import math

import numpy as np
from jaxtyping import Float

Scores = Float[np.ndarray, " n"]


def auroc(positive: Scores, negative: Scores) -> float:
    """Probability that a positive scores above a negative, equals counting half; NaN if either side has no number.

    >>> auroc(np.array([2.0, 1.0]), np.array([1.0, 0.0]))
    0.875
    """
    positive, negative = _finite(positive), np.sort(_finite(negative))
    if not positive.size or not negative.size:
        return math.nan
    below, upto = (np.searchsorted(negative, positive, side) for side in ("left", "right"))
    return float((below + upto).mean() / 2 / negative.size)


def roc(positive: Scores, negative: Scores) -> tuple[list[float], list[float]]:
    """False-alarm and detection rate at every threshold, from (0, 0) to (1, 1); empty if either side has no number."""
    positive, negative = _finite(positive), _finite(negative)
    if not positive.size or not negative.size:
        return [], []
    levels = np.unique(np.concatenate([positive, negative]))[::-1]
    false, true = ([0.0, *(float((side >= level).mean()) for level in levels)] for side in (negative, positive))
    return false, true


def _finite(scores: Scores) -> Scores:
    kept: Scores = scores[np.isfinite(scores)]
    return kept
