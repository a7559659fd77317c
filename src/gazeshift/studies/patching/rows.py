"""The rows of one cell of the patching study: fooled images, and what each patch of each layer does to the answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int
from scipy.stats import spearmanr
from torch import Tensor

from gazeshift.model_edits.patch_maps import PatchMaps
from gazeshift.models import Classifier, trace
from gazeshift.pipeline import compare, look
from gazeshift.precision import exact
from gazeshift.records import Attacked, Layer
from gazeshift.runs.tables import Rows
from gazeshift.seeds import generator_for

RANKINGS = ("effect", "rmse", "random")
DIRECTIONS = ("restore", "flip")
EXACT = 1e-3  # of the largest logit: two passes that differ by no more gave the same answer
PATCHES = pa.schema(
    [
        *((name, pa.string()) for name in ("image", "layer", "direction", "ranking")),
        *((name, pa.int32()) for name in ("layer_index", "k", "of")),
        ("margin", pa.float32()),
        ("turned", pa.bool_()),
    ]
)
LAYERS = pa.schema(
    [
        *((name, pa.string()) for name in ("image", "layer")),
        *((name, pa.int32()) for name in ("layer_index", "channels", "height", "width")),
        ("exact", pa.bool_()),
        *((name, pa.float32()) for name in ("cosine", "cosine_reference", "agreement")),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Sides:
    """A layer's activations and the margin's gradients of one kind of image, clean or attacked.

    Args:
        maps: (n, k, h, w).
        gradient: of the right class's logit minus that of the attack's class.
    """

    maps: Float[Tensor, "n k h w"]
    gradient: Float[Tensor, "n k h w"]


@dataclass(frozen=True, kw_only=True)
class LayerPair:
    """A layer, and both sides of it."""

    layer: Layer
    clean: Sides
    attacked: Sides

    @property
    def sizes(self) -> dict[str, int]:
        """Of its maps."""
        return dict(zip(("channels", "height", "width"), self.clean.maps.shape[1:], strict=True))


@dataclass(frozen=True, kw_only=True)
class Patcher:
    """Everything that patches of one cell need.

    Args:
        classifier: whose activations they are.
        layers: to patch, one at a time.
        unit: ``channels`` or ``positions``.
        factor: between numbers of replaced units.
        batch_size: images side by side.
        seed: of the study.
    """

    classifier: Classifier
    layers: tuple[Layer, ...]
    unit: str
    factor: int
    batch_size: int
    seed: int

    def tables(self, ids: Sequence[str], found: Attacked) -> dict[str, pa.Table]:
        """Rows of all images, which the attack must have fooled; see `PATCHES` and `LAYERS`."""
        patches, layers = Rows(PATCHES), Rows(LAYERS)
        if ids:
            right, wrong = found.labels, found.logits.argmax(1)
            clean, attacked = (self._sides(images, right, wrong) for images in (found.clean, found.images))
            similar = self._similar(found)
            for at, layer in enumerate(self.layers):
                pair = LayerPair(layer=layer, clean=clean[layer.name], attacked=attacked[layer.name])
                place = {"image": list(ids), "layer": layer.name, "layer_index": at}
                whole = self._add_patches(patches, ids, found, pair, place)
                _add_layer(layers, found, self._ranked(pair), whole, **place, **pair.sizes, **similar[layer.name])
        return {"rows": patches.table(), "layers": layers.table()}

    def _sides(self, images: Tensor, right: Tensor, wrong: Tensor) -> Mapping[str, Sides]:
        """Activations of every layer, and gradients of the margin between two classes: two passes."""
        passes = [
            trace(
                self.classifier,
                images,
                self.layers,
                lambda layer, maps, gradient: (maps.clone(), gradient.clone()),  # noqa: ARG005
                classes=classes,
            )[2]
            for classes in (right, wrong)
        ]
        return {
            name: Sides(maps=maps, gradient=gradient - passes[1][name][1])
            for name, (maps, gradient) in passes[0].items()
        }

    def _similar(self, found: Attacked) -> Mapping[str, Mapping[str, Tensor]]:
        """Cosine of Grad-CAM to the clean image's, at each layer: of the image's own class, and of the right one."""
        names = [layer.name for layer in self.layers]
        clean = look(self.classifier, found.clean, layers=names, target=found.labels)
        own, reference = (
            compare(clean, look(self.classifier, found.images, layers=names, target=target), measures="cosine")
            for target in (None, found.labels)
        )
        return {
            name: {
                "cosine": own.values[name, "grad_cam"]["cosine"],
                "cosine_reference": reference.values[name, "grad_cam"]["cosine"],
            }
            for name in names
        }

    def _add_patches(
        self, rows: Rows, ids: Sequence[str], found: Attacked, pair: LayerPair, place: Mapping[str, object]
    ) -> Float[Tensor, "n c"]:
        """Rows of one layer; gives the logits of the attacked images with all of its clean activations."""
        right, wrong = found.labels[:, None], found.logits.argmax(1, keepdim=True)
        first = None
        for direction in DIRECTIONS:
            taker, giver = (pair.attacked, pair.clean) if direction == "restore" else (pair.clean, pair.attacked)
            images = found.images if direction == "restore" else found.clean
            orders = self._orders(ids, pair.layer.name, direction, taker, giver)
            units = orders["effect"].shape[1]
            answers = partial(self._answers, pair.layer, images, giver.maps)
            whole = answers(orders["effect"], units)  # the same for every ranking
            first = whole if first is None else first
            for ranking, order in orders.items():
                for k in steps_to(units, self.factor):
                    logits = whole if k == units else answers(order, k)
                    is_right = logits.argmax(1) == found.labels
                    rows.add(
                        len(ids),
                        **place,
                        direction=direction,
                        ranking=ranking,
                        k=k,
                        of=units,
                        margin=(logits.gather(1, right) - logits.gather(1, wrong))[:, 0],
                        turned=is_right if direction == "restore" else ~is_right,
                    )
        return first  # type: ignore[return-value]  # there are directions

    def _orders(
        self, ids: Sequence[str], layer: str, direction: str, taker: Sides, giver: Sides
    ) -> dict[str, Int[Tensor, "n u"]]:
        """Place of every unit in each ranking; those that come first are replaced first."""
        toward = 1 if direction == "restore" else -1
        effect, rmse = self._effect(giver, taker)
        draws = [generator_for(self.seed, "random", layer, direction, name) for name in ids]
        drawn = torch.stack([torch.rand(rmse.shape[1], generator=draw) for draw in draws])
        values = {"effect": toward * effect, "rmse": rmse, "random": drawn}
        return {name: _places(own.cpu()) for name, own in values.items()}

    def _effect(self, giver: Sides, taker: Sides) -> tuple[Float[Tensor, "n u"], Float[Tensor, "n u"]]:
        """First-order change of the margin by each unit, and its root mean square change."""
        change, over = exact(giver.maps - taker.maps), (2, 3) if self.unit == "channels" else (1,)
        effect, square = (change * exact(taker.gradient)).sum(over), change.square().mean(over)
        return effect.flatten(1), square.sqrt().flatten(1)

    def _ranked(self, pair: LayerPair) -> list[float]:
        """Rank correlation of effect and RMSE over the units of each image; NaN where one side is constant."""
        effect, rmse = self._effect(pair.clean, pair.attacked)
        return [_spearman(*own) for own in zip(effect.cpu().numpy(), rmse.cpu().numpy(), strict=True)]

    @torch.no_grad()
    def _answers(
        self, layer: Layer, images: Tensor, values: Tensor, order: Int[Tensor, "n u"], k: int
    ) -> Float[Tensor, "n c"]:
        """Logits with the first k units of each image replaced."""
        shape = (len(images), -1, 1, 1) if self.unit == "channels" else (len(images), 1, *values.shape[2:])
        mask = (order < k).reshape(shape).to(values.device)
        found = []
        for piece in torch.split(torch.arange(len(images), device=values.device), self.batch_size):
            with PatchMaps()(self.classifier, {layer: (mask[piece], values[piece])}) as patched:
                found.append(patched(images[piece]))
        return torch.cat(found).float()


def _add_layer(
    rows: Rows, found: Attacked, agreement: Sequence[float], whole: Float[Tensor, "n c"], **columns: Any
) -> None:
    """One row per image; `whole` are the logits with all of the layer's clean activations."""
    apart = (whole - found.clean_logits).abs().amax(1)
    exact = apart <= EXACT * found.clean_logits.abs().amax(1)
    rows.add(len(whole), agreement=list(agreement), exact=exact, **columns)


def steps_to(units: int, factor: int) -> list[int]:
    """1, and so on by the factor, and all.

    >>> steps_to(24, 2), steps_to(1, 2)
    ([1, 2, 4, 8, 16, 24], [1])
    """
    found = [1]
    while found[-1] * factor < units:
        found.append(found[-1] * factor)
    return found if units == 1 else [*found, units]


def _places(values: Float[Tensor, "n u"]) -> Int[Tensor, "n u"]:
    """Place of each value when the largest comes first; ties in their order."""
    return values.argsort(stable=True, dim=1, descending=True).argsort(dim=1)


def _spearman(first: Float[np.ndarray, " u"], second: Float[np.ndarray, " u"]) -> float:
    constant = first.min() == first.max() or second.min() == second.max()
    return float("nan") if constant else float(spearmanr(first, second).statistic)
