"""Grad-CAM (Selvaraju et al. 2017)."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from gazeshift.cams._activations import ActivationsAndGradients

__all__ = ["GradCam"]


@dataclass(frozen=True, kw_only=True)
class GradCam:
    """Channels weighted by their mean gradient: M = sum_k mean(g_k) A_k, raw and signed (the paper then takes relu).

    Multiplying the score by c > 0 multiplies the map by c. All zero if the gradient is.
    """

    def __call__(self, seen: ActivationsAndGradients) -> Float[Tensor, "n h w"]:
        """Map (n, h, w) at the layer's own resolution."""
        return seen.weigh(seen.gradient)
