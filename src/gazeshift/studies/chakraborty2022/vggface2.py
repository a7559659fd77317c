"""VGGFace2 as it is released: identities in folders, loose crops of faces, boxes and landmarks in tables beside them.

``{train,test}/nXXXXXX/IIII_FF.jpg``, ``identity_meta.csv``, ``bb_landmark/loose_bb_{train,test}.csv`` with columns
NAME_ID,X,Y,W,H and ``loose_landmark_{train,test}.csv`` with NAME_ID,P1X,P1Y..P5X,P5Y. A NAME_ID is the picture's
path below its split, without the suffix; all places are in pixels of the stored picture. Cao et al. 2018.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image
from scipy.ndimage import map_coordinates

from gazeshift.data.decode import loaded, read_file
from gazeshift.data.pillow_warnings import quiet_pillow
from gazeshift.errors import DataError, ImageError
from gazeshift.models import plain_picture
from gazeshift.summaries import printable

TABLES = "bb_landmark"
SPLITS = ("train", "test")
MARGIN = 0.3  # of the box's width and height, half on each side
SIDE = 256  # of an aligned face, in pixels
# Where the eyes, the nose and the corners of the mouth come to lie, in parts of the side: upright and centred.
TEMPLATE = np.array([[0.34, 0.42], [0.66, 0.42], [0.50, 0.60], [0.37, 0.77], [0.63, 0.77]])
Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Face:
    """Where a face lies in its picture, in pixels.

    Args:
        box: left, top, width and height; may reach over the edge.
        points: left eye, right eye, nose, left and right corner of the mouth, as x and y.
    """

    box: Box
    points: Float[np.ndarray, "5 2"]


def is_vggface2(root: Path) -> bool:
    """Whether a folder holds VGGFace2 or a part of it, by its tables."""
    return (root / "identity_meta.csv").is_file() or (root / TABLES).is_dir()


def identity_names(root: Path) -> dict[str, str]:
    """Names of the identities by their folder, from ``identity_meta.csv``; empty if that is absent.

    Raises:
        DataError: the table is not of that form.
    """
    file = root / "identity_meta.csv"
    if not file.is_file():
        return {}
    rows = _rows(file)
    try:
        return {row["Class_ID"]: row["Name"].replace("_", " ") for row in rows}
    except (KeyError, AttributeError) as cause:
        raise DataError(
            f"{printable(str(file))} must have the columns Class_ID and Name; row without {cause}."
        ) from None


def read_faces(root: Path) -> dict[str, Face]:
    """Every face with both a box and landmarks, by its picture's path below `root` without the suffix.

    A row whose landmarks are missing (empty, not finite, or all alike) is left out, as if it were not there.

    Raises:
        DataError: a table is not of that form.
    """
    faces: dict[str, Face] = {}
    for split in SPLITS:
        boxes, points = (_numbers(root / TABLES / f"loose_{kind}_{split}.csv", n) for kind, n in _KINDS)
        for name in boxes.keys() & points.keys():
            landmarks = points[name].reshape(5, 2)
            if np.isfinite(points[name]).all() and np.isfinite(boxes[name]).all() and np.ptp(landmarks, axis=0).any():
                left, top, width, height = map(float, boxes[name])
                faces[f"{split}/{name}"] = Face(box=(left, top, width, height), points=landmarks)
    return faces


_KINDS = (("bb", 4), ("landmark", 10))


def _numbers(file: Path, count: int) -> dict[str, Float[np.ndarray, " k"]]:
    """The first `count` numbers of each row by its NAME_ID; nothing if there is no such table."""
    if not file.is_file():
        return {}
    found = {}
    for row in _rows(file):
        name, *cells = row.values()
        try:
            found[str(name)] = np.array([float(cell) if cell.strip() else np.nan for cell in cells[:count]])
        except (ValueError, AttributeError):
            found[str(name)] = np.full(count, np.nan)
        if len(found[str(name)]) != count:
            raise DataError(f"{printable(str(file))} must have NAME_ID and {count} numbers in each row, got {row}.")
    return found


def _rows(file: Path) -> Iterator[dict[str, str]]:
    """Rows of a table whose separator may be followed by a blank and whose texts may be quoted."""
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as cause:
        raise DataError(f"{printable(str(file))} cannot be read as a table ({cause}). Copy it again.") from cause
    yield from csv.DictReader(io.StringIO(text), skipinitialspace=True)


def read_aligned(faces: Mapping[str, Face], path: Path, name: str) -> bytes:
    """The aligned face of a picture as the bytes of a lossless file; `name` is its path below the collection."""
    face = faces[name.rsplit(".", 1)[0]]
    with quiet_pillow():
        picture = plain_picture(loaded(read_file(path, name), printable(name)), printable(name)).convert("RGB")
        stream = io.BytesIO()
        aligned(picture, face, name=name).save(stream, format="BMP")
    return stream.getvalue()


def aligner(faces: Mapping[str, Face]) -> partial[bytes]:
    """`read_aligned` for these faces, as a source of images fetches its bytes."""
    return partial(read_aligned, faces)


def aligned(picture: Image.Image, face: Face, *, side: int = SIDE, name: str = "the picture") -> Image.Image:
    """The tight crop of a face, turned and scaled so that its landmarks come as near as can be to the template.

    The box is enlarged by 0.3 of its width and height and clipped to the picture; nothing beyond it is shown, its
    edge pixels are repeated instead. Bilinear.

    Args:
        picture: in mode RGB.
        face: where it lies.
        side: of the result, in pixels.
        name: of the picture, for the message.

    Raises:
        ImageError: the box lies outside the picture.
    """
    left, top, right, bottom = tight(face.box, picture.size)
    if right - left < 1 or bottom - top < 1:
        raise ImageError(f"{printable(name)}: its face box {face.box} lies outside the picture. Leave it out.")
    factor, shift = similarity(TEMPLATE * side, face.points)  # from the result to the picture
    where = (np.arange(side) + 0.5)[None, :] + 1j * (np.arange(side) + 0.5)[:, None]
    there = factor * where + shift - (0.5 + 0.5j)
    x, y = np.clip(there.real, left, right - 1), np.clip(there.imag, top, bottom - 1)
    channels = [
        map_coordinates(channel, (y, x), order=1) for channel in np.moveaxis(np.asarray(picture, dtype=float), -1, 0)
    ]
    return Image.fromarray(np.round(np.stack(channels, -1)).astype(np.uint8))


def tight(box: Box, size: tuple[int, int], margin: float = MARGIN) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a box enlarged by `margin` of its sides about its centre, clipped to the picture.

    >>> tight((10, 10, 20, 40), (100, 52))
    (7, 4, 33, 52)
    """
    left, top, width, height = box
    across, down = margin * width / 2, margin * height / 2
    edges = (left - across, top - down, left + width + across, top + height + down)
    limits = (size[0], size[1], size[0], size[1])
    low_x, low_y, high_x, high_y = (min(max(round(edge), 0), limit) for edge, limit in zip(edges, limits, strict=True))
    return low_x, low_y, high_x, high_y


def similarity(source: Float[np.ndarray, "p 2"], target: Float[np.ndarray, "p 2"]) -> tuple[complex, complex]:
    """Factor a and shift b of the turn, scale and move that brings points nearest to others: x + iy -> a (x + iy) + b.

    Least squares; no mirroring. In the complex plane both have a closed form.

    >>> similarity(np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[2.0, 3.0], [2.0, 5.0]]))  # turned, doubled
    (2j, (2+3j))
    """
    here, there = (points[:, 0] + 1j * points[:, 1] for points in (source, target))
    one, two = here - here.mean(), there - there.mean()
    factor = complex(np.vdot(one, two) / np.vdot(one, one).real)
    return factor, complex(there.mean() - factor * here.mean())
