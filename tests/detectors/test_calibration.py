"""The split conformal threshold: by hand, and its promise over many splits."""

import pytest
import torch

from gazeshift.detectors import calibrate
from gazeshift.errors import BoundsError
from gazeshift.seeds import generator_for


def test_by_hand():
    scores = torch.tensor([3.0, 1.0, 2.0, 4.0])  # k = ceil(5 * 0.6) = 3
    assert calibrate(scores, 0.4) == 3.0


def test_the_promise_is_kept_on_average_whatever_the_distribution():
    generator = generator_for(0, "conformal")
    for shape in (lambda draws: draws, lambda draws: draws**9, lambda draws: (draws * 3).floor()):
        rates = []
        for _ in range(400):
            draws = shape(torch.rand(80 + 60, generator=generator))
            rates.append(float((draws[80:] > calibrate(draws[:80], 0.1)).float().mean()))
        assert sum(rates) / len(rates) <= 0.1 + 0.01


@pytest.mark.parametrize(("rate", "needed"), [(0.01, 99), (0.05, 19), (0.5, 1)])
def test_too_few_scores_are_refused_and_the_least_number_is_not(rate, needed):
    scores = torch.arange(float(needed))
    assert calibrate(scores, rate) == needed - 1
    with pytest.raises(BoundsError, match=f"at least {needed} clean images, got {needed - 1}"):
        calibrate(scores[1:], rate)


def test_what_it_refuses():
    with pytest.raises(BoundsError, match="above 0 and below 1, got 0"):
        calibrate(torch.rand(9), 0)
    with pytest.raises(BoundsError, match="1 of 2 scores are NaN"):
        calibrate(torch.tensor([1.0, float("nan")]), 0.5)
