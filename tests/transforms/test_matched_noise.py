"""Noise with the mean and population deviation of each image's perturbation."""

import numpy as np
import pytest
import torch
from torch import Tensor

from gazeshift import registry
from gazeshift.seeds import generator_for
from gazeshift.transforms.matched_noise import MatchedNoise


@pytest.fixture
def perturbation() -> Tensor:
    """Three images and channels of different offset and spread; signs, as FGSM makes them, so far from normal."""
    signs = torch.randn((3, 3, 60, 50), generator=generator_for(0, "signs")).sign()
    spread = torch.tensor([1.0, 2.0, 8.0]).view(3, 1, 1, 1) / 255
    offset = torch.tensor([0.0, 3.0, -5.0]).view(1, 3, 1, 1) / 255
    return signs * spread + offset


def test_scalar_statistics(perturbation: Tensor) -> None:
    """SPEC check 6: within 4 standard errors of NumPy's mean and population deviation over all values of an image."""
    noise = MatchedNoise()(perturbation, generator=generator_for(1)).double().numpy()
    for ours, wanted in zip(noise, perturbation.double().numpy(), strict=True):
        n, std = wanted.size, np.std(wanted)
        assert abs(ours.mean() - wanted.mean()) < 4 * std / n**0.5
        assert abs(ours.std() - std) < 4 * std / (2 * n) ** 0.5
        # One mean for all channels, though the perturbation has three.
        for channel in ours:
            assert abs(channel.mean() - wanted.mean()) < 4 * std / (n / 3) ** 0.5
        z = (ours - wanted.mean()) / std
        assert abs((z**4).mean() - 3) < 5 * (96 / n) ** 0.5


def test_per_channel_statistics(perturbation: Tensor) -> None:
    noise = MatchedNoise(per_channel=True)(perturbation, generator=generator_for(1)).double().flatten(0, 1)
    for ours, wanted in zip(noise, perturbation.double().flatten(0, 1), strict=True):
        n, std = wanted.numel(), wanted.std(correction=0)
        assert abs(ours.mean() - wanted.mean()) < 4 * std / n**0.5
        assert abs(ours.std() - std) < 4 * std / (2 * n) ** 0.5


def test_by_hand_with_the_population_deviation() -> None:
    """Values 0 and 2 in equal parts: mean 1, deviation 1 (the sample deviation of six values would be 1.095)."""
    perturbation = torch.tensor([0.0, 2.0, 0.0, 2.0, 0.0, 2.0]).view(1, 3, 1, 2)
    drawn = torch.randn((1, 3, 1, 2), generator=generator_for(2))
    torch.testing.assert_close(MatchedNoise()(perturbation, generator=generator_for(2)), 1 + drawn)


def test_scaling_is_exact_and_the_seed_decides(perturbation: Tensor) -> None:
    first = MatchedNoise()(perturbation, generator=generator_for(3))
    assert torch.equal(first, MatchedNoise()(perturbation, generator=generator_for(3)))
    assert torch.equal(4 * first, MatchedNoise()(4 * perturbation, generator=generator_for(3)))
    assert not torch.equal(first, MatchedNoise()(perturbation, generator=generator_for(4)))


def test_batch_equals_one_by_one(perturbation: Tensor) -> None:
    together = MatchedNoise()(perturbation, generator=[generator_for(5, str(index)) for index in range(3)])
    for index in (2, 0, 1):
        one = slice(index, index + 1)
        assert torch.equal(together[one], MatchedNoise()(perturbation[one], generator=generator_for(5, str(index))))


def test_a_constant_gives_its_constant_and_nan_stays_nan() -> None:
    perturbation = torch.zeros(3, 3, 4, 4)
    perturbation[1] = 0.25
    perturbation[2, 0, 0, 0] = torch.nan
    noise = MatchedNoise()(perturbation, generator=generator_for(0))
    assert (noise[0] == 0).all()
    assert (noise[1] == 0.25).all()
    assert noise[2].isnan().all()


@pytest.mark.parametrize("per_channel", [False, True])
def test_no_perturbation_no_noise(per_channel: bool) -> None:
    none = torch.zeros(0, 3, 4, 5, dtype=torch.float64)
    assert torch.equal(MatchedNoise(per_channel=per_channel)(none, generator=[]), none)


def test_leaves_everything_alone(perturbation: Tensor) -> None:
    before, state = perturbation.clone(), torch.get_rng_state()
    noise = MatchedNoise()(perturbation.double(), generator=generator_for(0))
    assert torch.equal(perturbation, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert noise.dtype == torch.float64


def test_is_found_by_name() -> None:
    assert registry.build("transforms", "matched_noise", per_channel=True) == MatchedNoise(per_channel=True)
