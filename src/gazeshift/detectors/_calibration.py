"""Split conformal calibration: a threshold that promises a rate of false alarms, whatever the scores' distribution."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.errors import BoundsError
from gazeshift.precision import exact


def calibrate(scores: Float[Tensor, " n"], false_alarm_rate: float) -> float:
    """Threshold that a fresh clean image's score exceeds with a probability of at most `false_alarm_rate`.

    The k-th smallest score, k = ceil((n + 1) (1 - rate)). The promise holds if the fresh image and those calibrated on
    can be exchanged, and those were used for nothing else; it is over the draw of both.

    Args:
        scores: of fresh clean images, larger is more suspicious.
        false_alarm_rate: above 0 and below 1.

    Raises:
        BoundsError: the rate is out of range, a score is NaN, or there are too few scores for the rate.

    >>> calibrate(torch.arange(1.0, 20.0), 0.05), calibrate(torch.arange(1.0, 20.0), 0.2)
    (19.0, 16.0)
    """
    if not 0 < false_alarm_rate < 1:
        raise BoundsError(f"a false-alarm rate is above 0 and below 1, got {false_alarm_rate:g}.")
    if scores.isnan().any():
        raise BoundsError(f"{int(scores.isnan().sum())} of {len(scores)} scores are NaN: no threshold can be set.")
    n = len(scores)
    rank = math.ceil((n + 1) * (1 - false_alarm_rate) - 1e-9)
    if rank > n:
        needed = math.ceil(1 / false_alarm_rate - 1e-9) - 1
        raise BoundsError(
            f"a false-alarm rate of {false_alarm_rate:g} needs the scores of at least {needed} clean images, got {n}."
        )
    return float(torch.sort(scores).values[rank - 1])


def p_values(scores: Float[Tensor, " n"], clean: Float[Tensor, " m"]) -> Float[Tensor, " n"]:
    """Chance of a clean image to be as suspicious, from scores of fresh clean images: (1 + those >= it) / (m + 1).

    At most `rate` exactly where the score is above ``calibrate(clean, rate)``. Between 1 / (m + 1) and 1; a score that
    is NaN, of an image that cannot be judged, has the smallest.

    >>> p_values(torch.tensor([19.5, 19.0, 0.0]), torch.arange(1.0, 20.0)).tolist()
    [0.05, 0.1, 1.0]
    """
    ordered = torch.sort(exact(clean)).values
    below = torch.searchsorted(ordered, exact(scores).to(ordered.device).nan_to_num(nan=math.inf).contiguous())
    return exact(1 + len(ordered) - below) / (len(ordered) + 1)
