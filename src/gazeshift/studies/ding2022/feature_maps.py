"""How far every feature map of a model moves between a clean and an attacked image, over many pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.models import Classifier, select, tapped
from gazeshift.precision import exact
from gazeshift.records import Layer

KERAS, FIRST, PADDED = "activation_*", "activation_1", "pool1_pad"
SUMS = pa.schema(
    [
        ("layer", pa.string()),
        ("layer_index", pa.int16()),
        ("rmse", pa.list_(pa.float64())),
        ("dead", pa.list_(pa.int32())),
        ("square", pa.float64()),
        ("pairs", pa.int32()),
    ]
)
MAPS = pa.schema(
    [
        *(("set", pa.string()), ("layer", pa.string()), ("layer_index", pa.int16()), ("channel", pa.int32())),
        *((name, pa.float64()) for name in ("rmse", "relative", "layer_rms")),
        ("dead", pa.bool_()),
        ("pairs", pa.int32()),
    ]
)


def ranked_layers(classifier: Classifier, size: tuple[int, int], wanted: str) -> dict[str, Layer]:
    """Layers by the name that a ranking shows; Keras's for a ResNet, and its padded stem before the first pooling.

    Args:
        classifier: whose layers.
        size: height and width of the images.
        wanted: ``auto`` or a selector.
    """
    every = classifier.layers(size)
    is_keras = wanted == "auto" and any(FIRST in layer.aliases for layer in every)
    chosen = select(every, KERAS if is_keras else "convs" if wanted == "auto" else wanted, classifier.name)
    named = {_shown(layer, keras=is_keras): layer for layer in chosen}
    return ({PADDED: named[FIRST]} if is_keras else {}) | named


def _shown(layer: Layer, *, keras: bool) -> str:
    own = (name for name in layer.names if name.startswith("activation_"))
    return next(own, layer.name) if keras else layer.name


def captured(classifier: Classifier, images: Float[Tensor, "n channels h w"], layers: Sequence[Layer]) -> Any:
    """Logits, and each layer's activations by its name, of one forward pass without a gradient."""
    found: dict[str, Tensor] = {}

    def tap(layer: Layer, tensor: Tensor, *, in_place: bool = False) -> Tensor:  # noqa: ARG001
        found[layer.name] = tensor.clone() if layer.overwritten else tensor
        return tensor

    with torch.no_grad(), tapped(classifier.module, layers, tap):
        logits = classifier(images)
    return logits, found


def padded(maps: Float[Tensor, "n k h w"]) -> Float[Tensor, "n k g v"]:
    """Maps with a ring of zeros, as Keras's ResNet has them before its first pooling."""
    return torch.nn.functional.pad(maps, (1, 1, 1, 1))


def map_rmse(clean: Float[Tensor, "n k h w"], attacked: Float[Tensor, "n k h w"]) -> Float[Tensor, "n k"]:
    """Root mean square difference of each feature map over its pixels (eq. 4 with C = 1), in float64."""
    return _squares(clean - attacked).sqrt()


def _squares(maps: Float[Tensor, "n k h w"]) -> Float[Tensor, "n k"]:
    """Mean square of each map in float64; one image at a time, so that the doubles stay in the cache."""
    return torch.stack([exact(one).square().mean(1) for one in maps.flatten(2)])


def summed(
    classifier: Classifier,
    clean: Float[Tensor, "n channels h w"],
    attacked: Float[Tensor, "n channels h w"],
    layers: dict[str, Layer],
) -> pa.Table:
    """One row per layer: of each map the sum of its RMSE over the pairs, and in how many it is dead on both sides."""
    wanted = tuple(dict.fromkeys(layers.values()))
    _, one = captured(classifier, clean, wanted)
    _, other = captured(classifier, attacked, wanted)
    rows = []
    for at, (name, layer) in enumerate(layers.items()):
        first, second = one[layer.name], other[layer.name]
        if name == PADDED:
            first, second = padded(first), padded(second)
        squares, moved = _squares(first), map_rmse(first, second)
        rows.append(
            {
                "layer": name,
                "layer_index": at,
                "rmse": moved.sum(0).tolist(),
                "dead": ((squares == 0) & (moved == 0)).sum(0).tolist(),
                "square": float(squares.mean(1).sum()),
                "pairs": len(clean),
            }
        )
    return pa.Table.from_pylist(rows, schema=SUMS)


def averaged(sums: pa.Table, name: str) -> pa.Table:
    """One row per feature map from the sums of all cells.

    `relative` divides by the root mean square of the layer's activations on clean images; NaN if they are all zero. A
    map is dead if it is zero in every image of every pair.
    """
    pieces = []
    for layer in dict.fromkeys(sums["layer"].to_pylist()):
        rows = sums.filter(pa.compute.equal(sums["layer"], layer)).to_pylist()
        pairs = sum(row["pairs"] for row in rows)
        rmse = np.sum([row["rmse"] for row in rows], axis=0) / pairs
        rms = float(np.sqrt(sum(row["square"] for row in rows) / pairs))
        n = len(rmse)
        pieces.append(
            {
                "set": [name] * n,
                "layer": [layer] * n,
                "layer_index": [rows[0]["layer_index"]] * n,
                "channel": list(range(n)),
                "rmse": rmse,
                "relative": rmse / rms if rms else np.full(n, np.nan),
                "layer_rms": [rms] * n,
                "dead": np.sum([row["dead"] for row in rows], axis=0) == pairs,
                "pairs": [pairs] * n,
            }
        )
    return pa.concat_tables([pa.table(piece, schema=MAPS) for piece in pieces])


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Maps at both ends: (layer as shown, channel), the most and the least changed first; ties in the layers' order."""

    most: tuple[tuple[str, int], ...]
    least: tuple[tuple[str, int], ...]


def ranking(maps: pa.Table, top: int) -> Ranking:
    """The `top` maps that change most, and those that change least and are not dead."""
    values, dead = maps["rmse"].to_numpy(), maps["dead"].to_numpy(zero_copy_only=False)
    names = list(zip(maps["layer"].to_pylist(), maps["channel"].to_pylist(), strict=True))
    order, alive = np.argsort(-values, kind="stable"), np.flatnonzero(~dead)
    least = alive[np.argsort(values[alive], kind="stable")]
    return Ranking(most=tuple(names[at] for at in order[:top]), least=tuple(names[at] for at in least[:top]))
