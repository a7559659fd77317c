"""Maps of where a classifier looks: each a function of one layer's activations and gradients."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from gazeshift.cams._activations import ActivationsAndGradients
from gazeshift.records import Layer, LayerTrace

__all__ = ["ActivationsAndGradients", "DrawsMap", "draw"]

DrawsMap = Callable[[ActivationsAndGradients], Tensor]

# Values per piece of a batch: small enough on a CPU that a piece stays in the cache while several CAMs read it.
PIECE = {"cpu": 1 << 20, "cuda": 1 << 27}


def draw(cams: Mapping[str, DrawsMap], layer: Layer, activations: Tensor, gradients: Tensor) -> LayerTrace:
    """Every CAM of one layer, a few images at a time so that no temporary outgrows the layer itself."""
    values = max(1, activations[:1].numel())
    size = max(1, PIECE.get(activations.device.type, PIECE["cuda"]) // values)
    maps: dict[str, list[Tensor]] = {name: [] for name in cams}
    poles, means = [], []
    for start in range(0, max(1, len(activations)), size):  # an empty batch is one empty piece
        seen = ActivationsAndGradients(activations[start : start + size], gradients[start : start + size])
        for name, cam in cams.items():
            maps[name].append(cam(seen))
        poles.append(seen.poles if "plus_plus" in vars(seen) else torch.zeros(len(seen.activations), dtype=torch.long))
        means.append((seen.activation, seen.gradient))
    joined = {name: torch.cat(pieces) for name, pieces in maps.items()}
    activation, gradient = (torch.cat(pieces) for pieces in zip(*means, strict=True))
    counted = torch.cat([count.to(activations.device) for count in poles])
    return LayerTrace(layer=layer, maps=joined, poles=counted, activation=activation, gradient=gradient)
