"""One generator per image: the same numbers in any batch."""

import pytest
import torch

from gazeshift.errors import SettingsError
from gazeshift.seeds import generator_for, normal, uniform

CPU = torch.device("cpu")


def test_same_names_same_numbers_and_other_names_others() -> None:
    first = normal((1, 5), generator_for(3, "pgd", "cat"), CPU)
    assert torch.equal(first, normal((1, 5), generator_for(3, "pgd", "cat"), CPU))
    for seed, names in [(4, ("pgd", "cat")), (3, ("pgdcat",)), (3, ("pg", "dcat")), (3, ("cat", "pgd")), (3, ())]:
        assert not torch.equal(first, normal((1, 5), generator_for(seed, *names), CPU))


def test_the_seed_is_fixed_for_all_time() -> None:
    """SHA-256 of the JSON text [3, "pgd"], first 8 bytes, worked out outside."""
    assert generator_for(3, "pgd").initial_seed() == 15608657925534150498


@pytest.mark.parametrize("draw", [normal, uniform])
def test_a_generator_per_image_does_not_see_the_batch(draw: object) -> None:
    together = draw((3, 2, 4), [generator_for(0, str(index)) for index in range(3)], CPU)
    for index in range(3):
        assert torch.equal(together[index : index + 1], draw((1, 2, 4), generator_for(0, str(index)), CPU))


@pytest.mark.parametrize("draw", [normal, uniform])
def test_a_generator_for_all_gives_each_image_its_own(draw: object) -> None:
    together = draw((2, 100), generator_for(0, "all"), CPU)
    assert torch.equal(together, draw((2, 100), generator_for(0, "all"), CPU))
    assert not torch.equal(together[0], together[1])


def test_distributions() -> None:
    """Mean and variance within 4 standard errors; the square of n normals spreads by sqrt(2 / n)."""
    n = 40_000
    noise, level = normal((n,), generator_for(1), CPU), uniform((n,), generator_for(1), CPU)
    assert abs(noise.mean()) < 4 / n**0.5
    assert abs(noise.var() - 1) < 4 * (2 / n) ** 0.5
    assert abs(level.mean() - 0.5) < 4 * (1 / 12 / n) ** 0.5
    assert level.min() >= 0
    assert level.max() < 1


def test_a_wrong_number_of_generators_is_refused() -> None:
    with pytest.raises(SettingsError, match="got 2 for 3 images"):
        normal((3, 4), [generator_for(0), generator_for(1)], CPU)


def test_no_images_no_draws() -> None:
    assert normal((0, 4), [], CPU).shape == (0, 4)
    assert uniform((0, 4), generator_for(0), CPU).shape == (0, 4)
