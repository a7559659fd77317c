"""Grad-CAM++ (Chattopadhay et al. 2018)."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from gazeshift.cams._activations import ActivationsAndGradients
from gazeshift.cams._plus_plus import AlphaNorm, checked_alpha_norm, plus_plus_weights

__all__ = ["GradCamPP"]


@dataclass(frozen=True, kw_only=True)
class GradCamPP:
    """Channels weighted by w = sum relu(g) / (2 + S relu(g)), S = sum A; raw and signed (the paper then takes relu).

    This is the paper's alpha = g^2 / (2 g^2 + S g^3) with g cancelled, so that no epsilon is needed. Depends on the
    scale of the score: logits and probabilities give different maps. Where S < 0 (linear outputs), pixels with
    |2 + S g| < 1e-3 leave the sum and are counted.

    Args:
        alpha_norm: ``none`` (the paper's formula), ``positive`` (alpha divided by its sum where g > 0, as its authors'
            code does) or ``all`` (by its sum over all pixels).
    """

    alpha_norm: AlphaNorm = "none"

    def __post_init__(self) -> None:
        """Refuse another normalisation."""
        object.__setattr__(self, "alpha_norm", checked_alpha_norm(self.alpha_norm))

    def __call__(self, seen: ActivationsAndGradients) -> Float[Tensor, "n h w"]:
        """Map (n, h, w) at the layer's own resolution."""
        return seen.weigh(plus_plus_weights(seen, self.alpha_norm))
