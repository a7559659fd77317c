"""The gallery as one small block of bytes: pictures, and maps rectified and rounded to 64 shades, for eyes only."""

import base64
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, UInt8
from PIL import Image

from gazeshift.errors import DataError
from gazeshift.pictures import encode_webp, rectified
from gazeshift.report.cube import Cube, attack_codes, attack_place
from gazeshift.report.embed import packed
from gazeshift.report.tables_read import ReportData
from gazeshift.studies.deviation.report.series import half_up, key, thousandths
from gazeshift.studies.deviation.report.tables import two

SHADES = 64
_FINEST, _COARSER = 112, (56, 40, 28, 14)
_LARGEST_PICTURE = 288
_BLANK, _BROKEN, _SHOWN, _FRAMED = -1, -2, 6, 3


@dataclass(frozen=True, kw_only=True)
class PackedGallery:
    """Pictures and maps for the page.

    Args:
        images, packed: as ``images`` and ``maps`` of `gazeshift.report.document.MapViewer`.
        side: larger maps were averaged down to this side.
        reduced: whether any were.
        left_out: images for which there was no room.
    """

    images: tuple[Mapping[str, Any], ...]
    packed: str
    side: int
    reduced: bool
    left_out: int = 0


@dataclass
class _Store:
    """Maps one after another, equal ones once."""

    index: dict[str, list[int]] = field(default_factory=dict)
    block: bytearray = field(default_factory=bytearray)
    known: dict[bytes, int] = field(default_factory=dict)

    def add(self, name: str, values: UInt8[np.ndarray, "h w"] | int) -> None:
        """Keep a map, or the reason why there is none, under a name."""
        if isinstance(values, int):
            self.index[name] = [0, 0, values]
            return
        flat = values.tobytes()
        offset = self.known.setdefault(flat, len(self.block))
        if offset == len(self.block):
            self.block += flat
        self.index[name] = [*values.shape, offset]


def gallery(data: ReportData, cube: Cube, room: int) -> PackedGallery:
    """All pictures and maps in at most `room` bytes: first the maps become coarser, and at last the images fewer."""
    rows = _rows(data.gallery)
    names = _names(rows, data.manifest.get("settings"), cube)
    maps = [row for row in rows if row["layer"]]
    largest = max((max(row["height"], row["width"]) for row in maps), default=0)
    captions = _captions(data, names, cube)
    images = {name: _image(name, rows, captions, cube) for name in names}
    for side, kept in _sizes(names, largest):
        block = _block(maps, kept, cube, side)
        if len(block) + sum(len(picture) for name in kept for picture in images[name]["pictures"].values()) <= room:
            break
    return PackedGallery(
        images=tuple(images[name] for name in kept),
        packed=block,
        side=side,
        reduced=largest > side,
        left_out=len(names) - len(kept),
    )


def _rows(table: Any) -> list[dict[str, Any]]:
    """The rows with their maps as arrays; lists of Python numbers would take a hundred times the room."""
    rows: list[dict[str, Any]] = table.drop_columns(["map"]).to_pylist()
    maps = table["map"].combine_chunks()
    starts = maps.offsets.to_numpy()
    values = maps.values.to_numpy(zero_copy_only=False)
    for place, row in enumerate(rows):
        row["map"] = values[starts[place] : starts[place + 1]]
    return rows


def _names(rows: list[dict[str, Any]], settings: Any, cube: Cube) -> tuple[str, ...]:
    """Images to show: fooled ones first, as many as the study's settings ask for."""
    names = dict.fromkeys(row["image"] for row in rows)
    fooled = {cube.images[place] for place in np.flatnonzero(cube.fooled.any(axis=0))}
    asked = settings.get("gallery") if isinstance(settings, Mapping) else None
    return tuple(sorted(names, key=lambda name: name not in fooled))[: asked if isinstance(asked, int) else _SHOWN]


def _sizes(names: tuple[str, ...], largest: int) -> Iterator[tuple[int, tuple[str, ...]]]:
    """What to try until it fits: all images with coarser and coarser maps, then fewer images."""
    finest = min(largest, _FINEST)
    sides = [finest, *(side for side in _COARSER if side < finest)]
    yield from ((side, names) for side in sides)
    yield from ((sides[-1], names[:count]) for count in range(len(names) - 1, 0, -1))


def quantised(values: Float[np.ndarray, "h w"], side: int) -> UInt8[np.ndarray, "h2 w2"] | int:
    """The rectified map in 64 shades, averaged over blocks until no side exceeds `side`; or why it is undefined.

    Neighbouring shades differ by less than eyes notice, and take a quarter less room than 256.
    """
    if not np.isfinite(values).all():
        return _BROKEN
    positive = rectified(_coarser(np.maximum(values, 0), side))
    return _BLANK if positive is None else np.round(positive * (SHADES - 1)).astype(np.uint8)


def _coarser(values: Float[np.ndarray, "h w"], side: int) -> Float[np.ndarray, "h2 w2"]:
    """Mean over square blocks; a remainder at the edge is averaged over what is there."""
    step = -(-max(values.shape) // side)
    if step == 1:
        return values
    starts = [np.arange(0, size, step) for size in values.shape]
    sums = np.add.reduceat(np.add.reduceat(values, starts[0], axis=0), starts[1], axis=1)
    counts = [np.diff([*start, size]) for start, size in zip(starts, values.shape, strict=True)]
    return np.asarray(sums / np.outer(*counts))


def _block(maps: Iterable[Mapping[str, Any]], kept: tuple[str, ...], cube: Cube, side: int) -> str:
    store, images = _Store(), {name: place for place, name in enumerate(kept)}
    for row in maps:
        if row["image"] in images:
            store.add(key(images[row["image"]], *_place(row, cube)), quantised(_values(row), side))
    index = json.dumps(store.index, separators=(",", ":")).encode()
    block = len(index).to_bytes(4, "little") + index + bytes(store.block)
    return packed(block)


def _values(row: Mapping[str, Any]) -> Float[np.ndarray, "h w"]:
    values: Float[np.ndarray, " hw"] = row["map"].astype(np.float64)
    if values.size != row["height"] * row["width"]:
        raise DataError(
            f"gallery.parquet has a map of {row['height']} x {row['width']} with {values.size} values "
            f"({row['image']}, {row['layer']}). Run the study again into a new folder."
        )
    return values.reshape(row["height"], row["width"])


def _place(row: Mapping[str, Any], cube: Cube) -> tuple[Any, ...]:
    """Kind, attack, target, CAM and layer of a map, as places on the axes; -1 where it has none."""
    axes = {"target": cube.targets, "cam": cube.cams, "layer": cube.layers}
    rest = (names.index(row[axis]) if row[axis] in names else -1 for axis, names in axes.items())
    return row["kind"], attack_place(cube.attacks, row["attack"]), *rest


def _image(name: str, rows: list[dict[str, Any]], captions: Mapping[str, Any], cube: Cube) -> dict[str, Any]:
    """What the page shows of one image beside its maps."""
    chosen = {
        key(row["kind"], attack_place(cube.attacks, row["attack"])): row["picture"]
        for row in rows
        if row["image"] == name and row["picture"]
    }
    try:
        pictures = {spot: _source(picture) for spot, picture in chosen.items()}
    except (OSError, ValueError) as cause:
        raise DataError(f"a picture of {name} in gallery.parquet cannot be opened. Run the study again.") from cause
    places = {spot: key(name, spot) for spot in pictures}
    return {
        "id": name,
        "pictures": pictures,
        "captions": {spot: _caption(captions[place]) for spot, place in places.items() if place in captions},
        "stayed": [spot for spot, place in places.items() if captions.get(place, {}).get("switched") is False],
        "similar": _similar(name, cube),
    }


def _caption(words: Mapping[str, Any]) -> str:
    """Class and confidence of a picture, or size of a perturbation."""
    if "linf" in words:
        size = words["linf"]
        return f"amplified {half_up(0.5 / size)} ×, L∞ {float(f'{size * 255:.2g}'):g}/255" if size else "no change"
    sure = "" if words["confidence"] is None else f", {half_up(100 * words['confidence'])} %"
    switched = ", switched" if words.get("switched") else ""
    return f"{words['name']}{sure}{switched}{', not its label' if words.get('correct') is False else ''}"


def _source(picture: bytes) -> str:
    """A picture as the page holds it; larger ones than the page shows are made smaller."""
    opened = Image.open(io.BytesIO(picture), formats=("WEBP", "PNG", "JPEG"))
    kind = str(opened.format).lower()
    if max(opened.size) > _LARGEST_PICTURE:
        opened.thumbnail((_LARGEST_PICTURE, _LARGEST_PICTURE))
        picture, kind = encode_webp(opened.convert("RGB")), "webp"
    return f"data:image/{kind};base64," + base64.b64encode(picture).decode()


def _captions(data: ReportData, names: tuple[str, ...], cube: Cube) -> dict[str, Any]:
    """Class, confidence and size at strength 1, by image, kind and attack."""
    made: dict[str, Any] = {}
    shown = data.images.filter(pc.is_in(data.images["image"], pa.array(names, pa.string())))
    for row, attack in zip(shown.to_pylist(), attack_codes(shown, cube.attacks), strict=True):
        clean = {"name": row["clean_name"], "confidence": row["clean_confidence"], "correct": row["clean_correct"]}
        made.setdefault(key(row["image"], "clean", -1), clean)
        if row["strength"] == 1:
            changed = {"name": row["changed_name"], "confidence": row["changed_confidence"]}
            made[key(row["image"], row["kind"], attack)] = changed | {"switched": row["switched"]}
        if row["strength"] == 1 and row["kind"] == "attacked":
            made[key(row["image"], "perturbation", attack)] = {"linf": row["linf"]}
    return made


def _similar(name: str, cube: Cube) -> dict[str, Any]:
    """Similarity to the clean maps at strength 1, by attack, target and CAM."""
    if name not in cube.images or 1 not in cube.strengths:
        return {}
    values = cube.cosine[:, cube.strengths.index(1), :, :, :, :, cube.images.index(name)]
    places = product(*(range(values.shape[axis]) for axis in (0, 2, 3)))
    return {key(a, t, c): _layers(*map(thousandths, values[a, :, t, c])) for a, t, c in places}


def _layers(attacked: Sequence[int | None], noise: Sequence[int | None]) -> dict[str, Any]:
    """The texts of every layer, and the layers to frame: those that moved most beyond noise, or without it at all."""
    pairs = list(zip(attacked, noise, strict=True))
    gaps = [None if ours is None or theirs is None else ours - theirs for ours, theirs in pairs]
    beyond = [None if ours is None else ours - (1000 if theirs is None else theirs) for ours, theirs in pairs]
    moved = sorted((gap, place) for place, gap in enumerate(beyond) if gap is not None and gap < 0)
    texts = {"attacked": attacked, "noise": noise, "gap": gaps}
    return {
        **{name: [two(value) for value in values] for name, values in texts.items()},
        "framed": [p for _, p in moved[:_FRAMED]],
    }
