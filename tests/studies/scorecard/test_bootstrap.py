"""The statistics of a scorecard: by hand, one score at a time, and against scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from gazeshift.studies.scorecard.report.bootstrap import Negatives, Resample, estimate, leaders, mean, resampled
from helpers.scorecard_study import plain_detected


def sample(scores: list[float], images: list[int] | None = None) -> Resample:
    return Resample(
        np.array(scores, dtype=float), np.array(range(len(scores)) if images is None else images, dtype=int)
    )


def drawn(seed: int, n: int, p: int) -> tuple[Resample, Resample]:
    """Scores with many ties, of images of which several are of one."""
    random = np.random.default_rng(seed)
    negative, positive = random.integers(0, 6, n), random.integers(2, 8, p)
    return sample(negative.tolist(), random.integers(0, 5, n).tolist()), sample(
        positive.tolist(), random.integers(0, 5, p).tolist()
    )


def repeated(one: Resample, counts: np.ndarray) -> np.ndarray:
    """The scores, each as often as its image was drawn."""
    return np.repeat(one.score, counts[one.image])


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 40), p=st.integers(1, 15))
def test_every_bootstrap_sample_is_what_sklearn_says_of_the_repeated_scores(seed, n, p):
    negative, positive = drawn(seed, n, p)
    counts = resampled(5, 4, seed)
    found = Negatives.of(negative, counts)
    for place, count in enumerate(counts):
        clean, attacked = repeated(negative, count), repeated(positive, count)
        if not clean.size or not attacked.size:
            assert math.isnan(found.auroc(positive)[place])
            assert math.isnan(found.detected(positive, 0.05)[place])
            continue
        truth = [0] * len(clean) + [1] * len(attacked)
        both = np.concatenate([clean, attacked])
        assert found.auroc(positive)[place] == pytest.approx(roc_auc_score(truth, both))
        for rate in (0.01, 0.05, 0.3):
            expected = plain_detected(attacked, clean, rate)
            assert found.detected(positive, rate)[place] == pytest.approx(expected)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 40), p=st.integers(1, 15))
def test_the_roc_curve_is_sklearns(seed, n, p):
    negative, positive = drawn(seed, n, p)
    false, true = Negatives.of(negative, resampled(5, 0)).roc(positive)
    truth = [0] * n + [1] * p
    expected_false, expected_true, _ = roc_curve(truth, np.concatenate([negative.score, positive.score]))
    places = (np.arange(100) + 0.37) / 100.7  # between the rates, where no path is vertical
    np.testing.assert_allclose(
        np.interp(places, false, true), np.interp(places, expected_false, expected_true), atol=1e-9
    )
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)


def test_numbers_by_hand():
    clean = Negatives.of(sample([float(at) for at in range(100)]), resampled(100, 0))
    attacked = sample([94.0, 94.5, 98.5, 99.0, 99.5])
    assert clean.threshold(0.05) == [94.0]
    assert clean.threshold(0.01) == [98.0]
    assert clean.threshold(0.001) == [99.0]
    assert clean.detected(attacked, 0.05) == [0.8], "94 itself is not above"
    assert clean.detected(attacked, 0.01) == [0.6]
    assert clean.auroc(attacked)[0] == pytest.approx((94.5 + 95 + 99 + 99.5 + 100) / 500)
    nothing = clean.auroc(sample([]))
    assert math.isnan(nothing[0])
    assert all(side.size == 0 for side in clean.roc(sample([])))


def test_what_cannot_be_judged_counts_as_most_suspicious():
    infinite = Negatives.of(sample([0.0, math.inf]), resampled(2, 0))
    assert infinite.auroc(sample([math.inf])) == [0.75]
    assert infinite.detected(sample([math.inf, 1.0]), 0.5) == [1.0]
    assert infinite.detected(sample([math.inf]), 0.05) == [0.0], "nothing is above an infinite threshold"


def test_an_image_is_drawn_with_all_that_was_made_of_it():
    """Drawn apart, the clean image 2 could meet the attacked image 1 alone, which gives 0."""
    counts = resampled(2, 50)
    found = Negatives.of(sample([0.0, 2.0]), counts).auroc(sample([1.0, 3.0]))
    assert found[0] == 0.75
    assert set(found.tolist()) == {0.75, 1.0}
    assert (counts[0] == 1).all()
    assert (resampled(7, 50).sum(1) == 7).all()
    assert (resampled(7, 50) == resampled(7, 50)).all()


def test_the_interval_is_about_as_wide_as_theory_has_it():
    """Hanley and McNeil 1982, for independent scores."""
    random = np.random.default_rng(1)
    clean, attacked = random.normal(0, 1, 300), random.normal(1.5, 1, 200)
    negative = Resample(clean, np.arange(300))
    positive = Resample(attacked, np.arange(300, 500))
    value, low, high = estimate(Negatives.of(negative, resampled(500)).auroc(positive))
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)
    variance = (value * (1 - value) + 199 * (q1 - value**2) + 299 * (q2 - value**2)) / (300 * 200)
    assert (high - low) / (2 * 1.96 * math.sqrt(variance)) == pytest.approx(1, abs=0.2)
    assert low < value < high


def test_means_and_leaders_go_sample_by_sample():
    one, other = np.array([0.9, 0.8, 1.0]), np.array([0.7, 0.9, 0.8])
    np.testing.assert_allclose(mean([one, other]), [0.8, 0.85, 0.9])
    np.testing.assert_allclose(mean([one, np.full(3, np.nan)]), one)
    assert leaders({"a": one, "b": other}) == ("a", ["b"]), "b is better in one of two samples"
    assert leaders({"a": one, "b": one - 0.1}) == ("a", [])
    assert leaders({"none": np.full(3, np.nan)}) == (None, [])
