"""How pictures come to a model: fitted to its size, or taken as they are."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

from PIL import Image

from gazeshift.data.decode import _formats, orientation
from gazeshift.data.image_source import ImageSource
from gazeshift.data.pillow_warnings import quiet_pillow
from gazeshift.errors import ImageError
from gazeshift.models import Preprocessing
from gazeshift.records import Batch
from gazeshift.summaries import printable
from gazeshift.summaries import size as sized

Handling = Literal["fit", "as-is"]
FIT: Handling = "fit"
AS_IS: Handling = "as-is"
SIDEWAYS = range(5, 9)  # EXIF's orientations that swap width and height


class PictureReader:
    """Reads the pictures of a source for a model, and knows afterwards which of them were resized or cropped for it.

    Args:
        source: of the pictures.
        preprocessing: of the model.
        pixels: ``fit`` resizes and crops as the preprocessing says; ``as-is`` takes pictures of the model's size, such
            as attacked ones that were saved, and leaves out all others.
    """

    def __init__(self, source: ImageSource, preprocessing: Preprocessing, pixels: Handling = FIT) -> None:
        self.source, self.preprocessing, self.pixels = replace(source, fetch=self._fetch), preprocessing, pixels
        self._fetch_encoded = source.fetch
        self._sizes: dict[str, tuple[int, int]] = {}
        self._sha256: dict[str, str] = {}
        self._read: list[str] = []

    def batches(self, size: int) -> Iterator[Batch]:
        """Every picture, at most `size` at a time; one by one where pictures keep their own size, which may differ."""
        own = geometry(self.preprocessing, self.pixels)
        for batch in self.source.batches(size if own.size else 1, own):
            self._read += batch.ids
            yield batch

    def resized(self, name: str) -> str | None:
        """How a picture that was read came to the model's size, if not every pixel of its file was taken as it is.

        A picture of another source than files here, such as a row of a table, counts likewise.
        """
        size = self._sizes.get(name)
        if size is None or self.pixels == AS_IS or self.preprocessing.keeps(*size):
            return None
        middle = self.preprocessing.resized(*size)
        final = self._own_size or middle
        way = f"{sized(middle)} and cropped to " if final == size else ""
        return f"{sized(size)} to {way}{sized(final)}"

    def resized_from(self, name: str) -> list[int] | None:
        """Width and height of a picture's file, if it was resized or cropped for the model; see `resized`."""
        return list(self._sizes[name]) if self.resized(name) else None

    def sha256(self, name: str) -> str | None:
        """SHA-256 of a picture's file; None if it was not read."""
        return self._sha256.get(name)

    @property
    def summary(self) -> str | None:
        """How many of the pictures that were read were resized or cropped, in a sentence; None if none was."""
        changed = [name for name in self._read if self.resized(name)]
        if not changed:
            return None
        same = sum(self._sizes[name] == self._own_size for name in changed)
        told = f"{len(changed)} of {len(self._read)} pictures were resized or cropped for the model"
        if not same or self._own_size is None:
            return f"{told}, which weakens an attack in them."
        return (
            f"{told}, {same} of them though they have its {sized(self._own_size)}: that undoes most attacks. "
            "--pixels as-is takes such pictures as they are."
        )

    @property
    def _own_size(self) -> tuple[int, int] | None:
        """Width and height of the model's images."""
        return self.preprocessing.size and self.preprocessing.size[::-1]

    def _fetch(self, place: Any, name: str) -> bytes:
        encoded = self._fetch_encoded(place, name)
        self._sha256[name] = hashlib.sha256(encoded).hexdigest()
        size = _file_size(encoded)
        if size is not None:  # else decoding says what is wrong
            self._sizes[name] = size
            if self.pixels == AS_IS:
                check_as_is(size, self.preprocessing, name)
        return encoded


def geometry(preprocessing: Preprocessing, pixels: Handling) -> Preprocessing:
    """The preprocessing of files under this handling; as they are, they need the check of `check_as_is` first."""
    return replace(preprocessing, resize=None) if pixels == AS_IS else preprocessing


def check_as_is(size: tuple[int, int], preprocessing: Preprocessing, name: str) -> None:
    """Refuse a picture of this width and height if it is not the model's input as it is.

    Raises:
        ImageError: it would have to be resized or cropped.
    """
    wanted = preprocessing.size and preprocessing.size[::-1]
    if wanted not in (None, size):
        raise ImageError(
            f"{printable(name)} is {sized(size)} pixels, and as-is takes the model's {sized(wanted)} alone. Give the "
            "picture in that size, or have it resized (pixels: fit)."
        )


def upright_size(picture: Image.Image) -> tuple[int, int]:
    """Width and height of an opened picture, turned as its EXIF says; no pixel is decoded."""
    return (picture.height, picture.width) if orientation(picture) in SIDEWAYS else picture.size


def _file_size(encoded: bytes) -> tuple[int, int] | None:
    try:
        with quiet_pillow(), Image.open(io.BytesIO(encoded), formats=_formats()) as picture:
            return upright_size(picture)
    except Exception:  # Pillow's readers raise nearly anything on a crafted file
        return None
