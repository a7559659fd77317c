"""One image file to pixels: bit-equal to torchvision, turned upright, and every mode that Pillow opens."""

import doctest
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize, ToTensor

from gazeshift.data import _classes, decode, demo_images, read_image
from gazeshift.errors import ImageError, UnknownNameError
from gazeshift.models import Preprocessing, _preprocessing

NATIVE = Preprocessing(resize=None, crop=None)
ORIENTATION = 0x0112


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def noise(height: int = 20, width: int = 30, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def levels(image: Image.Image, form: str = "PNG", **options: object) -> np.ndarray:
    """What read_image makes of it, in levels of 255, (h, w, 3)."""
    return read_image(encoded(image, form, **options)).numpy().transpose(1, 2, 0) * 255


def png(width: int, height: int, pixels: bytes = b"", depth: int = 8, colour: int = 2) -> bytes:
    """A PNG whose header claims any size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_doctests() -> None:
    for module in (_preprocessing, _classes):
        result = doctest.testmod(module)
        assert result.attempted
        assert not result.failed


# --- bit equality with torchvision


def torchvision_steps(resize: int | None, crop: int | None, mode: InterpolationMode) -> Compose:
    steps = [Resize(resize, mode)] if resize else []
    return Compose([*steps, *([CenterCrop(crop)] if crop else []), ToTensor()])


def test_bit_equal_to_torchvision_on_imagenet(data_folder: Path) -> None:
    reference = torchvision_steps(256, 224, InterpolationMode.BICUBIC)
    for path in sorted((data_folder / "imagenet700" / "images").glob("*.jpg"))[::35]:
        with Image.open(path) as image:
            assert torch.equal(read_image(path, Preprocessing()), reference(image.convert("RGB"))), path.name


def test_bit_equal_to_torchvision_on_the_demo_images() -> None:
    source = demo_images()
    reference = torchvision_steps(256, 224, InterpolationMode.BICUBIC)
    for path in source.places:
        with Image.open(path) as image:
            assert torch.equal(read_image(path, Preprocessing()), reference(image.convert("RGB"))), path.name


@pytest.mark.parametrize("size", [(33, 57), (57, 33), (48, 48), (64, 200), (101, 67), (50, 51)])
@pytest.mark.parametrize(
    ("resize", "crop"), [(32, 32), (40, 31), (64, 33), (48, None), (None, 33), (None, 32), (None, None)]
)
@pytest.mark.parametrize("mode", ["bicubic", "bilinear", "nearest"])
def test_bit_equal_to_torchvision_at_odd_sizes(
    size: tuple[int, int], resize: int | None, crop: int | None, mode: str
) -> None:
    image = noise(*size)
    ours = read_image(encoded(image), Preprocessing(resize=resize, crop=crop, interpolation=mode))
    assert torch.equal(ours, torchvision_steps(resize, crop, InterpolationMode(mode))(image))


def test_result_is_contiguous_float32_and_owns_its_memory() -> None:
    first = read_image(encoded(noise()))
    assert first.dtype == torch.float32
    assert first.is_contiguous()
    first.zero_()
    assert read_image(encoded(noise())).sum() > 0


def test_unknown_interpolation_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'bicubic'"):
        read_image(encoded(noise()), Preprocessing(resize=8, crop=8, interpolation="bicubc"))


def test_preprocessing_none_keeps_the_image_as_it_is() -> None:
    assert torch.equal(read_image(encoded(noise())), read_image(encoded(noise()), NATIVE))


# --- orientation


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_upright(form: str, orientation: int) -> None:
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8] = 255  # white in the top left corner
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(form, {})
    shown = levels(Image.fromarray(np.ascontiguousarray(stored)), form, exif=exif, **lossless)
    assert np.abs(shown - upright).max() < 20


def test_broken_exif_neither_warns_nor_loses_the_image() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    whole = encoded(noise(), "JPEG", exif=exif)
    where = whole.index(b"Exif\0\0") + 6
    for damage in (b"\xff" * 8, b"MM\x00*\xff\xff\xff\xff", b"II*\x00\x08\x00\x00\x00\xff\xff"):
        damaged = whole[:where] + damage + whole[where + len(damage) :]
        assert sorted(read_image(damaged).shape) == [3, 20, 30]
    assert read_image(whole).shape == (3, 30, 20)


def test_exif_reader_that_fails_does_not_lose_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Image.Image) -> None:
        raise SyntaxError("not a TIFF file")

    monkeypatch.setattr(Image.Image, "getexif", fail)
    assert np.array_equal(levels(noise()).round(), np.asarray(noise()))


# --- modes


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    values = np.tile(np.array([0, 257, 1000, 32768, 65535, 513, 2, 40000], np.uint16), (8, 1))
    for form in ("PNG", "TIFF", "PPM"):
        np.testing.assert_allclose(levels(Image.fromarray(values), form), np.stack([values / 257] * 3, -1), rtol=1e-6)
    big_endian = Image.frombytes("I;16B", (8, 8), values.astype(">u2").tobytes())
    np.testing.assert_allclose(levels(big_endian, "TIFF")[..., 0], values / 257, rtol=1e-6)


def test_16_bit_grey_from_8_bit_equals_8_bit() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(levels(Image.fromarray(grey.astype(np.uint16) * 257)), levels(Image.fromarray(grey)))


def test_16_bit_grey_is_turned_resized_and_stays_in_range() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    edge = np.zeros((16, 24), np.uint16)
    edge[:, 12:] = 65535
    image = read_image(encoded(Image.fromarray(edge), exif=exif), Preprocessing(resize=48, crop=40))
    assert image.shape == (3, 40, 40)
    assert (image[:, 0].mean(), image[:, -1].mean()) == (0, 1)
    assert image.min() == 0
    assert image.max() == 1


def test_16_bit_colour_is_scaled_not_clipped() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (8, 8, 3))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    ours = read_image(png(8, 8, rows, depth=16)).numpy().transpose(1, 2, 0) * 255
    assert np.abs(ours - values / 257).max() < 1
    eight = values // 257
    rows = b"".join(b"\0" + (row * 257).astype(">u2").tobytes() for row in eight)
    np.testing.assert_allclose(read_image(png(8, 8, rows, depth=16)).numpy().transpose(1, 2, 0) * 255, eight, atol=1e-4)


def test_float_tiff_in_unit_range_is_exact() -> None:
    values = np.random.default_rng(0).random((9, 8), dtype=np.float32)
    assert np.array_equal(read_image(encoded(Image.fromarray(values), "TIFF"))[1].numpy(), values)


@pytest.mark.parametrize("bad", [1.5, -0.1, 255.0, np.nan, np.inf])
def test_float_tiff_beyond_unit_range_is_refused(bad: float) -> None:
    values = np.full((8, 8), 0.5, np.float32)
    values[3, 3] = bad
    with pytest.raises(ImageError, match=r"^f\.tif holds 32-bit floats from .* must be in \[0, 1\]"):
        read_image(encoded(Image.fromarray(values), "TIFF"), name="f.tif")


@pytest.mark.parametrize("kind", ["signed", "12-bit", "inverted"])
def test_deep_grey_whose_white_is_unknown_is_refused(kind: str) -> None:
    content = encoded(Image.fromarray(np.full((8, 8), 100, np.int32 if kind == "signed" else np.uint16)), "TIFF")
    if kind != "signed":  # TIFF entries: tag, type SHORT, count 1, value
        tag, old, new = {"12-bit": (258, 16, 12), "inverted": (262, 1, 0)}[kind]
        entry = struct.pack("<HHIHH", tag, 3, 1, old, 0)
        assert content.count(entry) == 1
        content = content.replace(entry, struct.pack("<HHIHH", tag, 3, 1, new, 0))
    with pytest.raises(ImageError, match=r"^g\.tif holds .*(integers|12-bit grey|inverted grey), whose white"):
        read_image(content, name="g.tif")


def test_transparency_is_laid_over_white() -> None:
    alpha = np.tile(np.array([0, 51, 255, 255, 255, 255, 255, 255], np.uint8), (8, 1))
    red = np.zeros((8, 8, 4), np.uint8)
    red[..., 0], red[..., 3] = 200, alpha
    expected = np.array([[255, 255, 255], [244, 204, 204], [200, 0, 0]])
    for form in ("PNG", "TIFF"):
        np.testing.assert_allclose(levels(Image.fromarray(red), form)[0, :3], expected, atol=1e-3)
    np.testing.assert_allclose(levels(Image.fromarray(red), "WEBP", lossless=True)[0, :3], expected, atol=1.01)
    grey = np.stack([np.zeros((8, 8), np.uint8), alpha], -1)
    np.testing.assert_allclose(levels(Image.fromarray(grey, "LA"))[0, :3, 1], [255, 204, 0], atol=1e-3)


@pytest.mark.parametrize("transparency", [1, bytes([255, 0])])
def test_palette_with_transparency_is_laid_over_white(transparency: int | bytes) -> None:
    image = Image.fromarray(np.tile(np.array([0, 1], np.uint8), (8, 4)), "P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    assert levels(image, transparency=transparency)[0, :2].round().tolist() == [[10, 20, 30], [255, 255, 255]]
    if isinstance(transparency, int):
        assert levels(image, "GIF", transparency=1)[0, :2].round().tolist() == [[10, 20, 30], [255, 255, 255]]


def test_colour_key_is_laid_over_white() -> None:
    pixels = np.full((8, 8, 3), 7, np.uint8)
    pixels[0, 0] = (1, 2, 3)
    assert levels(Image.fromarray(pixels), transparency=(1, 2, 3))[0, :2].round().tolist() == [[255] * 3, [7] * 3]


def test_cmyk_black_ink_is_black() -> None:
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[:8, :, 3], ink[8:, :, 0] = 255, 255
    shown = levels(Image.fromarray(ink, "CMYK"), "TIFF")
    assert shown[0, 0].round().tolist() == [0, 0, 0]
    assert shown[15, 0].round().tolist() == [0, 255, 255]
    photograph = levels(Image.fromarray(ink, "CMYK"), "JPEG", quality=100)
    assert np.abs(photograph - shown).max() < 30


def test_lab_is_converted() -> None:
    white = Image.merge("LAB", [Image.new("L", (8, 8), level) for level in (255, 128, 128)])
    assert levels(white, "TIFF").min() > 250


def test_mode_that_does_not_convert_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("conversion not supported")

    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(ImageError, match=r"^the image is in mode CMYK, which does not convert\. Save it as RGB\.$"):
        read_image(encoded(Image.new("CMYK", (8, 8)), "TIFF"))


def test_one_bit_is_black_and_white() -> None:
    bits = np.eye(8, dtype=bool)
    assert np.array_equal(levels(Image.fromarray(bits))[..., 2], np.eye(8) * 255)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation(form: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
    options = {"lossless": True} if form == "WEBP" else {}
    shown = levels(frames[0], form, save_all=True, append_images=frames[1:], **options)
    assert shown[8, 8].round().tolist() == [255, 0, 0]


def test_multi_picture_jpeg_gives_its_first_picture() -> None:
    shown = levels(Image.new("RGB", (16, 16), "red"), "MPO", save_all=True, append_images=[Image.new("RGB", (16, 16))])
    assert np.abs(shown[8, 8] - [255, 0, 0]).max() < 3


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "AVIF", "JPEG2000"])
def test_every_listed_format_opens(form: str) -> None:
    assert form in decode.FORMATS
    Image.init()
    if form not in Image.SAVE:
        pytest.skip(f"this build of Pillow has no {form}")
    assert np.abs(levels(Image.new("RGB", (16, 16), (200, 100, 50)), form)[8, 8] - [200, 100, 50]).max() < 6
