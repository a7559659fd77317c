import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch.nn.functional import interpolate

from gazeshift.errors import BoundsError, SettingsError
from gazeshift.measures.ssim import Ssim

WINDOWS = ("uniform", "gaussian")


def plain(first: np.ndarray, second: np.ndarray, window: str, data_range: float = 1.0) -> float:
    """Wang et al. 2004, eqs. 13 to 17, window by window."""
    size = 7 if window == "uniform" else 11
    offsets = np.arange(size) - size // 2
    bell = np.exp(-(offsets**2) / (2 * 1.5**2)) if window == "gaussian" else np.ones(size)
    weights = np.outer(bell, bell) / np.outer(bell, bell).sum()
    correction = 49 / 48 if window == "uniform" else 1.0
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for top in range(first.shape[0] - size + 1):
        for left in range(first.shape[1] - size + 1):
            one, two = (side[top : top + size, left : left + size].astype(np.float64) for side in (first, second))
            mean1, mean2 = (weights * one).sum(), (weights * two).sum()
            var1 = correction * (weights * (one - mean1) ** 2).sum()
            var2 = correction * (weights * (two - mean2) ** 2).sum()
            both = correction * (weights * (one - mean1) * (two - mean2)).sum()
            luminance = (2 * mean1 * mean2 + c1) / (mean1**2 + mean2**2 + c1)
            values.append(luminance * (2 * both + c2) / (var1 + var2 + c2))
    return float(np.mean(values))


def independent(first: torch.Tensor, second: torch.Tensor, window: str, data_range: float = 1.0) -> list[float]:
    """scikit-image in float64: in float32 it is itself off by up to 2e-5 on nearly constant maps."""
    more = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False} if window == "gaussian" else {}
    sides = [(one.double().numpy(), two.double().numpy()) for one, two in zip(first, second, strict=True)]
    return [structural_similarity(one, two, data_range=data_range, **more) for one, two in sides]


def heatmaps(*, n: int = 3, height: int = 40, width: int = 33, seed: int = 0) -> torch.Tensor:
    coarse = torch.rand((n, 1, 7, 7), generator=torch.Generator().manual_seed(seed))
    return interpolate(coarse, (height, width), mode="bilinear")[:, 0]


def test_one_window_by_hand():
    """A 7 x 7 map is one window: 24 ones among 49 pixels have mean 24/49 and sample variance 25/98."""
    first = torch.tensor([1.0, 0.0] * 24 + [0.0]).reshape(1, 7, 7)
    mean1, mean2, var = 24 / 49, 25 / 49, 24 * 25 / (49 * 48)
    luminance = (2 * mean1 * mean2 + 1e-4) / (mean1**2 + mean2**2 + 1e-4)
    wanted = luminance * (-2 * var + 9e-4) / (2 * var + 9e-4)
    assert Ssim()(first, 1 - first).item() == pytest.approx(wanted, abs=1e-7)
    assert wanted == pytest.approx(-0.9957, abs=1e-4)


def test_constant_maps_by_hand():
    first, second = torch.full((1, 20, 20), 0.2), torch.full((1, 20, 20), 0.9)
    wanted = (2 * 0.2 * 0.9 + 1e-4) / (0.2**2 + 0.9**2 + 1e-4)
    for window in WINDOWS:
        assert Ssim(window=window)(first, second).item() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("size", [(11, 11), (12, 15), (19, 11)])
def test_agrees_with_plain_windows(window, size):
    first, second = (heatmaps(height=size[0], width=size[1], seed=seed) for seed in (0, 1))
    wanted = [plain(one.numpy(), two.numpy(), window) for one, two in zip(first, second, strict=True)]
    np.testing.assert_allclose(Ssim(window=window)(first, second), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("mixed", [1e-3, 0.1, 1.0])
def test_agrees_with_scikit_image(window, mixed):
    first, other = heatmaps(seed=0), heatmaps(seed=1)
    second = (1 - mixed) * first + mixed * other
    for one, two in ((first, second), (first, 1 - second), (first, other - 0.5), (torch.zeros_like(first), second)):
        got = Ssim(window=window)(one, two)
        np.testing.assert_allclose(got, independent(one, two, window), rtol=0, atol=1e-6)
        np.testing.assert_allclose(
            Ssim(window=window)(one.double(), two.double()), independent(one, two, window), rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("levels", [(0.9, 0.9), (0.2, 0.9), (0.3, 0.8), (0.65, 0.7), (1.0, 0.123)])
@pytest.mark.parametrize("ripple", [0.0, 1e-6, 1e-4, 1e-3])
def test_agrees_with_scikit_image_on_nearly_constant_maps(window, levels, ripple):
    """In float32 the variance of such windows is rounding, and wrong by up to 4e-5 in the result."""
    first, second = (level + ripple * (heatmaps(seed=seed) - 0.5) for seed, level in enumerate(levels))
    got = Ssim(window=window)(first, second)
    np.testing.assert_allclose(got, independent(first, second, window), rtol=0, atol=1e-6)


def test_agrees_with_scikit_image_over_several_chunks_of_full_size():
    first, second = (heatmaps(n=7, height=224, width=224, seed=seed) for seed in (0, 1))
    np.testing.assert_allclose(Ssim()(first, second), independent(first, second, "uniform"), rtol=0, atol=1e-6)


def test_the_data_range_is_what_is_said_and_not_what_the_maps_have():
    first, second = 255 * heatmaps(seed=0), 255 * heatmaps(seed=1)
    got = Ssim(data_range=255.0)(first, second)
    np.testing.assert_allclose(got, independent(first, second, "uniform", 255.0), rtol=0, atol=1e-6)
    faint = Ssim()(first / 2550, second / 2550)
    assert (faint - Ssim()(first / 255, second / 255)).abs().min() > 0.05


@pytest.mark.parametrize(("window", "size"), [("uniform", 7), ("gaussian", 11)])
def test_maps_smaller_than_the_window_are_refused(window, size):
    measure = Ssim(window=window)
    assert measure(torch.ones(1, size, size), torch.ones(1, size, size)).item() == 1
    small = torch.ones(1, size, size - 1)
    with pytest.raises(
        BoundsError, match=rf"{window} window is {size} x {size} pixels, got maps of {size} x {size - 1}"
    ):
        measure(small, small)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(SettingsError, match=r"no window '7'\. Known: gaussian, uniform"):
        Ssim(window=7)
    with pytest.raises(SettingsError, match="Did you mean 'gaussian'"):
        Ssim(window="gausian")
    for name in ("data_range", "k1", "k2"):
        for value in (0.0, -1.0, math.nan, math.inf):
            with pytest.raises(SettingsError, match=f"{name} above 0"):
                Ssim(**{name: value})
