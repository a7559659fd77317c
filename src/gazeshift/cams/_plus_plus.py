"""Grad-CAM++'s channel weights under its three normalisations, shared with NoiseCAM."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from gazeshift.cams._activations import ActivationsAndGradients
from gazeshift.errors import SettingsError

AlphaNorm = Literal["none", "positive", "all"]


def checked_alpha_norm(value: str | None) -> AlphaNorm:
    """The normalisation of that name. A written ``alpha_norm=none`` arrives as None.

    Raises:
        SettingsError: there is none of that name.
    """
    if value is None or value in ("none", "positive", "all"):
        return value or "none"  # type: ignore[return-value]
    raise SettingsError(f"alpha_norm must be none, positive or all, got '{value}'.")


def plus_plus_weights(seen: ActivationsAndGradients, alpha_norm: AlphaNorm) -> Float[Tensor, "n k"]:
    """W = sum alpha relu(g), with alpha divided by its sum over the pixels that the normalisation names.

    A sum of 0 divides by 1 (the channel then has no positive gradient, or its alphas cancel).
    """
    if alpha_norm == "none":
        return seen.pull
    return seen.mean_pull if alpha_norm == "positive" else seen.mean_pull * seen.positive_share
