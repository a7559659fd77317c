"""How a picture becomes a model's input: resized, cropped, turned into numbers in [0, 1]; and the normalisation."""

import math
from dataclasses import dataclass, replace
from typing import Any, NotRequired, Self

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from typing_extensions import TypedDict  # typing.TypedDict is not read by pydantic before Python 3.12

from gazeshift.errors import ImageError, SettingsError, check_known
from gazeshift.registry import read_pixels

Pixels = int | tuple[int, int]  # a side of a square (or the short side), or height and width
RESAMPLING = {kind.name.lower(): kind for kind in Image.Resampling}
FITS = ("squash", "cover", "pad", "frame")
MAX_PIXELS = 64_000_000  # of a picture, before and after it is resized
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # what Pillow calls a picture of so many channels


class PreprocessingCard(TypedDict):
    """What a manifest says of a `Preprocessing`; `fit` only where there is something to fit."""

    resize: Pixels | None
    crop: Pixels | None
    interpolation: str
    mean: float | tuple[float, ...]
    std: float | tuple[float, ...]
    fit: NotRequired[str]


@dataclass(frozen=True, kw_only=True, repr=False)
class Preprocessing:
    """How an image file becomes a model's input, in this order.

    Args:
        resize: one number: the short side in pixels after the first step, aspect kept. Height and width: see `fit`.
            None leaves the image's own size.
        crop: height and width of the centre crop, one number for a square; None takes the whole image.
        interpolation: ``bicubic``, ``bilinear``, ``nearest``... of Pillow, with antialiasing where it has one.
        mean: subtracted from images in [0, 1] inside the classifier; one number, or one for each channel.
        std: divides the result inside the classifier; likewise.
        fit: how an image of another aspect comes to a `resize` of height and width: ``squash`` to exactly that, as
            torchvision's Resize does; ``cover``, aspect kept, both sides at least that; ``pad``, aspect kept, both
            sides at most that. What is then smaller than the crop is refused, but padded with the mean colour by
            ``pad``; and with black by ``frame``, which else is ``cover``.
        channels: of the images: 3 for colour, 1 for grey; None: as many as `mean` and `std` have, or the network takes.

    Raises:
        SettingsError: a size, a mean or a deviation that cannot be meant.
        UnknownNameError: no such interpolation or fit.
    """

    resize: Pixels | None = 256
    crop: Pixels | None = 224
    interpolation: str = "bicubic"
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    fit: str = "squash"
    channels: int | None = None

    def __post_init__(self) -> None:
        for kind, name, known in (("interpolation", self.interpolation, RESAMPLING), ("fit", self.fit, FITS)):
            check_known(name, known, f"no {kind} named '{name}'")
        resize, crop = read_pixels("resize", self.resize), read_pixels("crop", self.crop)
        crop = crop[0] if isinstance(crop, tuple) and crop[0] == crop[1] else crop
        mean, std = _numbers("mean", self.mean), _numbers("std", self.std)
        if not all(std):
            raise SettingsError(f"std divides the image and must not be 0, got {self.std}.")
        counts = ({len(mean), len(std)} - {1}) | ({self.channels} if self.channels else set())
        if len(counts) > 1:
            raise SettingsError(
                f"mean and std must have one number, or one for each channel, got {len(mean)} and {len(std)}"
                + (f" for {self.channels} channels." if self.channels else ".")
            )
        channels = counts.pop() if counts else None
        settled = {
            "resize": resize,
            "crop": crop,
            "mean": mean if channels is None or len(mean) > 1 else mean * channels,
            "std": std if channels is None or len(std) > 1 else std * channels,
            "channels": channels,
        }
        for name, value in settled.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """The settings, as manifests have them."""
        return f"Preprocessing({', '.join(f'{name}={value!r}' for name, value in self.described().items())})"

    def described(self) -> PreprocessingCard:
        """The settings, for a manifest."""
        card: PreprocessingCard = {
            "resize": self.resize,
            "crop": self.crop,
            "interpolation": self.interpolation,
            "mean": self.mean,
            "std": self.std,
        }
        return card | {"fit": self.fit} if isinstance(self.resize, tuple) or self.pads else card

    @property
    def pads(self) -> bool:
        """Whether something is put around pictures that are smaller than the crop."""
        return self.fit in ("pad", "frame")

    def for_channels(self, channels: int) -> Self:
        """The same for images of so many channels.

        Raises:
            SettingsError: it is for another number of channels.
        """
        if self.channels not in (None, channels):
            raise SettingsError(
                f"the preprocessing is for {self.channels} channels (its mean has as many), and the network takes "
                f"{channels}. Give one mean and std for each channel, or one number for all."
            )
        return replace(self, channels=channels)

    def scaled_to(self, size: Pixels) -> Self:
        """The same for a crop of another size, the resize in proportion. A rectangle is covered, not squashed.

        Raises:
            SettingsError: not a size.
        """
        height, width = _pair(read_pixels("input_size", size) or 0)
        mine = self.size
        if mine is None or self.resize is None:
            resize: Pixels = (height, width) if height != width else height
        elif height == width and not isinstance(self.resize, tuple) and mine[0] == mine[1]:
            resize = round(height * self.resize / mine[0])
        else:
            before = _pair(self.resize)
            resize = round(height * before[0] / mine[0]), round(width * before[1] / mine[1])
        fit = self.fit if isinstance(self.resize, tuple) or self.pads else "cover"
        return replace(self, resize=resize, crop=(height, width), fit=fit)

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the crop; None: the images' own."""
        return None if self.crop is None else _pair(self.crop)

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of an image after the first step."""
        if self.resize is None:
            return width, height
        if isinstance(self.resize, int):  # the long side is cut to an integer, as torchvision does
            long = int(self.resize * max(width, height) / min(width, height))
            return (self.resize, long) if width <= height else (long, self.resize)
        high, wide = self.resize
        if self.fit == "squash":
            return wide, high
        ratio = (max if self.fit == "pad" else min)(height / high, width / wide)
        return max(1, round(width / ratio)), max(1, round(height / ratio))

    def keeps(self, width: int, height: int) -> bool:
        """Whether an image of this size is taken as it is; one of the size of the crop may not be.

        >>> [Preprocessing(resize=resize, crop=224).keeps(224, 224) for resize in (256, 224, None)]
        [False, True, True]
        """
        return self.resized(width, height) == (width, height) and self.size in (None, (height, width))

    def fitted(self, picture: Image.Image) -> Image.Image:
        """A picture resized, then cropped about the centre; the offset is rounded to even, as torchvision does."""
        target = self.resized(*picture.size)
        if target != picture.size:
            picture = picture.resize(target, RESAMPLING[self.interpolation])
        if self.size is None:
            return picture
        height, width = self.size
        if self.pads:
            picture = self._padded(picture, width, height)
        left, top = round((picture.width - width) / 2), round((picture.height - height) / 2)
        return picture.crop((left, top, left + width, top + height))

    def check_fits(self, width: int, height: int, name: str) -> None:
        """Refuse a picture of this size, called `name`, that cannot be brought to the crop.

        Raises:
            ImageError: it is too small for the crop; or of an extreme aspect, so that its long side, resized, would
                not fit memory.
        """
        wide, high = self.resized(width, height)
        if wide * high > MAX_PIXELS:
            raise ImageError(
                f"{name} claims {width} x {height}, resized {wide} x {high}, more than the {MAX_PIXELS // 1_000_000} "
                "million pixels allowed, and was not resized. Shrink it first."
            )
        crop_high, crop_wide = self.size or (0, 0)
        if not self.pads and (wide < crop_wide or high < crop_high):
            side = max(crop_high, crop_wide)
            raise ImageError(
                f"{name} is {wide} x {high} pixels, too small for the crop of {crop_wide} x {crop_high}. "
                f"Resize it first: set the preprocessing's resize to {side} or more (--input-size {side})."
            )

    def _padded(self, picture: Image.Image, width: int, height: int) -> Image.Image:
        """The picture amid the mean colour, or amid black, on a canvas of at least this size."""
        size = max(width, picture.width), max(height, picture.height)
        mean: Any = self.mean if self.fit == "pad" else (0.0,) * len(picture.getbands())
        colour = mean[0] if picture.mode == "F" else tuple(round(255 * value) for value in mean)
        canvas = Image.new(picture.mode, size, colour[0] if picture.mode == "L" else colour)
        canvas.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
        return canvas


def picture_input(
    picture: Image.Image, preprocessing: Preprocessing | None, name: str
) -> Float[Tensor, "channels h w"]:
    """A picture as a classifier takes it, in [0, 1]: the same bits as torchvision's Resize, CenterCrop and ToTensor.

    Args:
        picture: of any mode. Transparency is laid over white, unless the model takes an alpha channel.
        preprocessing: of the classifier; None keeps the size and gives three channels.
        name: of the picture, for messages.

    Raises:
        ImageError: the picture has not the channels that the model takes, values whose white is not known, or a size
            that does not come to the model's.
    """
    channels = (preprocessing and preprocessing.channels) or 3
    if preprocessing is not None:
        preprocessing.check_fits(*picture.size, name)
    plain = plain_picture(picture, name, channels)
    return _tensor(plain if preprocessing is None else preprocessing.fitted(plain), channels)


def plain_picture(picture: Image.Image, name: str, channels: int = 3) -> Image.Image:
    """The same picture in the mode of so many channels (L, LA, RGB, RGBA), or in mode F with values in [0, 1].

    Raises:
        ImageError: it has not so many channels, or does not convert.
    """
    is_deep = picture.mode.startswith(("I", "F"))
    if channels not in MODES or (channels in (2, 4) and (is_deep or not picture.has_transparency_data)):
        raise ImageError(
            f"{name} holds {len(picture.getbands())} channels ({picture.mode}), and the model takes {channels}. Files "
            "give 1 or 3 channels, and 2 or 4 with transparency; give others as tensors, in Python."
        )
    if is_deep:
        return _unit_float(picture, name)
    try:
        if channels in (2, 4) or not picture.has_transparency_data:
            return picture.convert(MODES[channels])
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB").convert(MODES[channels])
    except ValueError as cause:
        raise ImageError(f"{name} is in mode {picture.mode}, which does not convert. Save it as RGB.") from cause


def _unit_float(picture: Image.Image, name: str) -> Image.Image:
    """Grey of floats in [0, 1] as it is; of integers, 65535 is white."""
    values = np.asarray(picture)
    low, high, white = values.min(), values.max(), 1 if picture.mode == "F" else 65535
    if not (low >= 0 and high <= white):  # also false for NaN
        kind = "32-bit floats" if picture.mode == "F" else "integers"
        raise ImageError(
            f"{name} holds {kind} from {low:.4g} to {high:.4g}, and must be in [0, {white}]. Rescale it, or save "
            "8 bits."
        )
    return picture if picture.mode == "F" else Image.fromarray(values.astype(np.float32) / white)


def _tensor(picture: Image.Image, channels: int) -> Float[Tensor, "channels h w"]:
    """Pixels as a tensor. In NumPy, because torch would start threads of its own in every reading thread."""
    values: npt.NDArray[np.float32]
    if picture.mode == "F":  # bicubic overshoots
        values = np.repeat(np.clip(np.asarray(picture), 0, 1)[None], channels, axis=0)
    else:
        pixels = np.asarray(picture)
        pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
        values = np.divide(pixels.transpose(2, 0, 1), 255, dtype=np.float32, order="C")
    return torch.from_numpy(values)


def _pair(size: Pixels) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)


def _numbers(name: str, given: Any) -> tuple[float, ...]:
    values = given if isinstance(given, tuple | list) else [given]
    try:
        found = tuple(float(value) for value in values if not isinstance(value, bool | str))
    except (TypeError, ValueError):
        found = ()
    if not values or len(found) != len(values) or not all(map(math.isfinite, found)):
        raise SettingsError(f"{name} must be a finite number, or one for each channel, got {given!r}.")
    return found
