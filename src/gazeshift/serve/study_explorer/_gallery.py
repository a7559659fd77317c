"""Pictures and maps that a study kept of a few images."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gazeshift.serve.explorer.serialize import map_json
from gazeshift.serve.study_explorer.tables import TableStore

Kept = dict[str, dict[str, Any]]
KEPT = "SELECT * FROM study_gallery WHERE image = $image AND attack IN ('', $attack)"
HAS_ONE = "kind = 'clean' AND octet_length(picture) > 0"
PICTURE = f"SELECT picture FROM study_gallery WHERE image = $image AND {HAS_ONE}"  # noqa: S608
PICTURED = f"SELECT DISTINCT image FROM study_gallery WHERE {HAS_ONE}"  # noqa: S608


def kept(store: TableStore, name: str, attack: str, layers: Sequence[str]) -> Kept:
    """Kind of picture to its file and its maps by target, CAM and layer; only kinds whose picture was kept.

    Args:
        store: of a study with a gallery.
        name: of the image.
        attack: whose pictures; empty: the clean image alone.
        layers: of the study, in order.
    """
    found: Kept = {}
    rows = store.ask(KEPT, image=name, attack=attack)
    for row in (row for row in rows if row["picture"]):
        found[row["kind"]] = {"picture": data_url(row["picture"]), "answers": [], "verdict": None, "maps": {}}
    for row in (row for row in rows if not row["picture"] and row["kind"] in found and row["layer"] in layers):
        drawn = found[row["kind"]]["maps"].setdefault(row["target"], {})
        drawn.setdefault(row["cam"], [None] * len(layers))[layers.index(row["layer"])] = _map(row)
    return found


def pictured(store: TableStore) -> list[str]:
    """Names of the images whose clean picture was kept."""
    return [row["image"] for row in store.ask(PICTURED)]


def clean_picture(store: TableStore, name: str) -> bytes | None:
    """The file of the clean image's picture, or None if it was not kept."""
    rows = store.ask(PICTURE, image=name)
    return bytes(rows[0]["picture"]) if rows else None


def data_url(webp: bytes) -> str:
    """A WebP as a data URL."""
    return "data:image/webp;base64," + base64.b64encode(webp).decode()


def _map(row: Mapping[str, Any]) -> dict[str, Any]:
    return map_json(np.asarray(row["map"], dtype=np.float32).reshape(row["height"], row["width"]))
