"""Gaussian noise: its mean, its spread and that it is blind to the model."""

import pytest
import torch
from torch import Tensor

from gazeshift.attacks.gaussian import Gaussian
from gazeshift.seeds import generator_for


def never(images: Tensor) -> Tensor:
    raise AssertionError("the control must not look at the model")


@pytest.mark.parametrize(("mean", "std"), [(0.0, 2 / 255), (0.01, 0.02)])
def test_mean_and_spread(mean: float, std: float) -> None:
    """SPEC check 6: within 4 standard errors. Mid-grey, so that nothing is clipped."""
    images = torch.full((4, 3, 64, 64), 0.5)
    noise = Gaussian(std=std, mean=mean)(never, images, torch.zeros(4, dtype=torch.long), generator=generator_for(0))
    noise = noise.double() - 0.5
    n = noise.numel()
    assert abs(noise.mean() - mean) < 4 * std / n**0.5
    assert abs(noise.std() - std) < 4 * std / (2 * n) ** 0.5
    # Kurtosis 3 and no correlation between neighbours: normal and independent, not merely of that size.
    z = (noise - mean) / std
    assert abs(z.pow(4).mean() - 3) < 4 * (96 / n) ** 0.5
    assert abs((z[..., 1:] * z[..., :-1]).mean()) < 4 / n**0.5


def test_scaling_is_exact_and_the_seed_decides() -> None:
    images, labels = torch.full((1, 3, 8, 8), 0.5, dtype=torch.float64), torch.tensor([0])

    def noise(seed: int, std: float) -> Tensor:
        return Gaussian(std=std)(never, images, labels, generator=generator_for(seed)) - images

    torch.testing.assert_close(noise(1, 0.04), 4 * noise(1, 0.01), rtol=1e-6, atol=0)
    assert torch.equal(noise(1, 0.01), noise(1, 0.01))
    assert not torch.equal(noise(1, 0.01), noise(2, 0.01))


def test_clips_to_the_range_of_images() -> None:
    images = torch.cat([torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)])
    noisy = Gaussian(std=0.3)(never, images, torch.tensor([0, 0]), generator=generator_for(0))
    assert (noisy[0] >= 0).all()
    assert (noisy[1] <= 1).all()
    assert 0.4 < (noisy == images).float().mean() < 0.6, "half of the draws point outwards"
