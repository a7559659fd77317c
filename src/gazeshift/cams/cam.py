"""Class activation mapping, the original (Zhou et al. 2016)."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from gazeshift.cams._activations import ActivationsAndGradients

__all__ = ["Cam"]

CONSTANT = 1e-5  # relative spread of a gradient that still counts as the same at every pixel


@dataclass(frozen=True, kw_only=True)
class Cam:
    """The linear head applied to every pixel: M = sum_k w_k A_k, w the class's row of the head; raw and signed.

    Defined where average pooling and one linear layer follow. There the gradient of the logit is the same at every
    pixel, w_k / (h w), and its sum gives w_k back. At any other layer the map is NaN throughout.
    """

    def __call__(self, seen: ActivationsAndGradients) -> Float[Tensor, "n h w"]:
        """Map (n, h, w) at the layer's own resolution, or NaN for images whose gradient varies over the pixels."""
        low, high = seen.gradients.amin(2), seen.gradients.amax(2)
        size = seen.gradients.abs().amax((1, 2))
        constant = (high - low).amax(1) <= CONSTANT * size
        maps = seen.weigh(seen.gradients.sum(2))
        return maps.masked_fill(~constant[:, None, None], float("nan"))
