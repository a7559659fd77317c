"""FGSM by hand, on a model whose best attack is known, and beside Foolbox (see test_attacks_foolbox)."""

import torch
from torch import Tensor

from gazeshift.attacks.fgsm import Fgsm
from gazeshift.seeds import generator_for


def two_classes(weights: Tensor):
    def model(images: Tensor) -> Tensor:
        score = (images * weights).sum((1, 2, 3))
        return torch.stack([score, -score], 1)

    return model


def attack(weights: Tensor, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    return Fgsm(epsilon=epsilon)(two_classes(weights), images, labels, generator=generator_for(0))


def test_by_hand() -> None:
    """Label 0 is hurt by going against the weights; 0 weights stay; 0.05 and 0.95 are clipped."""
    weights = torch.tensor([2.0, -1.0, 0.0, 3.0, -4.0, 0.5])[None].view(3, 1, 2)
    images = torch.tensor([0.5, 0.5, 0.5, 0.05, 0.95, 0.25]).view(1, 3, 1, 2)
    attacked = attack(weights, images, torch.tensor([0]), 0.125)
    torch.testing.assert_close(attacked.flatten(), torch.tensor([0.375, 0.625, 0.5, 0.0, 1.0, 0.125]))
    other_way = attack(weights, images, torch.tensor([1]), 0.125)
    torch.testing.assert_close(other_way.flatten(), torch.tensor([0.625, 0.375, 0.5, 0.175, 0.825, 0.375]))


def test_changes_by_epsilon_wherever_nothing_is_clipped() -> None:
    """SPEC check 18, up to the rounding of one addition."""
    images = torch.rand((2, 3, 8, 8), generator=generator_for(1)) * 0.8 + 0.1
    weights = torch.randn((3, 8, 8), generator=generator_for(2))
    weights[0, :, :4] = 0
    for epsilon in (2 / 255, 0.01, 0.05, 0.1):
        change = (attack(weights, images, torch.tensor([0, 1]), epsilon).double() - images.double()).abs()
        assert (change[:, 0, :, :4] == 0).all()
        torch.testing.assert_close(change[:, 1:], torch.full_like(change[:, 1:], epsilon), rtol=0, atol=3e-8)


def test_reaches_the_exact_maximum_of_a_linear_model() -> None:
    """No corner of the box, found by trying all 64 of them, has a larger loss."""
    weights = torch.randn((3, 1, 2), generator=generator_for(3), dtype=torch.float64)
    images, labels = torch.full((1, 3, 1, 2), 0.5, dtype=torch.float64), torch.tensor([1])
    corners = torch.cartesian_prod(*[torch.tensor([-0.1, 0.1], dtype=torch.float64)] * 6).view(64, 3, 1, 2)
    model = two_classes(weights)
    losses = torch.nn.functional.cross_entropy(model(images + corners), labels.expand(64), reduction="none")
    ours = torch.nn.functional.cross_entropy(model(attack(weights, images, labels, 0.1)), labels)
    torch.testing.assert_close(ours, losses.max(), rtol=0, atol=1e-12)
    assert ours > losses.sort().values[-2]
