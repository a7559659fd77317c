"""Displacement, area and correlation: against plain float64 and SciPy, and without resizing against with it."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import center_of_mass
from scipy.stats import pearsonr

from gazeshift.enlarged import enlarge
from gazeshift.measures.area import Area
from gazeshift.measures.correlation import Correlation
from gazeshift.measures.displacement import Displacement

MEASURES = (Displacement(), Area(), Correlation())


def maps(*, n: int = 5, height: int = 7, width: int = 9, seed: int = 0) -> torch.Tensor:
    """Signed maps, as gradients make them."""
    return torch.randn((n, height, width), generator=torch.Generator().manual_seed(seed)) + 0.3


def plain(name: str, first: np.ndarray, second: np.ndarray) -> float:
    """The formula, one pair at a time, of positive values in float64."""
    one, two = (np.clip(part.astype(np.float64), 0, None) for part in (first, second))
    if name == "Displacement":
        longest = math.hypot(one.shape[0] - 1, one.shape[1] - 1)
        return math.dist(center_of_mass(one), center_of_mass(two)) / longest
    if name == "Area":
        areas = [part.sum() ** 2 / (part.size * (part**2).sum()) for part in (one, two)]
        return areas[1] - areas[0]
    return pearsonr(one.ravel(), two.ravel()).statistic


@pytest.mark.parametrize("measure", MEASURES, ids=repr)
@pytest.mark.parametrize("size", [(7, 9), (1, 12), (30, 4)])
def test_numbers_are_those_of_the_formula(measure, size):
    first, second = (maps(height=size[0], width=size[1], seed=seed) for seed in (0, 1))
    wanted = [plain(type(measure).__name__, one.numpy(), two.numpy()) for one, two in zip(first, second, strict=True)]
    np.testing.assert_allclose(measure(first, second), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("measure", MEASURES, ids=repr)
@pytest.mark.parametrize("size", [(64, 48), (7, 9), (5, 20)])
def test_maps_need_not_be_resized(measure, size):
    first, second = maps().relu(), maps(seed=1).relu()
    resized = measure(enlarge(first, size), enlarge(second, size))
    torch.testing.assert_close(measure.enlarged(first, second, size), resized, rtol=0, atol=2e-6)
    wanted = [
        plain(type(measure).__name__, one.numpy(), two.numpy())
        for one, two in zip(enlarge(first, size), enlarge(second, size), strict=True)
    ]
    np.testing.assert_allclose(measure.enlarged(first, second, size), wanted, rtol=0, atol=2e-6)


def test_a_spot_that_goes_from_corner_to_corner():
    first, second = torch.zeros(1, 14, 14), torch.zeros(1, 14, 14)
    first[0, 0, 0] = second[0, 13, 13] = 1
    assert Displacement()(first, second).item() == 1
    assert Displacement()(first, first).item() == 0
    assert Area()(first, second).item() == 0
    assert Area()(first, torch.ones(1, 14, 14)).item() == pytest.approx(1 - 1 / 196)


@pytest.mark.parametrize(("measure", "both", "one"), [(MEASURES[0], 0, 1), (MEASURES[1], 0, None), (MEASURES[2], 1, 0)])
def test_blank_maps_have_the_values_that_the_docstring_says(measure, both, one):
    blank, other = -torch.ones(1, 5, 5), maps(n=1, height=5, width=5)
    assert measure(blank, 3 * blank).item() == both
    for pair in ((blank, other), (other, blank)):
        found = measure(*pair).item()
        assert found == one if one is not None else abs(found) > 0.1


def test_a_flat_map_has_no_correlation_however_large_it_is():
    flat, other = torch.full((1, 8, 8), 3e7), maps(n=1, height=8, width=8)
    assert Correlation()(flat, flat / 3).item() == 1
    assert Correlation()(flat, other).item() == 0
    assert Correlation().enlarged(flat, other, (32, 32)).item() == 0


@pytest.mark.parametrize("measure", MEASURES, ids=repr)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_undefined_maps_give_nan_even_against_a_blank(measure, value):
    broken = maps(n=1)
    broken[0, 2, 2] = value
    for other in (maps(n=1, seed=1), torch.zeros(1, 7, 9), broken):
        assert measure(broken, other).isnan().all()
        assert measure.enlarged(other, broken, (14, 18)).isnan().all()
