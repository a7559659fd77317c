"""LayerCAM (Jiang et al. 2021)."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from gazeshift.cams._activations import ActivationsAndGradients

__all__ = ["LayerCam"]


@dataclass(frozen=True, kw_only=True)
class LayerCam:
    """Each pixel weighted by its own positive gradient: M = sum_k relu(g_k) A_k, raw and signed.

    Multiplying the score by c > 0 multiplies the map by c. Taken just before a pooling layer it shows a grid
    (`Layer.followed_by`). Never negative where activations are not.
    """

    def __call__(self, seen: ActivationsAndGradients) -> Float[Tensor, "n h w"]:
        """Map (n, h, w) at the layer's own resolution."""
        return seen.positive_product
