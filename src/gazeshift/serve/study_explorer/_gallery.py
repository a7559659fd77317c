"""Pictures and maps that a study kept of a few images."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gazeshift.serve.explorer.serialize import EightBitMap, map_json
from gazeshift.serve.study_explorer.tables import KeptSide, TableStore

KEPT = """
    SELECT kind, target, layer, cam, height, width, map, picture FROM study_gallery
    WHERE image = $image AND attack IN ('', $attack)
"""
HAS_ONE = "kind = 'clean' AND octet_length(picture) > 0"
PICTURE = f"SELECT picture FROM study_gallery WHERE image = $image AND {HAS_ONE}"  # noqa: S608
PICTURED = f"SELECT DISTINCT image FROM study_gallery WHERE {HAS_ONE}"  # noqa: S608


@dataclass(frozen=True, kw_only=True)
class GalleryRow:
    """A row of a gallery: a picture, or a map of it."""

    kind: str
    target: str
    layer: str
    cam: str
    height: int | None
    width: int | None
    map: Sequence[float]
    picture: bytes | None


def kept(store: TableStore, name: str, attack: str, layers: Sequence[str]) -> dict[str, KeptSide]:
    """Kind of picture to its file and its maps; only kinds whose picture was kept.

    Args:
        store: of a study with a gallery.
        name: of the image.
        attack: whose pictures; empty: the clean image alone.
        layers: of the study, in order.
    """
    rows = store.read(GalleryRow, KEPT, image=name, attack=attack)
    found = {row.kind: KeptSide(picture=data_url(row.picture)) for row in rows if row.picture}
    for row in (row for row in rows if not row.picture and row.kind in found and row.layer in layers):
        drawn = found[row.kind].maps.setdefault(row.target, {})
        drawn.setdefault(row.cam, [None] * len(layers))[layers.index(row.layer)] = _map(row)
    return found


def pictured(store: TableStore) -> list[str]:
    """Names of the images whose clean picture was kept."""
    return [str(row["image"]) for row in store.ask(PICTURED)]


def clean_picture(store: TableStore, name: str) -> bytes | None:
    """The file of the clean image's picture, or None if it was not kept."""
    for row in store.ask(PICTURE, image=name):
        if isinstance(row["picture"], bytes):
            return row["picture"]
    return None


def data_url(webp: bytes) -> str:
    """A WebP as a data URL."""
    return "data:image/webp;base64," + base64.b64encode(webp).decode()


def _map(row: GalleryRow) -> EightBitMap:
    return map_json(np.asarray(row.map, dtype=np.float32).reshape(row.height or 0, row.width or 0))
