"""Gradients of gradients: everything as before, but for the bump where a slope jumps."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import grad, gradgradcheck
from torch.nn import functional

from gazeshift.models._smooth_second_derivative import SmoothSecondDerivative
from helpers.networks import Linear, Plain, Residual, classifier_of, hooks_on, images_of, seeded

KINKED = {
    "relu": functional.relu,
    "relu, method": lambda values: values.relu(),
    "relu6": functional.relu6,
    "hardtanh": lambda values: functional.hardtanh(values, -0.5, 1.5),
    "hardtanh by name": lambda values: functional.hardtanh(values, max_val=2.0),
    "leaky": lambda values: functional.leaky_relu(values, 0.2),
    "in place": lambda values: functional.relu(values * 1, inplace=True),
    "in place, module": lambda values: nn.ReLU6(inplace=True)(values * 1),
    "not taken": lambda values: (kept := values * 1, kept.relu_())[0],
}


@pytest.fixture(params=KINKED.values(), ids=KINKED)
def kinked(request: pytest.FixtureRequest) -> Callable[[Tensor], Tensor]:
    return request.param


def values_and_gradient(function: Callable[[Tensor], Tensor], values: Tensor) -> tuple[Tensor, Tensor]:
    live = values.clone().requires_grad_()
    made = function(live)
    return made.detach(), grad((made * torch.arange(made.numel()).reshape(made.shape)).sum(), live)[0]


def test_values_and_first_gradients_stay_what_they_are(kinked: Callable[[Tensor], Tensor]) -> None:
    places = torch.tensor([-3.0, -0.5, -0.1, 0.0, 0.3, 1.0, 1.5, 2.0, 5.9, 6.0, 7.0, torch.inf, -torch.inf])
    usual = values_and_gradient(kinked, places)
    with SmoothSecondDerivative():
        assert all(torch.equal(one, two) for one, two in zip(values_and_gradient(kinked, places), usual, strict=True))


def second(function: Callable[[Tensor], Tensor], place: float, width: float = 0.5) -> float:
    """Of the function, twice differentiated."""
    live = torch.tensor([place], dtype=torch.float64, requires_grad=True)
    with SmoothSecondDerivative(width=width):
        (slope,) = grad(function(live).sum(), live, create_graph=True)
        return grad(slope.sum(), live)[0].item() if slope.requires_grad else 0.0


def test_the_bump_by_hand() -> None:
    """A triangle of height 1 / width: at 0.1 of 0.5 it is down to 4 / 5."""
    assert second(functional.relu, 0.1) == pytest.approx(1.6)
    assert second(functional.relu, -0.1) == pytest.approx(1.6)
    assert second(functional.relu, 0.6) == 0
    assert second(functional.relu6, 5.9) == pytest.approx(-1.6)
    assert second(lambda values: functional.hardtanh(values, -1, 3), -1.0, width=0.25) == pytest.approx(4)
    assert second(lambda values: functional.leaky_relu(values, 0.2), 0.0) == pytest.approx(2 * 0.8)


def test_the_bump_has_an_area_of_one() -> None:
    places = torch.linspace(-1, 1, 401).tolist()
    assert sum(second(functional.relu, place) for place in places) * 0.005 == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "settings", [{}, {"stride": 2, "padding": 1}, {"groups": 2, "dilation": 2}, {"padding": "same"}]
)
def test_the_gradient_of_a_convolutions_gradient_is_true(settings: dict[str, object]) -> None:
    """Against differences of first gradients."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn((4, 4 // int(settings.get("groups", 1)), 3, 3), generator=generator, dtype=torch.float64)
    mean, scale = torch.rand((2, 4), generator=generator, dtype=torch.float64)

    def network(values: Tensor) -> Tensor:
        with SmoothSecondDerivative():
            seen = functional.conv2d(values.sin(), weight, mean, **settings)
            return functional.batch_norm(seen, mean, scale + 0.5, scale, mean).sin()

    values = torch.randn((2, 4, 6, 7), generator=generator, dtype=torch.float64, requires_grad=True)
    assert gradgradcheck(network, (values,), atol=1e-6)


@pytest.mark.parametrize("kind", [Plain, Residual, Linear])
def test_a_network_is_the_same_inside(kind: type[nn.Module]) -> None:
    network = seeded(kind).double()
    classifier, images = classifier_of(network), images_of(3).double()
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    usual = values_and_gradient(classifier, images)
    with SmoothSecondDerivative():
        inside = values_and_gradient(classifier, images)
    torch.testing.assert_close(inside, usual, rtol=1e-12, atol=1e-12)
    assert all(torch.equal(classifier.state_dict()[name], value) for name, value in before.items())
    assert hooks_on(classifier) == 0


def test_weights_that_learn_still_do() -> None:
    images = images_of(2)
    network = seeded(Plain)
    usual = grad(network(images).square().sum(), list(network.parameters()))
    with SmoothSecondDerivative():
        inside = grad(network(images).square().sum(), list(network.parameters()))
    torch.testing.assert_close(inside, usual)


def test_it_ends_with_the_block() -> None:
    with pytest.raises(KeyError), SmoothSecondDerivative():
        raise KeyError
    live = torch.tensor([0.1], requires_grad=True)
    (slope,) = grad(functional.relu(live).sum(), live, create_graph=True)
    assert not slope.requires_grad or grad(slope.sum(), live)[0].item() == 0
