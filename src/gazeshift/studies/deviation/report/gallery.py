"""The gallery as one small block of bytes: pictures, and maps rectified and rounded to 64 shades, for eyes only."""

import base64
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, UInt8
from PIL import Image

from gazeshift.errors import DataError
from gazeshift.pictures import encode_webp, rectified
from gazeshift.report.cube import Cube, attack_codes, attack_place
from gazeshift.report.document import LayerTexts, ViewedImage
from gazeshift.report.embed import packed
from gazeshift.report.measure_scale import MeasureScale
from gazeshift.report.tables_read import KeptMap, ReportData, kept_maps
from gazeshift.studies.deviation.report.series import Thousandths, half_up, key, thousandths
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

    images: tuple[ViewedImage, ...]
    packed: str
    side: int
    reduced: bool
    left_out: int = 0


@dataclass(frozen=True, kw_only=True)
class PictureCaption:
    """What is said of a picture.

    Args:
        name: of the class; empty for a perturbation.
        confidence: of the class, or None.
        correct: whether a clean image is classified as labelled; None for others.
        switched: whether the class differs from that of the clean image; None for clean ones and perturbations.
        size: largest change, of a perturbation alone.
    """

    name: str = ""
    confidence: float | None = None
    correct: bool | None = None
    switched: bool | None = None
    size: float | None = None

    def __str__(self) -> str:
        """Class and confidence of a picture, or size of a perturbation."""
        if self.size is not None:
            amplified = f"amplified {half_up(0.5 / self.size)} ×, L∞ " if self.size else "no change"
            return amplified + (f"{float(f'{self.size * 255:.2g}'):g}/255" if self.size else "")
        sure = "" if self.confidence is None else f", {half_up(100 * self.confidence)} %"
        switched = ", switched" if self.switched else ""
        return f"{self.name}{sure}{switched}{', not its label' if self.correct is False else ''}"


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
    rows = kept_maps(data.gallery)
    names = _names(rows, data.manifest.settings.get("gallery"), cube)
    maps = [row for row in rows if row.layer]
    largest = max((max(row.height or 0, row.width or 0) for row in maps), default=0)
    captions = _captions(data, names, cube)
    images = {name: _image(name, rows, captions, cube) for name in names}
    for side, kept in _sizes(names, largest):
        block = _block(maps, kept, cube, side)
        if len(block) + sum(len(picture) for name in kept for picture in images[name].pictures.values()) <= room:
            break
    return PackedGallery(
        images=tuple(images[name] for name in kept),
        packed=block,
        side=side,
        reduced=largest > side,
        left_out=len(names) - len(kept),
    )


def _names(rows: Sequence[KeptMap], asked: object, cube: Cube) -> tuple[str, ...]:
    """Images to show: fooled ones first, as many as the study's settings ask for."""
    names = dict.fromkeys(row.image for row in rows)
    fooled = {cube.images[place] for place in np.flatnonzero(cube.fooled.any(axis=0))}
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


def _block(maps: Iterable[KeptMap], kept: tuple[str, ...], cube: Cube, side: int) -> str:
    store, images = _Store(), {name: place for place, name in enumerate(kept)}
    for row in maps:
        if row.image in images:
            store.add(key(images[row.image], *_place(row, cube)), quantised(_values(row), side))
    index = json.dumps(store.index, separators=(",", ":")).encode()
    block = len(index).to_bytes(4, "little") + index + bytes(store.block)
    return packed(block)


def _values(row: KeptMap) -> Float[np.ndarray, "h w"]:
    height, width = row.height or 0, row.width or 0
    if row.map.size != height * width:
        raise DataError(
            f"gallery.parquet has a map of {height} x {width} with {row.map.size} values "
            f"({row.image}, {row.layer}). Run the study again into a new folder."
        )
    return row.map.astype(np.float64).reshape(height, width)


def _place(row: KeptMap, cube: Cube) -> tuple[str | int, ...]:
    """Kind, attack, target, CAM and layer of a map, as places on the axes; -1 where it has none."""
    axes = ((row.target, cube.targets), (row.cam, cube.cams), (row.layer, cube.layers))
    rest = (names.index(name) if name in names else -1 for name, names in axes)
    return row.kind, attack_place(cube.attacks, row.attack), *rest


def _image(name: str, rows: Iterable[KeptMap], captions: Mapping[str, PictureCaption], cube: Cube) -> ViewedImage:
    """What the page shows of one image beside its maps."""
    chosen = {
        key(row.kind, attack_place(cube.attacks, row.attack)): row.picture
        for row in rows
        if row.image == name and row.picture
    }
    try:
        pictures = {spot: _source(picture) for spot, picture in chosen.items()}
    except (OSError, ValueError) as cause:
        raise DataError(f"a picture of {name} in gallery.parquet cannot be opened. Run the study again.") from cause
    said = {spot: captions[place] for spot in pictures if (place := key(name, spot)) in captions}
    return ViewedImage(
        id=name,
        pictures=pictures,
        captions={spot: str(caption) for spot, caption in said.items()},
        stayed=[spot for spot, caption in said.items() if caption.switched is False],
        similar=_similar(name, cube),
    )


def _source(picture: bytes) -> str:
    """A picture as the page holds it; larger ones than the page shows are made smaller."""
    opened = Image.open(io.BytesIO(picture), formats=("WEBP", "PNG", "JPEG"))
    kind = str(opened.format).lower()
    if max(opened.size) > _LARGEST_PICTURE:
        opened.thumbnail((_LARGEST_PICTURE, _LARGEST_PICTURE))
        picture, kind = encode_webp(opened.convert("RGB")), "webp"
    return f"data:image/{kind};base64," + base64.b64encode(picture).decode()


def _captions(data: ReportData, names: tuple[str, ...], cube: Cube) -> dict[str, PictureCaption]:
    """What is said of pictures at strength 1, by image, kind and attack."""
    made: dict[str, PictureCaption] = {}
    shown = data.images.filter(pc.is_in(data.images["image"], pa.array(names, pa.string())))
    for row, attack in zip(shown.to_pylist(), attack_codes(shown, cube.attacks), strict=True):
        clean = PictureCaption(name=row["clean_name"], confidence=row["clean_confidence"], correct=row["clean_correct"])
        made.setdefault(key(row["image"], "clean", -1), clean)
        if row["strength"] == 1:
            made[key(row["image"], row["kind"], attack)] = PictureCaption(
                name=row["changed_name"], confidence=row["changed_confidence"], switched=row["switched"]
            )
        if row["strength"] == 1 and row["kind"] == "attacked":
            made[key(row["image"], "perturbation", attack)] = PictureCaption(size=row["linf"])
    return made


def _similar(name: str, cube: Cube) -> dict[str, LayerTexts]:
    """What each measure says of the maps at strength 1, by measure, attack, target and CAM."""
    if name not in cube.images or 1 not in cube.strengths:
        return {}
    strength, image = cube.strengths.index(1), cube.images.index(name)
    values, present = (axes[:, :, strength, :, :, :, :, image] for axes in (cube.values, cube.present))
    places = product(*(range(values.shape[axis]) for axis in (0, 1, 3, 4)))
    return {
        key(m, a, t, c): _layers(cube.measures[m], *map(thousandths, values[m, a, :, t, c]))
        for m, a, t, c in places
        if present[m, a, :, t, c].any()
    }


def _layers(measure: MeasureScale, attacked: Thousandths, noise: Thousandths) -> LayerTexts:
    """The texts of every layer, and the layers to frame: those that moved most beyond noise, or without it at all."""
    pairs = list(zip(attacked, noise, strict=True))
    gaps = [None if ours is None or theirs is None else ours - theirs for ours, theirs in pairs]
    unmoved = half_up(1000 * measure.same)
    beyond = [
        (measure.alike(ours, 1000) - measure.alike(unmoved if theirs is None else theirs, 1000), place)
        for place, (ours, theirs) in enumerate(pairs)
        if ours is not None
    ]
    moved = sorted(pair for pair in beyond if pair[0] < 0)
    return LayerTexts(
        attacked=[two(value) for value in attacked],
        noise=[two(value) for value in noise],
        gap=[two(value) for value in gaps],
        framed=[place for _, place in moved[:_FRAMED]],
    )
