"""Numbers of the report: by hand, against plain numpy written from SPEC 6.3, and against simulated chance."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazeshift.report.statistics import chance_band, compromise, mod, share, spread, vid, wilson

_tables = pytest.importorskip("gazeshift.studies.deviation.report.tables")
percent, three, two = _tables.percent, _tables.three, _tables.two

NAN = float("nan")


def table(seed: int, layers: int = 4, images: int = 9, holes: float = 0.2) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = random.random((layers, images))
    values[random.random((layers, images)) < holes] = NAN
    return values


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 999), images=st.integers(1, 12))
def test_spread_equals_numpy_layer_by_layer(seed, images):
    values = table(seed, images=images)
    found = spread(values)
    for place, row in enumerate(values):
        defined = row[~np.isnan(row)]
        assert found.count[place] == len(defined)
        if len(defined):
            np.testing.assert_allclose(found.quartiles[:, place], np.quantile(defined, (0.25, 0.5, 0.75)))
            np.testing.assert_allclose(found.mean[place], defined.mean())
        else:
            assert np.isnan(found.mean[place])
            assert np.isnan(found.quartiles[:, place]).all()


def test_spread_of_nothing_is_undefined():
    found = spread(np.empty((2, 0)))
    assert found.count.tolist() == [0, 0]
    assert np.isnan(found.quartiles).all()
    assert np.isnan(found.mean).all()


def test_compromise_by_hand():
    attacked = np.array([[0.1, 0.5, 0.9, NAN], [0.2, 0.2, 0.2, 0.2], [NAN, NAN, NAN, NAN]])
    noise = np.array([[0.5, 0.4, 0.6, 0.5], [0.2, 0.2, 0.2, 0.2], [0.9, 0.9, 0.9, 0.9]])
    found = compromise(attacked, noise)
    # Layer 0: the median under noise is 0.5; strictly below it is one of three defined images.
    np.testing.assert_allclose(found.probability, [1 / 3, 0, NAN])
    # Paired: 0.1 < 0.5 yes, 0.5 < 0.4 no, 0.9 < 0.6 no. Equal values are not below.
    np.testing.assert_allclose(found.paired, [1 / 3, 0, NAN])
    assert found.pairs.tolist() == [3, 4, 0]
    assert found.per_image.tolist() == [1, 0, 0, 0]
    assert found.lowest.tolist() == [1, 3, 0]


def plain(attacked: np.ndarray, noise: np.ndarray) -> tuple[list[float], list[float], list[int]]:
    """SPEC 6.3 with loops."""
    layers, images = attacked.shape
    below = [[False] * images for _ in range(layers)]
    probability, paired = [], []
    for layer in range(layers):
        known = sorted(value for value in noise[layer] if not math.isnan(value))
        half = len(known) // 2
        median = NAN if not known else known[half] if len(known) % 2 else (known[half - 1] + known[half]) / 2
        seen = [i for i in range(images) if not math.isnan(attacked[layer, i]) and not math.isnan(median)]
        for i in seen:
            below[layer][i] = bool(attacked[layer, i] < median)
        probability.append(sum(below[layer][i] for i in seen) / len(seen) if seen else NAN)
        both = [i for i in range(images) if not math.isnan(attacked[layer, i]) and not math.isnan(noise[layer, i])]
        paired.append(sum(bool(attacked[layer, i] < noise[layer, i]) for i in both) / len(both) if both else NAN)
    counted = [sum(below[layer][i] for layer in range(layers)) for i in range(images)]
    return probability, paired, counted


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 999), images=st.integers(1, 12))
def test_compromise_equals_plain_loops(seed, images):
    attacked, noise = table(seed, images=images, holes=0.1), table(seed + 1000, images=images, holes=0.1)
    probability, paired, counted = plain(attacked, noise)
    found = compromise(attacked, noise)
    np.testing.assert_allclose(found.probability, probability)
    np.testing.assert_allclose(found.paired, paired)
    defined = ~np.isnan(attacked) & ~np.isnan(spread(noise).quartiles[1])[:, None]
    assert found.per_image.tolist() == [count for count, some in zip(counted, defined.any(0), strict=True) if some]


def test_noise_against_itself_is_at_most_chance():
    noise = np.random.default_rng(0).random((6, 21))
    np.testing.assert_allclose(compromise(noise, noise).probability, 10 / 21)
    np.testing.assert_array_equal(compromise(noise, noise).paired, 0)


def test_lower_similarity_raises_the_probability():
    random = np.random.default_rng(1)
    attacked, noise = random.random((5, 30)), random.random((5, 30))
    assert (compromise(attacked - 0.2, noise).probability >= compromise(attacked, noise).probability).all()
    assert (compromise(attacked - 2, noise).probability == 1).all()


@pytest.mark.parametrize("count", [7, 10, 20, 101])
def test_chance_band_holds_nineteen_of_twenty(count):
    random = np.random.default_rng(count)
    found = compromise(random.random((4000, count)), random.random((4000, count))).probability
    low, high = chance_band(count)
    inside = ((found >= low) & (found <= high)).mean()
    assert 0.93 <= inside <= 0.995
    assert low + high == pytest.approx(1)


def test_chance_band_without_images_is_everything():
    assert chance_band(0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    [(0, 0, 0, 1), (0, 10, 0, 0.2775), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662), (10, 10, 0.7225, 1)],
)
def test_wilson_against_published_values(part, whole, low, high):
    assert wilson(part, whole) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_share_of_nothing_is_undefined():
    np.testing.assert_array_equal(share(np.array([1, 0]), np.array([2, 0])), [0.5, NAN])


def test_mod_and_vid_leave_out_what_is_undefined():
    nissim = np.array([[[0.1, NAN, 0.3]], [[0.3, 0.2, 0.3]]])
    np.testing.assert_allclose([mod(level)[0] for level in nissim], [0.2, 0.8 / 3])
    np.testing.assert_allclose(vid(nissim), [[0.1, NAN, 0.0]])
    assert np.isnan(mod(np.full((1, 3), NAN))).all()


@pytest.mark.parametrize(
    ("value", "short", "long"),
    [
        (None, "–", "–"),
        (0, "0.00", "0.000"),
        (5, "0.01", "0.005"),
        (-4, "0.00", "-0.004"),
        (-5, "-0.01", "-0.005"),
        (994, "0.99", "0.994"),
        (995, "1.00", "0.995"),
        (-1234, "-1.23", "-1.234"),
    ],
)
def test_thousandths_are_printed_without_floating_point(value, short, long):
    assert (two(value), three(value)) == (short, long)


def test_percent_rounds_halves_up():
    assert [percent(1, 8), percent(1, 200), percent(0, 5), percent(0, 0)] == ["13 %", "1 %", "0 %", "–"]
