"""Strengths: plain scaling, and what the published loop computed in its place."""

import numpy as np
import pytest
import torch
from torch import Tensor

from gazeshift import registry
from gazeshift.errors import BoundsError, UnknownNameError
from gazeshift.seeds import generator_for
from gazeshift.transforms.strength import Strengths


def test_default_coefficients() -> None:
    """SPEC check 5."""
    strengths = Strengths()
    assert strengths.values == (0.25, 0.5, 1, 2, 4)
    assert strengths.coefficients == (0.25, 0.5, 1, 2, 4)
    assert strengths.bases == (0, 0, 0, 0, 0)


def test_released_coefficients() -> None:
    """SPEC check 5."""
    strengths = Strengths(arithmetic="released")
    assert strengths.coefficients == (0.25, -0.25, -0.25, 0.75, 3.75)
    assert strengths.bases == (0, -0.75, -1.25, -1.25, -0.25)


def test_released_is_the_loop_that_overwrites_its_image() -> None:
    """Other strengths, replayed on numbers as the published loop does it."""
    values, seed, step, noise = (0.5, 3.0, 0.125), 0.5, 0.01, 0.02
    attacked, pairs = seed + step, []
    for value in values:
        under = attacked - step
        attacked = under + value * step
        pairs.append((attacked, under + value * noise))
    whole = [torch.full((1, 3, 1, 1), number, dtype=torch.float64) for number in (seed, step, noise)]
    ours = [(a[0, 0, 0, 0], g[0, 0, 0, 0]) for _, a, g in Strengths(values=values, arithmetic="released")(*whole)]
    np.testing.assert_allclose(np.array(ours, dtype=np.float64), pairs, rtol=0, atol=1e-15)


@pytest.fixture
def parts() -> tuple[Tensor, Tensor, Tensor]:
    images = torch.rand((2, 3, 8, 8), generator=generator_for(0, "images"))
    change = torch.randn((2, 2, 3, 8, 8), generator=generator_for(0, "change")) * 0.1
    return images, change[0], change[1]


@pytest.mark.parametrize("arithmetic", ["default", "released"])
def test_images_are_the_formula(parts: tuple[Tensor, Tensor, Tensor], arithmetic: str) -> None:
    images, perturbation, noise = (part.double().numpy() for part in parts)
    strengths = Strengths(arithmetic=arithmetic)
    rows = list(strengths(*parts))
    assert [row[0] for row in rows] == [0.25, 0.5, 1, 2, 4]
    for (value, attacked, noisy), c, b in zip(rows, strengths.coefficients, strengths.bases, strict=True):
        expected = np.clip(images + c * perturbation, 0, 1)
        np.testing.assert_allclose(attacked.numpy(), expected, rtol=0, atol=1e-6)
        expected = np.clip(images + b * perturbation + value * noise, 0, 1)
        np.testing.assert_allclose(noisy.numpy(), expected, rtol=0, atol=1e-6)
    assert rows[-1][1].min() == 0
    assert rows[-1][2].max() == 1


def test_the_parts_agree_with_the_whole(parts: tuple[Tensor, Tensor, Tensor]) -> None:
    images, perturbation, noise = parts
    strengths = Strengths(values=(1.0, 2.0))
    together = list(strengths(*parts))
    alone = zip(strengths.attacked(images, perturbation), strengths.noisy(images, perturbation, noise), strict=True)
    for (value, attacked, noisy), ((value_a, a), (value_g, g)) in zip(together, alone, strict=True):
        assert value == value_a == value_g
        assert torch.equal(attacked, a)
        assert torch.equal(noisy, g)


def test_strength_1_gives_the_attack_back(parts: tuple[Tensor, Tensor, Tensor]) -> None:
    images, perturbation, _ = parts
    made = (images + perturbation).clamp(0, 1)
    ((_, again),) = Strengths(values=(1.0,)).attacked(images, made - images)
    torch.testing.assert_close(again, made, rtol=0, atol=1e-7)


def test_leaves_its_inputs_alone(parts: tuple[Tensor, Tensor, Tensor]) -> None:
    before = [part.clone() for part in parts]
    list(Strengths(arithmetic="released")(*parts))
    assert all(torch.equal(part, was) for part, was in zip(parts, before, strict=True))


def test_truncation_outgrows_a_small_perturbation() -> None:
    """SPEC check 7: Laplace noise of 0.125 levels becomes 0.71 in files cut to 8 bits; rounding erases it."""
    random = np.random.default_rng(0)
    images = torch.from_numpy(random.integers(20, 236, (4, 3, 64, 64)).astype(np.float32)) / 255
    change = torch.from_numpy(random.laplace(0, 0.125 / np.sqrt(2), images.shape).astype(np.float32)) / 255
    sizes = {}
    for eight_bit in ("none", "round", "truncate"):
        ((_, attacked),) = Strengths(values=(1.0,), eight_bit=eight_bit).attacked(images, change)
        found = (attacked - images) * 255
        sizes[eight_bit] = (
            float(found.mean()),
            float(found.square().mean().sqrt()),
            float((found.abs() > 0.5).float().mean()),
        )
    assert sizes["none"][1] == pytest.approx(0.125, abs=0.003)
    assert sizes["truncate"][:2] == pytest.approx((-0.5, 0.71), abs=0.01)
    assert sizes["round"][2] == pytest.approx(0.004, abs=0.001)


@pytest.mark.parametrize("eight_bit", ["round", "truncate"])
def test_what_has_8_bits_already_stays(eight_bit: str) -> None:
    levels = (torch.arange(256) / 255).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    nothing = torch.zeros_like(levels)
    ((_, attacked, noisy),) = Strengths(values=(1.0,), eight_bit=eight_bit)(levels, nothing, nothing)
    assert torch.equal((attacked * 255).round(), (levels * 255).round())
    assert torch.equal(attacked, noisy)


def test_unknown_way_to_8_bits_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"no eight_bit named 'trunc'\. Did you mean 'truncate'"):
        Strengths(eight_bit="trunc")
    with pytest.raises(UnknownNameError, match=r"no eight_bit named '8'\. Known: none, round, truncate"):
        Strengths(eight_bit=8)


@pytest.mark.parametrize("values", [(), (0.0,), (1.0, -1.0), (float("nan"),), (float("inf"),)])
def test_strengths_that_are_none_are_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(BoundsError, match="strengths must be finite and above 0, got"):
        Strengths(values=values)


def test_unknown_arithmetic_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"no strength arithmetic named 'release'\. Did you mean 'released'"):
        Strengths(arithmetic="release")


def test_is_found_by_name() -> None:
    assert registry.build("transforms", "strength", arithmetic="released") == Strengths(arithmetic="released")
