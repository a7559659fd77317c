"""Maps and perturbations as pictures, for eyes only: numpy and Pillow, no torch.

Everything that computes works on raw maps; what is here normalises, colours and rounds to 8 bits, and must not be
measured. Arrays may be numpy, lists, or tensors of any library that can be detached and brought to the CPU.
"""

import io
import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Num, UInt8
from PIL import Image, ImageDraw, ImageFont

from gazeshift.summaries import class_name, plural

_ANCHORS = ("#0d0a26", "#4a1079", "#b3325f", "#f0792b", "#f9c932", "#fcfbd0")
_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
_INK, _PAPER, _QUIET = "#1b1f27", "#ffffff", "#667085"
_PICTURE, _GAP, _CAPTION = 160, 10, 34


def as_array(values: Any) -> Num[np.ndarray, "..."]:
    """The same numbers as a numpy array; tensors are detached and copied to the CPU."""
    if not hasattr(values, "detach"):
        return np.asarray(values)
    tensor = values.detach().cpu()
    return np.asarray(tensor.float() if "bfloat16" in str(tensor.dtype) else tensor)


def rectified(map: Any) -> Float[np.ndarray, "h w"] | None:  # noqa: A002
    """Positive part of a raw map divided by its largest value: 0 = no evidence, 1 = strongest. SPEC 1.4.

    None if the map is undefined: not finite somewhere, or without a positive value.

    >>> rectified([[-1.0, 0.0], [1.0, 2.0]])
    array([[0. , 0. ],
           [0.5, 1. ]])
    >>> rectified([[0.0, -1.0]]) is None
    True
    """
    positive = np.maximum(as_array(map).astype(np.float64), 0)
    if not np.isfinite(as_array(map)).all() or not positive.any():
        return None
    return np.asarray(positive / positive.max())


def upsample(map: Any, height: int, width: int) -> Float[np.ndarray, "{height} {width}"]:  # noqa: A002
    """Bilinear resize with the corners not aligned, as ``torch.nn.functional.interpolate`` does without antialias."""
    values = as_array(map)
    rows, columns = _taps(values.shape[0], height, values.dtype), _taps(values.shape[1], width, values.dtype)
    tall = values[rows[0]] * (1 - rows[2])[:, None] + values[rows[1]] * rows[2][:, None]
    return np.asarray(tall[:, columns[0]] * (1 - columns[2]) + tall[:, columns[1]] * columns[2])


def colour(map: Any) -> UInt8[np.ndarray, "*shape 3"]:  # noqa: A002
    """RGB of values in [0, 1], dark to bright in 256 steps that look equally large; values outside are clipped."""
    steps = np.round(np.clip(as_array(map), 0, 1) * 255).astype(np.uint8)
    colours: UInt8[np.ndarray, "*shape 3"] = colour_table()[steps]
    return colours


@cache
def colour_table() -> UInt8[np.ndarray, "256 3"]:
    """The 256 colours of `colour`: a line through six anchors in Oklab (Ottosson 2020), walked at constant speed."""
    anchors = _oklab(np.array([[int(code[i : i + 2], 16) for i in (1, 3, 5)] for code in _ANCHORS]) / 255)
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(anchors, axis=0), axis=1))])
    walked = np.linspace(0, along[-1], 256)
    path = np.stack([np.interp(walked, along, channel) for channel in anchors.T], axis=1)
    table: UInt8[np.ndarray, "256 3"] = np.round(np.clip(_srgb(path), 0, 1) * 255).astype(np.uint8)
    table.flags.writeable = False
    return table


def overlay(image: Any, map: Any, opacity: float = 0.5) -> Image.Image:  # noqa: A002
    """The `photograph` of an image under its coloured, rectified map; an undefined map is hatched and says so."""
    picture = photograph(image)
    defined = rectified(map)
    if defined is None:
        return _hatched(picture)
    smooth = Image.fromarray(colour(upsample(defined, picture.height, picture.width)))
    return Image.blend(picture, smooth, opacity)


def photograph(image: Any) -> Image.Image:
    """An image (channels, h, w) in [0, 1] as an 8-bit RGB picture, rounded; for viewing only. NaN is black.

    Three channels are red, green and blue, and so are the first three of more; of one or two the first is grey.
    """
    values = as_array(image)
    drawn = values[:3] if len(values) >= 3 else values[[0, 0, 0]]
    levels = np.round(np.clip(np.nan_to_num(drawn), 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))


def channels_shown(count: int) -> str:
    """What a caption says of the channels that `photograph` draws; empty if it draws all.

    >>> channels_shown(1), channels_shown(2), channels_shown(3), channels_shown(5)
    ('', 'channel 1 of 2', '', 'channels 1 to 3 of 5')
    """
    return {1: "", 2: "channel 1 of 2", 3: ""}.get(count, f"channels 1 to 3 of {count}")


def outlined(picture: Image.Image, region: Any) -> Image.Image:
    """The picture with a white line, edged in black, around the pixels where `region` (h, w) is true."""
    inside, values = as_array(region).astype(bool), np.asarray(picture).copy()
    for width, shade in ((2, 0), (1, 255)):
        values[_grown(inside, width) & ~inside] = shade
    return Image.fromarray(values)


def _grown(region: Bool[np.ndarray, "h w"], pixels: int) -> Bool[np.ndarray, "h w"]:
    """The region and what lies within so many pixels of it, along rows and columns."""
    for _ in range(pixels):
        wide = np.pad(region, 1)
        region = region | wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:]
    return region


def perturbation_picture(delta: Any) -> Image.Image:
    """A perturbation (channels, h, w) as 127.5 + 127.5 N / max |N|: grey is no change. SPEC 5, trap 4.

    The maximum is that of all channels, drawn are those that `photograph` draws. All zero: all grey.
    """
    values = as_array(delta).astype(np.float64)
    largest = np.abs(values[np.isfinite(values)]).max(initial=0)
    return photograph(0.5 + 0.5 * (values / largest if largest else values))


def encode_webp(picture: Image.Image, quality: int = 75) -> bytes:
    """The picture as a lossy WebP file."""
    return _encoded(picture, format="WEBP", quality=quality, method=6)


def encode_png(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    return _encoded(picture, format="PNG", optimize=True)


def evidence_sheet(evidence: Any, *, cam: str = "", rows: int = 8, columns: int = 8) -> bytes:
    """A PNG of an `Evidence`: one row per image with its class, then its maps at evenly chosen layers.

    Args:
        evidence: what `look` gave.
        cam: which CAM to show; empty takes the first. Without any, the images stand alone.
        rows: at most so many images.
        columns: at most so many layers, the first and the last among them; a single one is the first.
    """
    cam = cam or next(iter(evidence.cams), "")
    layers = _evenly(tuple(evidence.layers), columns) if cam else ()
    maps = [as_array(evidence.maps(layer, cam)) for layer in layers]
    what = f"{evidence.model}: {cam or 'no maps'} of the {evidence.target} class, {_counted(evidence.images, rows)}"
    return _sheet(
        what,
        1 + len(layers),
        [
            [
                (photograph(evidence.images[row]), class_name(evidence.class_names, int(evidence.predicted[row]))),
                *((overlay(evidence.images[row], maps[i][row]), layer) for i, layer in enumerate(layers)),
            ]
            for row in range(min(rows, len(evidence.images)))
        ],
    )


def attack_sheet(attacked: Any, *, rows: int = 8) -> bytes:
    """A PNG of an `Attacked`: one row per image, before and after with its classes, and the perturbation amplified.

    Args:
        attacked: what `attack` gave.
        rows: at most so many images.
    """
    before, after = (as_array(logits.argmax(1)) for logits in (attacked.clean_logits, attacked.logits))
    levels = 255 * as_array(attacked.linf)
    return _sheet(
        f"clean, attacked, change: {_counted(attacked.images, rows)}",
        3,
        [
            [
                (photograph(attacked.clean[row]), class_name(attacked.class_names, int(before[row]))),
                (photograph(attacked.images[row]), class_name(attacked.class_names, int(after[row]))),
                (perturbation_picture(attacked.perturbation[row]), f"L-inf {levels[row]:.2f}/255"),
            ]
            for row in range(min(rows, len(attacked.images)))
        ],
    )


def _taps(size: int, target: int, kind: Any) -> tuple[Any, Any, Any]:
    """Lower and upper neighbour of every target pixel and the upper one's weight, in the precision of the map."""
    kind = kind if np.issubdtype(kind, np.floating) else np.dtype(np.float64)
    place = np.arange(target).astype(kind) + kind.type(0.5)
    place = np.maximum(place * (kind.type(size) / kind.type(target)) - kind.type(0.5), 0)
    lower = np.minimum(place.astype(np.int64), size - 1)
    return lower, np.minimum(lower + 1, size - 1), (place - lower).astype(kind)


def _oklab(rgb: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T)


def _srgb(lab: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    linear = np.clip((lab @ np.linalg.inv(_TO_LAB).T) ** 3 @ np.linalg.inv(_TO_LMS).T, 0, None)
    return np.asarray(np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055))


def _hatched(picture: Image.Image) -> Image.Image:
    grey = Image.blend(picture, Image.new("RGB", picture.size, "#8a8f98"), 0.7)
    draw = ImageDraw.Draw(grey)
    for start in range(-picture.height, picture.width, 12):
        draw.line([(start, picture.height), (start + picture.height, 0)], fill="#5d636e", width=2)
    font = _font(max(9, min(16, picture.width // 8)))
    centre = (picture.width / 2, picture.height / 2)
    left, top, right, bottom = draw.textbbox(centre, "undefined", font=font, anchor="mm")
    draw.rectangle((left - 4, top - 3, right + 4, bottom + 3), fill=_PAPER)
    draw.text(centre, "undefined", _INK, font, anchor="mm")
    return grey


def _evenly(names: tuple[str, ...], count: int) -> tuple[str, ...]:
    if len(names) <= count:
        return names
    return tuple(names[round(i * (len(names) - 1) / max(1, count - 1))] for i in range(count))


def _counted(images: Any, most: int) -> str:
    """How many images there are, how many of them are shown, and which of their channels."""
    total, channels = len(images), channels_shown(images.shape[1])
    count = plural(total, "image") if total <= most else f"the first {most} of {plural(total, 'image')}"
    return f"{count}, {channels}" if channels else count


def _sheet(title: str, columns: int, rows: Sequence[Sequence[tuple[Image.Image, str]]]) -> bytes:
    """A PNG of pictures with captions, each brought into a square with its aspect kept, under a title."""
    size = columns * (_PICTURE + _GAP) + _GAP, len(rows) * (_PICTURE + _CAPTION) + 3 * _GAP + 14
    sheet = Image.new("RGB", size, _PAPER)
    ImageDraw.Draw(sheet).text((_GAP, _GAP), _fitted(title, 14, sheet.width - 2 * _GAP), _INK, _font(14))
    for row, tiles in enumerate(rows):
        for column, (picture, caption) in enumerate(tiles):
            _place(sheet, _tile(picture), caption, row=row, column=column)
    return encode_png(sheet)


def _tile(picture: Image.Image) -> Image.Image:
    scale = _PICTURE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)


def _place(sheet: Image.Image, tile: Image.Image, caption: str, *, row: int, column: int) -> None:
    left, top = _GAP + column * (_PICTURE + _GAP), 2 * _GAP + 14 + row * (_PICTURE + _CAPTION)
    sheet.paste(tile, (left + (_PICTURE - tile.width) // 2, top + (_PICTURE - tile.height) // 2))
    ink = _QUIET if column else _INK
    ImageDraw.Draw(sheet).text((left, top + _PICTURE + 5), _fitted(caption, 12, _PICTURE), ink, _font(12))


def _fitted(text: str, size: int, width: int) -> str:
    """The text on one line, its middle left out if it would be wider than `width` pixels."""
    text, font = "".join(letter if letter.isprintable() else "?" for letter in text), _font(size)

    def shortened(keep: int) -> str:
        return f"{text[: math.ceil(keep / 2)]}…{text[len(text) - keep // 2 :]}"

    if font.getlength(text) <= width:
        return text
    keep = bisect_right(range(len(text)), width, key=lambda keep: font.getlength(shortened(keep))) - 1
    return shortened(max(2, keep))


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _encoded(picture: Image.Image, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, **settings)
    return buffer.getvalue()
