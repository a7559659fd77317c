"""NoiseCAM (Tan et al. 2023, eqs. 9-17)."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from gazeshift.cams._activations import ActivationsAndGradients
from gazeshift.cams._plus_plus import AlphaNorm, checked_alpha_norm, plus_plus_weights

__all__ = ["NoiseCam"]


@dataclass(frozen=True, kw_only=True)
class NoiseCam:
    """What Grad-CAM++ weighs more than LayerCAM does: M = sum_k (w_k - relu(g_k)) A_k, raw and signed.

    Equals `grad_cam_pp` minus `layer_cam` under the same normalisation; the paper then takes relu. Exactly 0 where
    gradients are positive and the same at every pixel, as before average pooling, unless `alpha_norm` is ``none``.

    Args:
        alpha_norm: how w is normalised, see `grad_cam_pp`. ``none`` is the paper's formula, and at shallow layers
            hardly differs from Grad-CAM++; ``positive`` is the default; ``all`` is its authors' code.
    """

    alpha_norm: AlphaNorm = "positive"

    def __post_init__(self) -> None:
        """Refuse another normalisation."""
        object.__setattr__(self, "alpha_norm", checked_alpha_norm(self.alpha_norm))

    def __call__(self, seen: ActivationsAndGradients) -> Float[Tensor, "n h w"]:
        """Map (n, h, w) at the layer's own resolution."""
        return seen.weigh_excess(plus_plus_weights(seen, self.alpha_norm))
