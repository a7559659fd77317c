"""What a CAM is given: one layer's activations and gradients, with the quantities that several CAMs share."""

from collections.abc import Iterator
from functools import cached_property, reduce
from math import inf

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from gazeshift.precision import exact, wide

POLE = 1e-3  # |2 + S g| below this leaves Grad-CAM++'s sum (only possible where a linear layer has S < 0)

# Values to work on at a time. On a CPU, temporaries of this size stay in the cache and are handed out again at once;
# to write one as large as a layer takes longer than all the arithmetic. A GPU wants much to do at a time.
BLOCK = {"cpu": 1 << 18, "cuda": 1 << 27}


class ActivationsAndGradients:
    """Activations A and gradients g = d score / d A of one layer, for a batch; S is A summed over the pixels.

    Each shared quantity is computed when a CAM first asks for it, so that four CAMs cost hardly more than one, and a
    few channels at a time, so that nothing as large as the layer is made.
    Sums and products are float32, and float64 where 2 + S g could cancel.

    Args:
        activations: (n, k, h, w).
        gradients: the same shape.
    """

    def __init__(self, activations: Float[Tensor, "n k h w"], gradients: Float[Tensor, "n k h w"]) -> None:
        self.size = activations.shape[2:]
        self.activations, self.gradients = wide(activations.flatten(2)), wide(gradients.flatten(2))

    def weigh(self, weights: Float[Tensor, "n k"]) -> Float[Tensor, "n h w"]:
        """Sum over channels of weight times activation."""
        return self.as_map(torch.bmm(weights[:, None].to(self.activations.dtype), self.activations)[:, 0])

    def weigh_excess(self, weights: Float[Tensor, "n k"]) -> Float[Tensor, "n h w"]:
        """Sum over channels of (weight - relu(g)) times activation."""
        blocks = self._blocks(self.activations, self.gradients, weights[..., None])
        return self._total((weight - g.clamp_min(0)).mul_(a) for a, g, weight in blocks)

    def as_map(self, flat: Float[Tensor, "n p"]) -> Float[Tensor, "n h w"]:
        """A map from its flattened pixels."""
        return flat.reshape(len(flat), *self.size)

    @cached_property
    def activation(self) -> Float[Tensor, "n k"]:
        """Mean over the pixels of each channel's activations."""
        return self.activations.mean(2)

    @cached_property
    def gradient(self) -> Float[Tensor, "n k"]:
        """Mean over the pixels of each channel's gradients: Grad-CAM's weights."""
        return self.gradients.mean(2)

    @cached_property
    def positive_product(self) -> Float[Tensor, "n h w"]:
        """Sum over channels of relu(g) A: LayerCAM before its ReLU."""
        return self._total(g.clamp_min(0).mul_(a) for a, g in self._blocks(self.activations, self.gradients))

    @property
    def pull(self) -> Float[Tensor, "n k"]:
        """Sum over pixels of alpha relu(g), alpha = 1 / (2 + S relu(g)): Grad-CAM++'s weights, alphas as they are."""
        return self.plus_plus[0]

    @property
    def mean_pull(self) -> Float[Tensor, "n k"]:
        """Mean of the positive gradients weighted by alpha, 0 if there are none; exactly g where g is constant."""
        return self.plus_plus[1]

    @property
    def poles(self) -> Int[Tensor, " n"]:
        """How many (channel, pixel) pairs with g > 0 left these sums because |2 + S g| < 1e-3."""
        return self.plus_plus[2].sum(1)

    @cached_property
    def plus_plus(self) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"], Int[Tensor, "n k"]]:
        """What Grad-CAM++ and NoiseCAM ask of each channel: `pull`, `mean_pull` and number of poles."""
        parts = [_plus_plus(a, g) for a, g in self._blocks(self.activations, self.gradients)]
        pull, mean, poles = (torch.cat(part, 1) for part in zip(*parts, strict=True))
        return pull, mean, poles

    @cached_property
    def positive_share(self) -> Float[Tensor, "n k"]:
        """Sum of 1 / (2 + S g) where g > 0, divided by its sum where g != 0 (by 1 if that is 0)."""
        return torch.cat([_positive_share(a, g) for a, g in self._blocks(self.activations, self.gradients)], 1)

    def _blocks(self, *tensors: Shaped[Tensor, "n k p"]) -> Iterator[tuple[Tensor, ...]]:
        """The tensors, a few channels at a time."""
        pieces = -(-self.activations.numel() // BLOCK.get(self.activations.device.type, BLOCK["cuda"]))
        return zip(*(tensor.chunk(max(1, pieces), 1) for tensor in tensors), strict=True)

    def _total(self, products: Iterator[Float[Tensor, "n b p"]]) -> Float[Tensor, "n h w"]:
        return self.as_map(reduce(torch.add, (product.sum(1) for product in products)))


def _plus_plus(
    activations: Float[Tensor, "n b p"], gradients: Float[Tensor, "n b p"]
) -> tuple[Float[Tensor, "n b"], Float[Tensor, "n b"], Int[Tensor, "n b"]]:
    """See `ActivationsAndGradients.plus_plus`. Where S < 0, 2 + S g can vanish: these channels once more in float64."""
    sums, positive = activations.sum(2, keepdim=True), gradients.clamp_min(0)
    pull, mean = _pulls(torch.mul(positive, sums.clamp_min(0)).add_(2), positive)
    poles = torch.zeros(pull.shape, dtype=torch.long, device=pull.device)
    at = (sums[..., 0] < 0).nonzero(as_tuple=True)
    if len(at[0]):
        pushed = exact(positive[at])
        denominators = _denominators(activations[at], pushed)
        poles[at] = (denominators.abs() < POLE).sum(-1).to(poles.device)
        pull, mean = (
            given.index_put(at, better.to(given))
            for given, better in zip((pull, mean), _pulls(_without_poles(denominators), pushed), strict=True)
        )
    return pull, mean, poles


def _pulls(
    denominators: Float[Tensor, "*b p"], positive: Float[Tensor, "*b p"]
) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
    """Sum of alpha relu(g), alpha one over its denominator; and that divided by the sum of the alphas where g > 0.

    A sum of 0 divides by 1. What the first quotient misses is averaged and added, which makes it exactly g where g is
    constant: there NoiseCAM's difference of the two must vanish.
    """
    alphas = positive.sign().div_(denominators)
    total = alphas.sum(-1)
    total = total.masked_fill(total == 0, 1)
    pull: Tensor = torch.linalg.vecdot(alphas, positive)
    mean = pull / total
    missed = (positive - mean[..., None]).mul_(alphas).sum(-1)
    return pull, mean + missed / total


def _positive_share(activations: Float[Tensor, "n b p"], gradients: Float[Tensor, "n b p"]) -> Float[Tensor, "n b"]:
    denominators = _without_poles(_denominators(activations, gradients))
    total = exact(gradients != 0).div_(denominators).sum(-1)
    positive = total - exact(gradients < 0).div_(denominators).sum(-1)
    return (positive / total.masked_fill(total == 0, 1)).to(activations)


def _denominators(activations: Float[Tensor, "*b p"], gradients: Float[Tensor, "*b p"]) -> Float[Tensor, "*b p"]:
    """2 + S g in float64."""
    return torch.mul(exact(gradients), exact(activations).sum(-1, keepdim=True)).add_(2)


def _without_poles(denominators: Float[Tensor, "*b p"]) -> Float[Tensor, "*b p"]:
    """Infinite at a pole, so that its alpha is 0, and its derivative too."""
    return denominators.masked_fill(denominators.abs() < POLE, inf)
