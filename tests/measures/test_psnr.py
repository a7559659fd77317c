import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from gazeshift.errors import SettingsError
from gazeshift.measures.psnr import Psnr


def grey_and_signs(*, n: int = 2, size: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    signs = torch.randint(0, 2, (n, 3, size, size), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    return torch.full_like(signs, 0.5), signs


def test_by_hand():
    black, white = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    one_pixel = black.clone()
    one_pixel[0, 1, 2, 3] = 1.0
    assert Psnr()(black, white).item() == 0
    assert Psnr()(black, one_pixel).item() == pytest.approx(10 * math.log10(48), abs=1e-5)
    assert Psnr()(white, white).item() == math.inf


@pytest.mark.parametrize(("epsilon", "decibels"), [(0.01, 40.00), (0.05, 26.02), (0.075, 22.50), (0.1, 20.00)])
def test_check_17_a_step_of_epsilon_on_mid_grey_images(epsilon, decibels):
    grey, signs = grey_and_signs()
    torch.testing.assert_close(Psnr()(grey, grey + epsilon * signs), torch.full((2,), decibels), rtol=0, atol=5e-3)


@pytest.mark.parametrize(("epsilon", "decibels"), [(0.01, 46.02), (0.05, 32.04), (0.075, 28.52), (0.1, 26.02)])
def test_images_in_minus_1_to_1_have_twice_the_range(epsilon, decibels):
    grey, signs = grey_and_signs()
    got = Psnr(data_range=2.0)(grey - 0.5, grey - 0.5 + epsilon * signs)
    torch.testing.assert_close(got, torch.full((2,), decibels), rtol=0, atol=5e-3)


@pytest.mark.parametrize("epsilon", [1e-6, 1 / 255, 0.3])
@pytest.mark.parametrize("data_range", [1.0, 2.0])
def test_agrees_with_plain_numpy_and_scikit_image(epsilon, data_range):
    generator = torch.Generator().manual_seed(1)
    first = torch.rand((4, 3, 33, 20), generator=generator)
    second = (first + epsilon * torch.randn(first.shape, generator=generator)).clamp(0, 1)
    got = Psnr(data_range=data_range)(first, second)
    one, two = first.double().numpy(), second.double().numpy()
    np.testing.assert_allclose(got, 10 * np.log10(data_range**2 / ((one - two) ** 2).mean((1, 2, 3))), rtol=1e-6)
    independent = [peak_signal_noise_ratio(a, b, data_range=data_range) for a, b in zip(one, two, strict=True)]
    np.testing.assert_allclose(got, independent, rtol=1e-6)


def test_a_range_that_makes_no_sense_is_refused():
    for value in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(SettingsError, match="data_range above 0"):
            Psnr(data_range=value)
