"""The gradient that attacks climb: by formula, the same in any batch, whatever the caller's grad mode."""

import pytest
import torch
from torch import Tensor

from gazeshift.attacks._gradient import finite, loss_gradient
from gazeshift.errors import ModelError
from gazeshift.seeds import generator_for

WEIGHTS = torch.randn((5, 12), generator=generator_for(1), dtype=torch.float64)
IMAGES = torch.rand((3, 3, 2, 2), generator=generator_for(2), dtype=torch.float64)
LABELS = torch.tensor([4, 0, 2])


def softmax_regression(images: Tensor) -> Tensor:
    return images.flatten(1) @ WEIGHTS.T


def test_by_formula() -> None:
    """W^T (p - onehot), not divided by the number of images."""
    probabilities = softmax_regression(IMAGES).softmax(1) - torch.eye(5, dtype=torch.float64)[LABELS]
    torch.testing.assert_close(
        loss_gradient(softmax_regression, IMAGES, LABELS).flatten(1), probabilities @ WEIGHTS, rtol=0, atol=1e-14
    )


def test_the_same_in_any_batch_and_without_grad_mode() -> None:
    together = loss_gradient(softmax_regression, IMAGES, LABELS)
    with torch.no_grad():
        for index in range(3):
            alone = loss_gradient(softmax_regression, IMAGES[index : index + 1], LABELS[index : index + 1])
            torch.testing.assert_close(alone, together[index : index + 1], rtol=0, atol=1e-14)
        assert not torch.is_grad_enabled()


def test_finite_counts_images_and_not_values() -> None:
    images = IMAGES.clone()
    assert finite(images) is images
    images[1:] = torch.inf
    with pytest.raises(ModelError, match="for 2 of 3 images, first at index 1"):
        finite(images)
