"""What a CAM is given: one layer's activations and gradients, with the quantities that several CAMs share."""

from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

POLE = 1e-3  # |2 + S g| below this leaves Grad-CAM++'s sum (only possible where a linear layer has S < 0)


class Seen:
    """Activations A and gradients g = d score / d A of one layer, for a batch; S is A summed over the pixels.

    Each shared quantity is computed when a CAM first asks for it, so that four CAMs cost hardly more than one.
    Sums and products are float32, and float64 where 2 + S g could cancel.

    Args:
        activations: (n, k, h, w).
        gradients: the same shape.
    """

    def __init__(self, activations: Float[Tensor, "n k h w"], gradients: Float[Tensor, "n k h w"]) -> None:
        self.size = activations.shape[2:]
        self.activations = activations.flatten(2).to(_wide(activations.dtype))
        self.gradients = gradients.flatten(2).to(_wide(gradients.dtype))

    def weigh(self, weights: Float[Tensor, "n k"]) -> Float[Tensor, "n h w"]:
        """Sum over channels of weight times activation."""
        return self.as_map(torch.bmm(weights[:, None].to(self.activations.dtype), self.activations)[:, 0])

    def as_map(self, flat: Float[Tensor, "n p"]) -> Float[Tensor, "n h w"]:
        """A map from its flattened pixels."""
        return flat.reshape(len(flat), *self.size)

    @cached_property
    def positive(self) -> Float[Tensor, "n k p"]:
        """relu(g)."""
        return self.gradients.clamp_min(0)

    @cached_property
    def positive_product(self) -> Float[Tensor, "n h w"]:
        """Sum over channels of relu(g) A: LayerCAM before its ReLU."""
        return self.as_map((self.positive * self.activations).sum(1))

    @cached_property
    def sums(self) -> Float[Tensor, "n k 1"]:
        """S, the sum of each channel's activations."""
        return self.activations.sum(2, keepdim=True)

    @cached_property
    def alphas(self) -> Float[Tensor, "n k p"]:
        """1 / (2 + S relu(g)), Grad-CAM++'s alpha wherever g > 0; 1 / 2 where S < 0, see `cancelling`."""
        return torch.mul(self.positive, self.sums.clamp_min(0)).add_(2).reciprocal_()

    @cached_property
    def cancelling(self) -> tuple[tuple[Tensor, ...], Float[Tensor, "m p"], Float[Tensor, "m p"]]:
        """Where S < 0 (image, channel), and relu(g) and 2 + S relu(g) there in float64: this sum can vanish."""
        at = (self.sums[..., 0] < 0).nonzero(as_tuple=True)
        positive = self.positive[at].double()
        return at, positive, _denominators(self.activations[at], positive)

    @cached_property
    def pull(self) -> Float[Tensor, "n k"]:
        """Sum over pixels of alpha relu(g): Grad-CAM++'s weights with alphas as they are."""
        pull: Tensor = torch.linalg.vecdot(self.alphas, self.positive)
        at, positive, denominators = self.cancelling
        if len(positive):
            pull[at] = torch.linalg.vecdot(_inverse(denominators), positive).to(pull.dtype)
        return pull

    @cached_property
    def mean_pull(self) -> Float[Tensor, "n k"]:
        """Mean of the positive gradients weighted by alpha, 0 if there are none; exactly g where g is constant."""
        mean = _weighted_mean(self.alphas, self.positive)
        at, positive, denominators = self.cancelling
        if len(positive):
            mean[at] = _weighted_mean(_inverse(denominators), positive).to(mean.dtype)
        return mean

    @cached_property
    def poles(self) -> Int[Tensor, " n"]:
        """How many (channel, pixel) pairs with g > 0 left these sums because |2 + S g| < 1e-3."""
        (image, _), _, denominators = self.cancelling
        counts = torch.zeros(len(self.activations), dtype=torch.long, device=self.activations.device)
        return counts.index_add_(0, image, (denominators.abs() < POLE).sum(1))

    @cached_property
    def positive_share(self) -> Float[Tensor, "n k"]:
        """Sum of 1 / (2 + S g) where g > 0, divided by its sum where g != 0 (by 1 if that is 0)."""
        alphas = _inverse(_denominators(self.activations, self.gradients)) * (self.gradients != 0)
        total = alphas.sum(2)
        positive = total - (alphas * (self.gradients < 0)).sum(2)
        return (positive / total.masked_fill(total == 0, 1)).to(self.activations.dtype)


def _weighted_mean(alphas: Float[Tensor, "*b p"], positive: Float[Tensor, "*b p"]) -> Float[Tensor, "*b"]:
    """Sum of alpha relu(g) divided by the sum of the alphas where g > 0 (by 1 if that is 0).

    What a first quotient misses is averaged and added, which makes it exactly g where g is constant: there NoiseCAM's
    difference of the two must vanish.
    """
    alphas = alphas * (positive > 0)
    total = alphas.sum(-1)
    total = total.masked_fill_(total == 0, 1)
    mean: Tensor = torch.linalg.vecdot(alphas, positive) / total
    missed: Tensor = torch.linalg.vecdot(alphas, positive - mean[..., None])
    return mean + missed / total


def _denominators(activations: Float[Tensor, "*b p"], gradients: Float[Tensor, "*b p"]) -> Float[Tensor, "*b p"]:
    """2 + S g in float64."""
    return torch.mul(gradients.double(), activations.double().sum(-1, keepdim=True)).add_(2)


def _inverse(denominators: Float[Tensor, "*b p"]) -> Float[Tensor, "*b p"]:
    """1 / (2 + S g), 0 at a pole, its derivative too."""
    return denominators.masked_fill(denominators.abs() < POLE, torch.inf).reciprocal()


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32
