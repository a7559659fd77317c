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
    def linear(self) -> Tensor:
        """Indices (image, channel) of channels with S < 0, where 2 + S g can vanish."""
        return (self.sums[..., 0] < 0).nonzero(as_tuple=True)  # type: ignore[return-value]

    @cached_property
    def alphas(self) -> Float[Tensor, "n k p"]:
        """1 / (2 + S relu(g)), Grad-CAM++'s alpha wherever g > 0; 0 at a pole."""
        alphas = torch.mul(self.positive, self.sums).add_(2).reciprocal_()
        image, channel = self.linear
        if len(image):
            alphas[image, channel] = _guarded(self._exact(self.positive)).to(alphas.dtype)
        return alphas

    @cached_property
    def signed_alpha_sums(self) -> Float[Tensor, "n k"]:
        """Sum over all pixels with g != 0 of 1 / (2 + S g); negative gradients count too."""
        exact = torch.mul(self.gradients.double(), self.activations.double().sum(2, keepdim=True)).add_(2)
        return _guarded(exact).mul_(self.gradients != 0).sum(2).to(self.activations.dtype)

    @cached_property
    def pull(self) -> Float[Tensor, "n k"]:
        """Sum over pixels of alpha relu(g): Grad-CAM++'s weights with alphas as they are."""
        pull: Tensor = torch.linalg.vecdot(self.alphas, self.positive)
        return pull

    @cached_property
    def poles(self) -> Int[Tensor, " n"]:
        """How many (channel, pixel) pairs with g > 0 left the sums because |2 + S g| < 1e-3."""
        counts = torch.zeros(len(self.activations), dtype=torch.long, device=self.activations.device)
        image, _ = self.linear
        if len(image):
            counts.index_add_(0, image, (self._exact(self.positive).abs() < POLE).sum(1))
        return counts

    def _exact(self, gradients: Tensor) -> Float[Tensor, "m p"]:
        """2 + S g in float64, for the channels in `linear`."""
        image, channel = self.linear
        sums = self.activations[image, channel].double().sum(1, keepdim=True)
        return gradients[image, channel].double() * sums + 2


def _guarded(denominators: Tensor) -> Tensor:
    return denominators.reciprocal().masked_fill_(denominators.abs() < POLE, 0)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32
