"""The colouring under which the released code of Renkhoff et al. compared heatmaps."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

# Corners of the three piecewise linear curves of the jet colour table: (value, level), both 0 to 1.
CORNERS = (
    ((0.0, 0.0), (0.35, 0.0), (0.66, 1.0), (0.89, 1.0), (1.0, 0.5)),
    ((0.0, 0.0), (0.125, 0.0), (0.375, 1.0), (0.64, 1.0), (0.91, 0.0), (1.0, 0.0)),
    ((0.0, 0.5), (0.11, 1.0), (0.34, 1.0), (0.65, 0.0), (1.0, 0.0)),
)


def jet_picture(maps: Float[Tensor, "n h w"]) -> Float[Tensor, "n h w3"]:
    """Maps as that code pictured them: rectified, over their maximum, cut to 8 bits, coloured; colours side by side.

    A blank map is dark blue throughout; a map that is not finite stays NaN.
    """
    peak = maps.clamp_min(0).amax((1, 2), keepdim=True)
    levels = (maps.clamp_min(0) / torch.where(peak == 0, 1.0, peak) * 255).floor()
    coloured = torch.stack([_curve(levels / 255, corners) for corners in CORNERS], dim=-1)
    spoiled = ~maps.isfinite().all(2).all(1)
    return coloured.flatten(2).masked_fill(spoiled[:, None, None], float("nan"))


def _curve(values: Tensor, corners: tuple[tuple[float, float], ...]) -> Tensor:
    result = torch.full_like(values, corners[0][1])
    for (start, low), (end, high) in pairwise(corners):
        result = torch.where(values > start, low + (values - start) / (end - start) * (high - low), result)
    return result
