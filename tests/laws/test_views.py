"""What every content-keeping change of an image must do: the interventions that take images and give images."""

import pytest
import torch

from gazeshift import registry
from gazeshift.seeds import generator_for

VIEWS = [
    ("blur", {}),
    ("blur", {"sigma": 2.5}),
    ("median", {}),
    ("median", {"size": 5}),
    ("bit_depth", {}),
    ("bit_depth", {"bits": 1}),
    ("jpeg", {}),
    ("jpeg", {"quality": 20, "subsample": False}),
    ("shift", {}),
    ("shift", {"right": 3, "down": -2}),
]
RANDOM = [("shift", {})]


@pytest.fixture(params=VIEWS, ids=str)
def view(request):
    name, settings = request.param
    return registry.build("interventions", name, **settings)


def images(n: int = 3, height: int = 37, width: int = 50) -> torch.Tensor:
    small = torch.rand((n, 3, 6, 7), generator=generator_for(0, "images"))
    return torch.nn.functional.interpolate(small, (height, width), mode="bilinear")


def draws(n: int) -> list[torch.Generator]:
    return [generator_for(1, str(at)) for at in range(n)]


def test_the_result_is_an_image_of_the_same_size_and_type(view):
    made = view(images(), generator=draws(3))
    assert made.shape == images().shape
    assert made.dtype == torch.float32
    assert made.min() >= 0
    assert made.max() <= 1


def test_arguments_and_the_global_random_state_are_left_alone(view):
    given, before = images(), torch.get_rng_state()
    view(given, generator=draws(3))
    assert torch.equal(given, images())
    assert torch.equal(before, torch.get_rng_state())


def test_a_batch_is_its_images_one_by_one(view):
    whole = view(images(), generator=draws(3))
    for at in range(3):
        torch.testing.assert_close(view(images()[at : at + 1], generator=draws(3)[at : at + 1])[0], whole[at])


def test_the_same_seed_gives_the_same(view):
    assert torch.equal(view(images(), generator=draws(3)), view(images(), generator=draws(3)))


def test_an_even_image_stays(view):
    grey = torch.full((1, 3, 40, 40), 128 / 255)
    tolerance = 0.51 if view == registry.build("interventions", "bit_depth", bits=1) else 0.04
    torch.testing.assert_close(view(grey, generator=draws(1)), grey, atol=tolerance, rtol=0)


def test_it_has_a_gradient_to_the_image(view):
    asked = images().requires_grad_()
    (found,) = torch.autograd.grad(view(asked, generator=draws(3)).square().sum(), asked)
    assert found.isfinite().all()
    assert (found != 0).double().mean() > 0.2
    torch.testing.assert_close(view(asked, generator=draws(3)).detach(), view(images(), generator=draws(3)))


def test_an_empty_batch_stays_empty(view):
    assert view(images()[:0], generator=[]).shape == (0, 3, 37, 50)


@pytest.mark.parametrize(("name", "settings"), RANDOM)
def test_other_draws_give_another_view(name, settings):
    view = registry.build("interventions", name, **settings)
    made = [view(images(), generator=[generator_for(seed, str(at)) for at in range(3)]) for seed in range(4)]
    assert any(not torch.equal(made[0], other) for other in made[1:])
