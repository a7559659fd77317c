"""PGD against a plain NumPy version, on models whose best attack is known, and its number of passes."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gazeshift.attacks._projections import project, random_start, steepest
from gazeshift.attacks.pgd import Pgd
from gazeshift.seeds import generator_for, uniform

Array = np.ndarray[Any, np.dtype[np.float64]]


def softmax_regression(weights: Tensor):
    return lambda images: images.flatten(1) @ weights.T


def numpy_pgd(weights: Array, image: Array, label: int, *, norm: str, epsilon: float, step: float) -> Array:
    """Seven steps of Madry et al. 2018 for one flat image and softmax regression: the gradient is W^T (p - onehot)."""
    moved = image.copy()
    for _ in range(7):
        logits = weights @ moved
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
        probabilities[label] -= 1
        gradient = weights.T @ probabilities
        moved = moved + step * (np.sign(gradient) if norm == "linf" else gradient / np.sqrt((gradient**2).sum()))
        change = moved - image
        if norm == "linf":
            change = np.minimum(np.maximum(change, -epsilon), epsilon)
        elif np.sqrt((change**2).sum()) > epsilon:
            change = change * epsilon / np.sqrt((change**2).sum())
        moved = np.minimum(np.maximum(image + change, 0), 1)
    return moved


@pytest.mark.parametrize(("norm", "epsilon", "step"), [("linf", 0.1, 0.03), ("l2", 0.7, 0.2), ("linf", 8 / 255, None)])
def test_equals_plain_numpy(norm: str, epsilon: float, step: float | None) -> None:
    images = torch.rand((5, 3, 4, 4), generator=generator_for(1), dtype=torch.float64)
    weights = torch.randn((6, 48), generator=generator_for(2), dtype=torch.float64)
    labels = torch.tensor([0, 5, 2, 2, 1])
    attack = Pgd(norm=norm, epsilon=epsilon, step=step, steps=7, random_start=False)
    attacked = attack(softmax_regression(weights), images, labels, generator=generator_for(0))
    for ours, image, label in zip(attacked, images, labels, strict=True):
        plain = image.flatten().numpy()
        theirs = numpy_pgd(weights.numpy(), plain, int(label), norm=norm, epsilon=epsilon, step=step or epsilon / 4)
        np.testing.assert_allclose(ours.flatten().numpy(), theirs, rtol=0, atol=1e-12)


def test_the_default_is_madrys() -> None:
    """8/255, and one step of it is 2/255."""
    images, labels = torch.full((1, 3, 2, 2), 0.5, dtype=torch.float64), torch.tensor([0])
    weights = torch.randn((2, 12), generator=generator_for(3), dtype=torch.float64)
    attack = Pgd(steps=1, random_start=False)
    change = attack(softmax_regression(weights), images, labels, generator=generator_for(0)) - images
    assert attack.epsilon == 8 / 255
    torch.testing.assert_close(change.abs(), torch.full_like(change, 2 / 255))


def test_l2_reaches_the_exact_optimum_of_a_linear_model() -> None:
    """The direction of the weights' difference, epsilon long: reached by 4 straight steps of epsilon / 4."""
    images, labels = torch.full((2, 3, 4, 4), 0.5, dtype=torch.float64), torch.tensor([0, 1])
    weights = torch.randn((2, 48), generator=generator_for(4), dtype=torch.float64)
    attack = Pgd(norm="l2", epsilon=0.4, steps=6, random_start=False)
    change = (attack(softmax_regression(weights), images, labels, generator=generator_for(0)) - images).flatten(1)
    way = (weights[1] - weights[0]) / (weights[1] - weights[0]).norm()
    torch.testing.assert_close(change, 0.4 * torch.stack([way, -way]), rtol=0, atol=1e-12)


def test_l2_climbs_gradients_that_are_too_small_to_square() -> None:
    """A confident model's gradient: 1e-30 squared is 0 in float32, and the image would stay where it is."""
    gradient = torch.randn((2, 3, 4, 4), generator=generator_for(5))
    gradient[1] = 0
    tiny = steepest(gradient * 1e-30, "l2")
    torch.testing.assert_close(tiny, steepest(gradient, "l2"))
    torch.testing.assert_close(tiny[0].norm(), torch.tensor(1.0))
    assert (tiny[1] == 0).all()
    assert torch.linalg.vector_norm(gradient * 1e-30) == 0, "the case is the one that was meant"


def test_linf_start_is_uniform_in_the_box() -> None:
    images = torch.full((2, 3, 60, 60), 0.5)
    change = (random_start(images, 0.1, "linf", generator_for(6)) - images) / 0.1
    n = change.numel()
    assert abs(change.mean()) < 4 * (1 / 3 / n) ** 0.5
    assert abs(change.square().mean() - 1 / 3) < 4 * (4 / 45 / n) ** 0.5
    assert change.abs().max() <= 1 + 1e-6
    assert change.abs().max() > 0.999


def test_l2_start_is_uniform_in_the_ball() -> None:
    """In m dimensions the m-th power of the length is uniform in [0, 1], and no direction is preferred."""
    n, m, epsilon = 4000, 12, 0.3
    images = torch.full((n, 3, 2, 2), 0.5)
    change = (random_start(images, epsilon, "l2", generator_for(7)) - images).flatten(1).double() / epsilon
    level = change.norm(dim=1) ** m
    assert level.max() <= 1 + 1e-5
    assert abs(level.mean() - 0.5) < 4 * (1 / 12 / n) ** 0.5
    quarters = torch.histc(level.clamp(max=1), bins=4, min=0, max=1)
    assert (abs(quarters - n / 4) < 4 * (n * 3 / 16) ** 0.5).all()
    # Each coordinate of a uniform point has mean 0 and variance 1 / (m + 2).
    assert (change.mean(0).abs() < 4.5 * (1 / (m + 2) / n) ** 0.5).all()
    assert abs(change.square().mean() * (m + 2) - 1) < 0.02


def test_the_start_is_clipped_and_used() -> None:
    """A model without gradient leaves the images at their start: in the ball, in [0, 1], and not the images."""
    images = torch.cat([torch.zeros(1, 3, 5, 5), torch.ones(1, 3, 5, 5)])
    for norm, epsilon in (("linf", 0.1), ("l2", 0.5)):
        attack = Pgd(norm=norm, epsilon=epsilon)
        start = attack(
            lambda seen: seen.flatten(1)[:, :2] * 0, images, torch.tensor([0, 1]), generator=generator_for(8)
        )
        assert start.min() == 0
        assert start.max() == 1
        assert torch.equal(start, random_start(images, epsilon, norm, generator_for(8)))
        assert not torch.equal(start, images)


def test_projection_by_hand() -> None:
    images = torch.tensor([0.5, 0.5, 0.9]).view(1, 3, 1, 1)
    moved = torch.tensor([0.8, 0.1, 0.9]).view(1, 3, 1, 1)
    torch.testing.assert_close(project(moved, images, 0.2, "linf").flatten(), torch.tensor([0.7, 0.3, 0.9]))
    torch.testing.assert_close(project(moved, images, 0.25, "l2").flatten(), torch.tensor([0.65, 0.3, 0.9]))
    torch.testing.assert_close(project(moved, images, 0.6, "l2"), moved)
    torch.testing.assert_close(project(images, images, 0.1, "l2"), images)
    assert project(images + 0.5, images, 0.5, "linf").max() == 1


class Counted(nn.Module):
    """Counts the images of every forward and backward pass, and keeps what it saw."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.head = nn.Linear(weights.shape[1], weights.shape[0], bias=False)
        self.head.weight = nn.Parameter(weights)
        self.forwards, self.backwards, self.seen = 0, 0, []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append((images.detach(), images.detach().clone()))
        self.forwards += len(images)
        logits: Tensor = self.head(images.flatten(1))
        logits.register_hook(self.count)
        return logits

    def count(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("steps", [1, 6])
def test_takes_exactly_its_steps(norm: str, steps: int) -> None:
    model = Counted(torch.randn((2, 12), generator=generator_for(9)))
    images = torch.rand((3, 3, 2, 2), generator=generator_for(10))
    Pgd(norm=norm, steps=steps)(model, images, torch.tensor([0, 1, 0]), generator=generator_for(0))
    assert (model.forwards, model.backwards) == (3 * steps, 3 * steps)
    assert model.head.weight.grad is None


def test_what_a_model_keeps_of_its_input_is_not_written_over() -> None:
    model = Counted(torch.randn((2, 12), generator=generator_for(9)))
    images = torch.rand((3, 3, 2, 2), generator=generator_for(10))
    Pgd(steps=4)(model, images, torch.tensor([0, 1, 0]), generator=generator_for(0))
    assert all(torch.equal(kept, copy) for kept, copy in model.seen)
    assert not torch.equal(model.seen[0][1], model.seen[1][1])


def test_other_seed_other_start() -> None:
    images, labels = torch.full((1, 3, 4, 4), 0.5), torch.tensor([0])
    weights = torch.randn((2, 48), generator=generator_for(11))
    for norm in ("linf", "l2"):
        results = [
            Pgd(norm=norm, steps=1)(softmax_regression(weights), images, labels, generator=generator_for(seed))
            for seed in (1, 2)
        ]
        assert not torch.equal(*results)


def test_a_model_in_half_precision_is_attacked_through_its_small_probabilities() -> None:
    """bfloat16 logits 12 apart: the label's probability is 1 in bfloat16, its gradient 0; in float32 it is not."""
    weights = torch.zeros((2, 12), dtype=torch.bfloat16)
    weights[0] = 2
    images = torch.full((1, 3, 2, 2), 0.5, dtype=torch.bfloat16)
    attack = Pgd(epsilon=0.25, steps=4, random_start=False)
    attacked = attack(softmax_regression(weights), images, torch.tensor([0]), generator=generator_for(0))
    assert (attacked == 0.25).all()


def test_a_photograph_of_equal_changes_is_brought_to_the_exact_length() -> None:
    """A float32 norm that adds one value after the other is 2e-5 too short here, and the ball would be left."""
    images = torch.full((1, 3, 224, 224), 0.5)
    signs = uniform(images.shape, generator_for(0), torch.device("cpu")).sub(0.5).sign()
    change = (project(images + 8 / 255 * signs, images, 3.0, "l2") - images).double()
    assert float(change.square().sum().sqrt()) == pytest.approx(3.0, rel=2e-6)
