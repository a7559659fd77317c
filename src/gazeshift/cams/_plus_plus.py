"""Grad-CAM++'s channel weights under its three normalisations, shared with NoiseCAM."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from gazeshift.cams._seen import Seen
from gazeshift.errors import SettingsError

AlphaNorm = Literal["none", "positive", "all"]


def check_alpha_norm(value: str) -> None:
    """Refuse anything but the three normalisations."""
    if value not in ("none", "positive", "all"):
        raise SettingsError(f"alpha_norm must be none, positive or all, got '{value}'.")


def plus_plus_weights(seen: Seen, alpha_norm: AlphaNorm) -> Float[Tensor, "n k"]:
    """W = sum alpha relu(g), with alpha divided by its sum over the pixels that the normalisation names.

    A sum of 0 divides by 1 (the channel then has no positive gradient, or its alphas cancel).
    """
    if alpha_norm == "none":
        return seen.pull
    normed = (seen.alphas * (seen.positive > 0)).sum(2) if alpha_norm == "positive" else seen.signed_alpha_sums
    return seen.pull / normed.masked_fill(normed == 0, 1)
