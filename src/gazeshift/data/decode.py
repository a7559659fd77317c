"""Encoded bytes to pixels in [0, 1]: every mode that Pillow opens, or one sentence that says why not."""

import io
import os
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from gazeshift.data.pillow_warnings import quiet_pillow
from gazeshift.errors import GazeshiftError, ImageError
from gazeshift.models import MAX_PIXELS, Preprocessing, picture_input
from gazeshift.summaries import printable

MAX_BYTES = 2**29
MIN_SIDE = 8
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "AVIF", "JPEG2000")
SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".tif", ".tiff", ".gif", ".bmp"}
SUFFIXES |= {".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2"}
TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BITS_PER_SAMPLE, PHOTOMETRIC = 258, 262


def read_image(
    source: str | os.PathLike[str] | bytes, preprocessing: Preprocessing | None = None, *, name: str | None = None
) -> Float[Tensor, "channels h w"]:
    """One image file, or its bytes, as float32 in [0, 1], turned upright, resized and cropped.

    The same bits as torchvision's Resize, CenterCrop and ToTensor on an 8-bit RGB file. Transparent images are laid
    over white, unless the model takes an alpha channel; animations give their first frame, colour profiles are not
    applied. 16-bit grey keeps its 16 bits (65535 is white, and a warning says when nothing comes near it); of 16-bit
    colour Pillow reads the high byte, at most one level of 255 away.

    Args:
        source: path of a file, or the content of one.
        preprocessing: of a classifier; None keeps the image's own size, as RGB.
        name: how messages call the image; the path if not given.

    Raises:
        ImageError: the file cannot be read or decoded, is too small or too large, or has not the channels that the
            model takes; one sentence with its name.
    """
    if isinstance(source, bytes):
        return decode(source, preprocessing, name=name or "the image")
    if not isinstance(source, str | os.PathLike):
        raise ImageError(f"an image must be the path of a file, or its bytes, got {printable(repr(source)[:60])}.")
    path = Path(source)
    return decode(read_file(path, name or str(path)), preprocessing, name=name or str(path))


def read_file(path: Path, name: str) -> bytes:
    """Content of a regular file of at most `MAX_BYTES`; pipes and devices are refused, for they may never end."""
    name = printable(name)
    try:
        if path.exists() and not path.is_file():
            raise ImageError(f"{name} is not a regular file, so it holds no image. Give an image file.")
        if path.stat().st_size > MAX_BYTES:
            raise ImageError(f"{name} is larger than {MAX_BYTES >> 20} MiB, too large for one image. Shrink it.")
        return path.read_bytes()
    except (OSError, ValueError) as cause:
        if isinstance(cause, GazeshiftError):
            raise
        reason = getattr(cause, "strerror", None) or cause
        raise ImageError(f"{name} cannot be read: {reason}. Check the path and its permissions.") from cause


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=6)  # where the image was asked for


def decode(
    encoded: bytes, preprocessing: Preprocessing | None, *, name: str, note: Callable[[str], None] = _warn
) -> Float[Tensor, "channels h w"]:
    """Bytes of one image as float32 in [0, 1]; raises ImageError, see `read_image`. `note` hears what looks wrong."""
    name = printable(name)
    if not encoded:
        raise ImageError(f"{name} is empty (zero bytes). Copy it again or leave it out.")
    with quiet_pillow():
        return picture_input(loaded(encoded, name, note), preprocessing, name)


def loaded(encoded: bytes, name: str, note: Callable[[str], None] = _warn) -> Image.Image:
    """The decoded image, upright; its size is checked between reading the header and decoding."""
    try:
        with Image.open(io.BytesIO(encoded), formats=_formats()) as image:
            _check_size(image.size, name)
            _check_depth(image, name)
            is_deep = any("16" in str(tile[-1]) for tile in image.tile)
            image.load()
            if is_deep:
                _check_white(image, name, note)
            return _upright(image)
    except GazeshiftError:
        raise
    except Exception as cause:  # Pillow's decoders raise nearly anything on a crafted file
        raise _explained(cause, name) from cause


@cache
def _formats() -> list[str]:
    """Formats that this build of Pillow has. A fixed list, because some others run outside programs."""
    Image.init()
    return [form for form in FORMATS if form in Image.OPEN]


def _explained(cause: Exception, name: str) -> ImageError:
    if isinstance(cause, Image.DecompressionBombError):
        return _too_large(name, "")
    if isinstance(cause, UnidentifiedImageError):
        known = ", ".join(_formats())
        return ImageError(f"{name} is not an image, or damaged in its first bytes. Wanted one of {known}.")
    if isinstance(cause, EOFError) or "truncated" in str(cause).lower():
        return ImageError(f"{name} is truncated: its pixels end too early. Copy it again or leave it out.")
    detail = printable(str(cause)) or type(cause).__name__
    return ImageError(f"{name} is damaged or cut off and cannot be decoded ({detail}). Copy it again or leave it out.")


def _too_large(name: str, size: str) -> ImageError:
    return ImageError(
        f"{name} claims {size}more than the {MAX_PIXELS // 1_000_000} million pixels allowed, "
        "and was not decoded. Shrink it first."
    )


def _check_size(size: tuple[int, int], name: str) -> None:
    """Refuse by the header alone."""
    width, height = size
    if width * height > MAX_PIXELS:
        raise _too_large(name, f"{width} x {height}, ")
    if min(size) < MIN_SIDE:
        raise ImageError(f"{name} is {width} x {height} pixels, wanted at least {MIN_SIDE} on a side. Leave it out.")


def _check_depth(image: Image.Image, name: str) -> None:
    """Refuse deep grey whose white is unknown. Pillow reads 12-bit and inverted TIFF into 16 bits as they are."""
    if not image.mode.startswith(("I", "F")):
        return
    tags = getattr(image, "tag_v2", {})
    if image.mode == "I" and image.format not in {"PNG", "PPM"}:
        raise _unscalable(name, "signed or 32-bit integers")
    if tags.get(PHOTOMETRIC) == 0:
        raise _unscalable(name, "inverted grey")
    if image.mode != "F" and tuple(tags.get(BITS_PER_SAMPLE, (16,))) != (16,):
        raise _unscalable(name, f"{tags[BITS_PER_SAMPLE][0]}-bit grey")


def _unscalable(name: str, what: str) -> ImageError:
    return ImageError(f"{name} holds {what}, whose white is not known. Save it with 8 or 16 unsigned bits.")


def _check_white(image: Image.Image, name: str, note: Callable[[str], None]) -> None:
    """Say when a 16-bit picture is nearly black, as 12-bit numbers in one are. They cannot be told from a dark one."""
    white = 65535 if image.mode.startswith("I") else 255  # Pillow gives the high byte of colour
    peak = int(np.asarray(image)[..., : 3 if image.mode.startswith("RGB") else None].max())
    if 0 < peak < (white + 1) // 16:
        note(
            f"{name} has 16 bits, of which 65535 is white, and no pixel above {peak / white:.1%} of that: it is nearly "
            "black. If it holds 12-bit numbers, multiply them by 16 and save it again."
        )


def orientation(image: Image.Image) -> int:
    """What EXIF says of how an image lies; 1, upright, if it says nothing or is broken: the pixels are still good."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Pillow's EXIF reader raises nearly anything on crafted bytes
        return 1


def _upright(image: Image.Image) -> Image.Image:
    method = TRANSPOSITIONS.get(orientation(image))
    return image.copy() if method is None else image.transpose(method)
