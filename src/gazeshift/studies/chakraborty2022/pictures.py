"""Pictures of the study of Chakraborty et al. 2022: examples, maps of the last layer, and maps of all layers."""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from gazeshift import pictures
from gazeshift.models import Classifier, select
from gazeshift.pipeline import look
from gazeshift.records import Batch, Evidence
from gazeshift.runs.examples import fitted
from gazeshift.runs.store import CellResult
from gazeshift.runs.tables import Rows
from gazeshift.studies.chakraborty2022.rows import Attacks, HeadedModel, direction, moved, notes_of

GALLERY = pa.schema(
    [
        *((name, pa.string()) for name in ("condition", "image", "kind", "model", "access")),
        ("epsilon", pa.float64()),
        *((name, pa.string()) for name in ("label", "predicted")),
        ("confidence", pa.float32()),
        *((name, pa.string()) for name in ("top_left", "bottom_right")),
        ("layers", pa.int16()),
        ("picture", pa.binary()),
    ]
)
TILE, GAP, BLANK = 48, 2, 138  # pixels, and the grey of a map without a positive value


def choose(rows: pa.Table, condition: str, source: str, count: int) -> list[str]:
    """Ids of the test images to show: those that the weakest white-box attack on the source fools come first."""
    wanted = {"condition": [condition], "model": [source], "access": ["clean", "white_box"], "target": ["predicted"]}
    rows = rows.filter(reduce(and_, (pc.field(name).isin(values) for name, values in wanted.items())))
    is_fooled = pc.and_(rows["clean_correct"], pc.invert(rows["correct"]))
    rows = rows.append_column("fooled_at", pc.if_else(is_fooled, rows["epsilon"], math.inf))
    found = rows.group_by("image").aggregate([("fooled_at", "min"), ("clean_correct", "any")])
    order = [("fooled_at_min", "ascending"), ("clean_correct_any", "descending"), ("image", "ascending")]
    ids: list[str] = found.sort_by(order)["image"].to_pylist()[:count]
    return ids


@dataclass(frozen=True)
class GalleryPictures:
    """What every cell of the gallery needs.

    Args:
        attacks: of the condition that is shown.
    """

    attacks: Attacks

    def fill(self, batch: Batch) -> CellResult:
        """Tables and notes of one test image, read for the source model."""
        rows, models = Rows(GALLERY), self.attacks.models
        with ExitStack() as stack:
            passes = {name: stack.enter_context(seen.classifier.counting()) for name, seen in models.items()}
            if batch.ids:
                self._fill(batch, rows)
        by_model = {name: (own.forwards, own.backwards) for name, own in passes.items()}
        return CellResult({"gallery": rows.table()}, notes_of(passes, by_model))

    def _fill(self, batch: Batch, rows: Rows) -> None:
        attacks, images, labels = self.attacks, batch.images, batch.labels
        assert labels is not None  # noqa: S101  # a collection has labels
        step = direction(attacks.models[attacks.source].classifier, images, labels)
        shared = {"condition": attacks.condition, "image": batch.ids[0]}
        for name, seen in attacks.models.items():
            label = seen.classifier.class_name(int(labels[0]))
            keys = {**shared, "model": name, "label": label}
            own = fitted(images, seen.classifier.size, "resize")
            towards = step if name == attacks.source else direction(seen.classifier, own, labels)
            for level in (0.0, *attacks.settings.levels):
                changed = moved(images, step, level * attacks.unit)
                self._last(rows, seen, fitted(changed, (own.shape[2], own.shape[3]), "resize"), epsilon=level, **keys)
                self._all(rows, seen, moved(own, towards, level * attacks.unit), epsilon=level, **keys)
            if name == attacks.source:
                for level in attacks.settings.levels:
                    change = moved(images, step, level * attacks.unit) - images
                    noise = pictures.encode_webp(pictures.perturbation_picture(change[0]))
                    add(rows, noise, kind="noise", access="black_box", epsilon=level, **keys)

    def _last(self, rows: Rows, seen: HeadedModel, images: Tensor, **keys: Any) -> None:
        """The image, its map and both together, for the black-box attack."""
        evidence = seen.look(images)
        found, said = evidence.maps(seen.last.name)[0], {**keys, **answer(seen.classifier, evidence)}
        for kind, picture in (
            ("image", pictures.photograph(images[0])),
            ("map", Image.fromarray(tile(found, aspect(images, 2 * TILE)))),
            ("overlay", pictures.overlay(images[0], found)),
        ):
            add(rows, pictures.encode_webp(picture), kind=kind, access="black_box", **said)

    def _all(self, rows: Rows, seen: HeadedModel, images: Tensor, **keys: Any) -> None:
        """Maps of every layer in one picture, for the white-box attack."""
        settings, size = self.attacks.settings, (images.shape[2], images.shape[3])
        known = seen.classifier.layers(size)
        end = next(at for at, layer in enumerate(known, 1) if layer.name == seen.last.name)  # what follows is unused
        names = [layer.name for layer in select(known[:end], settings.layers, seen.classifier.name)]
        evidence = look(seen.classifier, images, layers=names)
        order = names[::-1] if settings.layer_order == "last_first" else names
        sheet = montage([tile(evidence.maps(name)[0], aspect(images, TILE)) for name in order])
        said = {**keys, **answer(seen.classifier, evidence), "layers": len(names)}
        ends = {"top_left": shown(order[0]), "bottom_right": shown(order[-1])}
        add(rows, pictures.encode_webp(sheet), kind="layers", access="white_box", **said, **ends)


def add(rows: Rows, picture: bytes, **keys: Any) -> None:
    """One picture; what it has no word for is empty."""
    empty = {"predicted": "", "confidence": None, "top_left": "", "bottom_right": "", "layers": None}
    rows.add(1, picture=picture, **empty | keys)


def answer(classifier: Classifier, evidence: Evidence) -> dict[str, object]:
    """What the classifier says of the only image of a batch, and how sure it is."""
    index = int(evidence.predicted[0])
    return {"predicted": classifier.class_name(index), "confidence": float(evidence.logits.softmax(1)[0, index])}


def shown(layer: str) -> str:
    """A layer's name in the network as it was before it got its head."""
    return layer.removeprefix("body.")


def aspect(images: Float[Tensor, "n channels h w"], side: int) -> tuple[int, int]:
    """Height and width of a picture in the images' aspect, `side` pixels along its longer edge."""
    height, width = images.shape[2:]
    return max(1, round(side * height / max(height, width))), max(1, round(side * width / max(height, width)))


def tile(found: Tensor, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """A map alone, rectified and coloured, of this height and width; grey throughout if it has no positive value."""
    defined = pictures.rectified(found)
    if defined is None:
        return np.full((*size, 3), BLANK, dtype=np.uint8)
    return pictures.colour(pictures.upsample(defined, *size))


def montage(tiles: Sequence[UInt8[np.ndarray, "h w 3"]]) -> Image.Image:
    """Tiles of one size in rows from the top left, as many rows as columns or one less, on white."""
    columns, (height, width, _) = math.ceil(math.sqrt(len(tiles))), tiles[0].shape
    rows, down, right = math.ceil(len(tiles) / columns), height + GAP, width + GAP
    sheet = np.full((rows * down - GAP, columns * right - GAP, 3), 255, dtype=np.uint8)
    for at, one in enumerate(tiles):
        top, left = at // columns * down, at % columns * right
        sheet[top : top + height, left : left + width] = one
    return Image.fromarray(sheet)
