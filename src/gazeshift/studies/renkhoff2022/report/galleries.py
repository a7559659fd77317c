"""Figure 3 of Renkhoff et al. 2022: the maps of every layer, with the layers framed that drift most."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image

from gazeshift.pictures import encode_webp, overlay
from gazeshift.report.document import Gallery, Picture, number
from gazeshift.report.similarity import ATTACKED, COSINE, NOISE, PREDICTED, SimilarityNumbers
from gazeshift.report.study import Study
from gazeshift.report.tables_read import KeptMap, kept_maps

SIDE, NARROW, FRAMED = 112, 60, 3  # pixels on the screen: 13 layers and the image fit side by side
NAMES = {"clean": "Clean", "attacked": "Adversarial", "noise": "Gaussian noise"}
FRAMES = {"attacked": "attacked", "noise": "ok"}


def gallery(study: Study, found: SimilarityNumbers) -> Gallery:
    """Each example three times: clean, adversarial and with noise, at the strength nearest to 1."""
    rows = [row for row in kept_maps(study.table("gallery")) if row.kind in NAMES]
    shown = _chosen(rows, found)[: found.manifest.settings["gallery"]]
    return Gallery(
        title="Grad-CAM at every layer",
        rows=[line for image in shown for line in _lines(image, rows, found)],
        item="Fig 3",
        about=f"Each image's own class. Framed: the {FRAMED} layers whose map is least like the clean one, red under "
        "attack and green under noise. Below each map: its layer and its similarity to the clean one.",
        paper="maps of VGG-16; red and green frames mark layers that drift.",
        name="layer-maps",
        side=SIDE if len(found.layers) < 8 else NARROW,
    )


def _chosen(rows: Sequence[KeptMap], found: SimilarityNumbers) -> list[str]:
    """Images of the gallery, those of seeds that were classified right first."""
    right = {image for image, main in zip(found.cube.images, found.main, strict=True) if main}
    images = dict.fromkeys(row.image for row in rows)
    return sorted(images, key=lambda image: image not in right)


def _lines(image: str, rows: Sequence[KeptMap], found: SimilarityNumbers) -> list[tuple[str, list[Picture | None]]]:
    at = found.cube.images.index(image)
    lines = []
    for kind, name in NAMES.items():
        own = [row for row in rows if row.image == image and row.kind == kind]
        photo = next(row.picture for row in own if row.picture)
        seen = _small(Image.open(io.BytesIO(photo)).convert("RGB"))
        maps = {row.layer: row for row in own if row.layer}
        lines.append((f"{name}: {image}", [_photo(seen), *_maps(seen, maps, found, kind, at)]))
    return lines


def _maps(
    seen: Image.Image, maps: Mapping[str, KeptMap], found: SimilarityNumbers, kind: str, at: int
) -> list[Picture | None]:
    alike = None if kind == "clean" else _alike(found, kind, at)
    drifting = set() if alike is None else set(np.argsort(np.where(np.isfinite(alike), alike, 2))[:FRAMED].tolist())
    pixels = np.asarray(seen).transpose(2, 0, 1) / 255
    pictures: list[Picture | None] = []
    for place, (name, label) in enumerate(zip(found.cube.layers, found.layers, strict=True)):
        row = maps.get(name)
        if row is None:
            pictures.append(None)
            continue
        drawn = overlay(pixels, row.map.reshape(row.height or 0, row.width or 0))
        caption = label if alike is None else f"{label}: {number(alike[place])}"
        pictures.append(
            Picture(webp=encode_webp(drawn), caption=caption, frame=FRAMES[kind] if place in drifting else "")
        )
    return pictures


def _alike(found: SimilarityNumbers, kind: str, at: int) -> Float[np.ndarray, " l"]:
    values: Float[np.ndarray, " l"] = found.cube.values[COSINE, 0, found.own, _place(kind), PREDICTED, 0, :, at]
    return values


def _place(kind: str) -> int:
    return ATTACKED if kind == "attacked" else NOISE


def _small(picture: Image.Image) -> Image.Image:
    scale = 1.5 * SIDE / max(picture.size)  # finer than it is shown, for dense screens
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)


def _photo(picture: Image.Image) -> Picture:
    return Picture(webp=encode_webp(picture), caption="image")
