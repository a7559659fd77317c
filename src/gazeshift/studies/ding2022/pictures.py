"""Pictures of the study of Ding et al. 2022: images, their histograms and maps, and feature maps that moved most."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from gazeshift import pictures
from gazeshift.models import Classifier
from gazeshift.records import Attacked, Batch
from gazeshift.runs.store import CellResult
from gazeshift.runs.tables import Rows
from gazeshift.studies.ding2022.feature_maps import PADDED, captured, padded
from gazeshift.studies.ding2022.opened import OpenedSet
from gazeshift.studies.ding2022.rows import histograms
from gazeshift.transforms.roi_pixels import enlarged

PAIRS = 4  # of feature maps, as in the paper's figure 4
TALL = 96
GALLERY = pa.schema(
    [
        *((name, pa.string()) for name in ("set", "image", "kind", "map", "name")),
        ("confidence", pa.float32()),
        ("picture", pa.binary()),
    ]
)


def gallery_cell(run: OpenedSet, most: Sequence[tuple[str, int]], batch: Batch) -> CellResult:
    """Both sides of each image with its histogram, CAM, and the maps that change most over the set."""
    rows = Rows(GALLERY)
    if not batch.ids:
        return CellResult({"gallery": rows.table()})
    pairs = run.pairs(batch)
    for side, images, logits in zip(
        ("clean", "attacked"), (pairs.clean, pairs.images), (pairs.clean_logits, pairs.logits), strict=True
    ):
        cams = run.cam(images)
        for at, own in enumerate(batch.ids):
            keys = {"set": run.name, "image": own, **answer(logits[at], run.classifier)}
            drawn = histogram_picture(histograms(images[at : at + 1])["luminance"])
            add(rows, pictures.photograph(images[at]), kind=side, **keys)
            add(rows, drawn, set=run.name, image=own, kind=f"{side}_histogram")
            add(rows, map_picture(images[at], cams[at]), kind=f"{side}_cam", **keys)
    for kind, name, picture in _features(run, pairs, most):
        add(rows, picture, set=run.name, image=batch.ids[0], kind=kind, map=name)
    return CellResult({"gallery": rows.table()})


def _features(
    run: OpenedSet, pairs: Attacked, most: Sequence[tuple[str, int]]
) -> Iterator[tuple[str, str, Image.Image]]:
    """The maps listed, of the first image, both sides in the same grey scale."""
    layers = {name: run.layers[name] for name, _ in most}
    wanted = tuple(dict.fromkeys(layers.values()))
    both = [captured(run.classifier, images[:1], wanted)[1] for images in (pairs.clean, pairs.images)]
    for name, channel in most:
        pair = [seen[layers[name].name][:, channel : channel + 1] for seen in both]
        pair = [padded(maps) for maps in pair] if name == PADDED else pair
        low, high = min(float(maps.min()) for maps in pair), max(float(maps.max()) for maps in pair)
        for side, maps in zip(("clean", "attacked"), pair, strict=True):
            grey = (maps[0] - low) / ((high - low) or 1)
            yield f"feature_{side}", f"{name}_{channel}", pictures.photograph(grey)


def add(rows: Rows, picture: Image.Image, **keys: Any) -> None:
    """One picture; set, image and kind among the keys."""
    rows.add(1, picture=pictures.encode_webp(picture), **{"map": "", "name": "", "confidence": None} | keys)


def answer(logits: Float[Tensor, " c"], classifier: Classifier) -> dict[str, object]:
    """Top class of one image and its probability."""
    best = logits.softmax(0).max(0)
    return {"name": classifier.class_name(int(best.indices)), "confidence": float(best.values)}


def map_picture(image: Float[Tensor, "channels h w"], raw: Float[Tensor, "hl wl"]) -> Image.Image:
    """A raw signed map over its image, brought to [0, 1] between its own extremes as the paper does."""
    return pictures.overlay(image, enlarged(raw[None], (image.shape[1], image.shape[2]))[0])


def histogram_picture(counts: Sequence[int]) -> Image.Image:
    """A histogram of 256 bins as dark bars on white; the highest bin but the two at the ends fills it."""
    values = np.asarray(counts, dtype=float)
    top = max(float(values[1:-1].max()), 1.0)
    heights = np.clip(np.round(values / top * TALL), 0, TALL)
    levels = np.arange(TALL)[::-1, None] < heights[None, :]
    return Image.fromarray(np.where(levels, 40, 255).astype(np.uint8)).convert("RGB")
