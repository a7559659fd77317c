import math

import numpy as np
import pytest
import torch

from gazeshift.errors import BoundsError
from gazeshift.measures.cosine import Cosine


def plain(first: torch.Tensor, second: torch.Tensor) -> list[float]:
    """Renkhoff et al. 2022, eq. 5, one pair at a time in float64."""
    pairs = [
        (one.double().numpy().ravel(), two.double().numpy().ravel()) for one, two in zip(first, second, strict=True)
    ]
    return [float(one @ two / (np.linalg.norm(one) * np.linalg.norm(two))) for one, two in pairs]


def maps(*, n: int = 4, size: int = 224, seed: int = 0) -> torch.Tensor:
    return torch.randn((n, size, size), generator=torch.Generator().manual_seed(seed))


def test_by_hand():
    first = torch.tensor([[[3.0, 4.0]], [[1.0, 2.0]], [[1.0, 0.0]]])
    second = torch.tensor([[[4.0, 3.0]], [[-2.0, -4.0]], [[1.0, 1.0]]])
    wanted = torch.tensor([24 / 25, -1.0, math.sqrt(0.5)])
    torch.testing.assert_close(Cosine()(first, second), wanted, rtol=0, atol=1e-7)


def test_check_10_same_scaled_and_disjoint_maps():
    one = maps(n=3, size=14).abs()
    assert Cosine()(one, one).tolist() == [1.0] * 3
    torch.testing.assert_close(Cosine()(one, one * 7.3), torch.ones(3), rtol=0, atol=1e-7)
    left, right = one.clone(), one.clone()
    left[..., 7:], right[..., :7] = 0, 0
    assert Cosine()(left, right).tolist() == [0.0] * 3


def test_check_10_blank_maps():
    blank, other = torch.zeros(1, 5, 5), maps(n=1, size=5)
    assert Cosine()(blank, blank).item() == 1
    assert Cosine()(blank, other).item() == 0
    assert Cosine()(other, blank).item() == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_undefined_maps_give_nan_even_against_a_blank(value):
    broken = maps(n=1, size=5)
    broken[0, 2, 2] = value
    for other in (maps(n=1, size=5, seed=1), torch.zeros(1, 5, 5), broken):
        assert Cosine()(broken, other).isnan().all()


@pytest.mark.parametrize("offset", [0.0, 1.0, 1000.0])
@pytest.mark.parametrize("mixed", [0.0, 1e-3, 0.5, 1.0])
def test_float32_maps_agree_with_plain_float64(offset, mixed):
    first = maps() + offset
    second = (1 - mixed) * first + mixed * (maps(seed=1) - offset)
    got = Cosine()(first, second)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got, plain(first, second), rtol=0, atol=1e-6)


@pytest.mark.parametrize("scales", [(1e-37, 1e-37), (1e-30, 1e30), (1e37, 1e37)])
def test_no_scale_of_gradients_is_too_small_or_too_large(scales):
    """Signed maps, and one below 0 throughout."""
    first, second = maps(size=32), maps(size=32) + maps(size=32, seed=1)
    first[0] = -first[0].abs()
    got = Cosine()(first * scales[0], second * scales[1])
    np.testing.assert_allclose(got, plain(first, second), rtol=0, atol=1e-6)


def test_maps_are_taken_as_they_come():
    """Rectifying is the caller's choice: the negative parts count here."""
    first, second = torch.tensor([[[1.0, -1.0]]]), torch.tensor([[[1.0, 0.0]]])
    assert Cosine()(first, second).item() == pytest.approx(math.sqrt(0.5))
    assert Cosine()(first.relu(), second).item() == 1


def test_a_map_without_pixels_is_refused():
    with pytest.raises(BoundsError, match=r"float32 \(2, 0, 5\)"):
        Cosine()(torch.zeros(2, 0, 5), torch.zeros(2, 0, 5))


@pytest.mark.parametrize("space", ["raw", "jet"])
@pytest.mark.parametrize("shape", [(1, 1), (2, 7), (14, 14), (28, 13), (56, 56), (64, 48), (90, 90)])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_enlarged_maps_need_not_be_enlarged(space, shape, scale):
    generator = torch.Generator().manual_seed(shape[0])
    first, second = (torch.randn((5, *shape), generator=generator) * scale for _ in range(2))
    if space == "jet":
        first, second = first.relu(), second.relu()
    measure, size = Cosine(space=space), (64, 48)
    wide = [torch.nn.functional.interpolate(one[:, None], size, mode="bilinear")[:, 0] for one in (first, second)]
    got = measure.enlarged(first, second, size)
    np.testing.assert_allclose(got, measure(*wide), rtol=0, atol=1e-6)
    if space == "raw":
        np.testing.assert_allclose(got, plain(*wide), rtol=0, atol=2e-6)


def test_enlarged_maps_keep_the_conventions():
    one, blank, broken = maps(n=1, size=5).abs(), torch.zeros(1, 5, 5), torch.full((1, 5, 5), math.inf)
    size = (32, 32)
    assert Cosine().enlarged(one, one, size).item() == 1
    assert Cosine().enlarged(blank, blank, size).item() == 1
    assert Cosine().enlarged(one, blank, size).item() == 0
    assert Cosine().enlarged(broken, blank, size).isnan().all()
    assert Cosine().enlarged(one * math.nan, one, size).isnan().all()


def test_a_map_that_is_made_smaller_may_lose_its_only_spot():
    spot = torch.zeros(1, 9, 9)
    spot[0, 0, 0] = 1
    assert Cosine().enlarged(spot, torch.zeros(1, 9, 9), (2, 2)).item() == 1  # both are blank at that size
