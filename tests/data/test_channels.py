"""Files for models of any number of channels and any rectangle: the right numbers, or one sentence."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Resize, ToTensor

from gazeshift.data import open_source, read_image
from gazeshift.errors import ImageError
from gazeshift.models import Classifier, Preprocessing

COLOUR = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]
ALPHA = np.concatenate([COLOUR, GREY[..., None]], axis=2)
DEEP = (GREY.astype(np.uint16) << 8) + GREY.T[:30, :1]


def encoded(values, form="PNG"):
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, form)
    return stream.getvalue()


def taking(channels):
    return Preprocessing(resize=None, crop=None, channels=channels)


@pytest.mark.parametrize("dtype", ["grey", "deep", "float"])
def test_one_channel_is_grey_with_all_its_bits(dtype):
    values, form, white = {
        "grey": (GREY, "PNG", 255),
        "deep": (DEEP, "PNG", 65535),
        "float": (GREY.astype(np.float32) / 256, "TIFF", 1),
    }[dtype]
    image = read_image(encoded(values, form), taking(1))
    assert image.shape == (1, 30, 40)
    np.testing.assert_array_equal(image[0].numpy(), values.astype(np.float32) / np.float32(white))
    assert torch.equal(read_image(encoded(values, form), taking(3)), image.expand(3, -1, -1))


def test_colour_becomes_grey_by_the_standard():
    """ITU-R 601, the weights that everybody's greyscale has, in whole levels."""
    image = read_image(encoded(COLOUR), taking(1))[0].numpy() * 255
    assert np.abs(image - COLOUR @ np.array([0.299, 0.587, 0.114])).max() <= 1


def test_transparency_is_a_channel_where_the_model_takes_one():
    four = read_image(encoded(ALPHA), taking(4))
    np.testing.assert_array_equal(four.numpy().transpose(1, 2, 0) * 255, ALPHA.astype(np.float32))
    two = read_image(encoded(ALPHA), taking(2)) * 255
    assert two.shape == (2, 30, 40)
    np.testing.assert_array_equal(two[1].numpy(), GREY.astype(np.float32))
    assert read_image(encoded(ALPHA), taking(1)).shape == (1, 30, 40)


@pytest.mark.parametrize(
    ("values", "form", "channels", "told"),
    [
        (COLOUR, "PNG", 4, r"holds 3 channels \(RGB\), and the model takes 4"),
        (GREY, "PNG", 2, r"holds 1 channels \(L\), and the model takes 2"),
        (DEEP, "PNG", 4, r"holds 1 channels \(I;16\), and the model takes 4"),
        (GREY.astype(np.float32) / 256, "TIFF", 2, r"holds 1 channels \(F\), and the model takes 2"),
        (ALPHA, "PNG", 5, r"holds 4 channels \(RGBA\), and the model takes 5"),
        (DEEP, "PNG", 13, "and the model takes 13"),
    ],
)
def test_channels_that_a_file_has_not_are_refused(tmp_path, values, form, channels, told):
    with pytest.raises(ImageError, match=f"{told}.*give others as tensors, in Python"):
        read_image(encoded(values, form), taking(channels))
    (tmp_path / f"one.{form.lower()}").write_bytes(encoded(values, form))
    batch = open_source(tmp_path).read(preprocessing=taking(channels))
    assert batch.images.shape == (0, channels, 0, 0)
    assert "the model takes" in batch.skipped[0].reason


def test_a_batch_of_nothing_has_the_models_shape(tmp_path):
    (tmp_path / "one.png").write_bytes(b"nothing")
    batch = open_source(tmp_path).read(preprocessing=Preprocessing(resize=(8, 16), crop=(8, 16), channels=1))
    assert batch.images.shape == (0, 1, 8, 16)


def test_integers_beyond_16_bits_are_refused():
    picture = Image.fromarray(np.array([[0, 70000]] * 2, np.int32))
    classifier = Classifier(torch.nn.Flatten(), name="flat", preprocessing=taking(3))
    with pytest.raises(ImageError, match=r"holds integers from 0 to 7e\+04, and must be in \[0, 65535\]"):
        classifier.prepare(picture)


# --- rectangles


@pytest.mark.parametrize(("height", "width"), [(30, 40), (97, 31), (20, 200), (64, 128)])
def test_squashed_as_torchvisions_resize_of_a_pair(height, width):
    image = Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    ours = read_image(
        stream.getvalue(), Preprocessing(resize=(70, 140), crop=(64, 128), interpolation="bilinear", fit="squash")
    )
    assert torch.equal(ours, Compose([Resize((70, 140)), CenterCrop((64, 128)), ToTensor()])(image))


def test_covered_without_distortion():
    """A disc stays a disc in a crop twice as wide as high, whatever the aspect of the file."""
    rows, columns = np.mgrid[:120, :120]
    disc = ((rows - 59.5) ** 2 + (columns - 59.5) ** 2 < 20**2).astype(np.uint8) * 255
    for values in (disc, np.pad(disc, ((0, 0), (60, 60))), np.pad(disc, ((60, 60), (0, 0)))):
        preprocessing = Preprocessing(resize=(60, 120), crop=(60, 120), fit="cover", channels=1)
        seen = read_image(encoded(values), preprocessing)[0]
        high, wide = (int((seen > 0.5).any(axis).sum()) for axis in (1, 0))
        assert abs(high - wide) <= 1
        assert 19 <= wide <= 41


@pytest.mark.parametrize(("fit", "colour"), [("pad", (51, 102, 204)), ("frame", (0, 0, 0))])
def test_what_is_put_around_a_picture(fit, colour):
    preprocessing = Preprocessing(resize=16, crop=(16, 48), mean=(0.2, 0.4, 0.8), fit=fit)
    image = read_image(encoded(np.full((20, 20, 3), 255, np.uint8)), preprocessing) * 255
    assert image.shape == (3, 16, 48)
    assert image[:, :, 16:32].eq(255).all()
    for side in (image[:, :, :16], image[:, :, 32:]):
        assert side.round().eq(torch.tensor(colour)[:, None, None]).all()


def turned(values, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG", exif=exif)
    return stream.getvalue()


def test_a_picture_is_measured_after_it_is_turned_upright():
    """40 x 30 on its side is 30 x 40, which a crop of 40 rows and 24 columns fits into, and one of 24 x 40 does not."""
    fits = Preprocessing(resize=None, crop=(40, 24))
    assert read_image(turned(COLOUR, 6), fits).shape == (3, 40, 24)
    with pytest.raises(ImageError, match="is 40 x 30 pixels, too small for the crop of 24 x 40"):
        read_image(turned(COLOUR, 1), fits)


def test_a_picture_of_pillow_is_as_little_padded_in_silence_as_a_file():
    classifier = Classifier(torch.nn.Flatten(), name="flat", preprocessing=Preprocessing(resize=None, crop=64))
    with pytest.raises(ImageError, match="the picture is 40 x 30 pixels, too small for the crop of 64 x 64"):
        classifier.prepare(Image.fromarray(COLOUR))


@pytest.mark.parametrize("fit", ["cover", "pad"])
def test_an_extreme_aspect_is_refused_or_a_line(fit):
    strip = encoded(np.zeros((8, 20_000), np.uint8))
    preprocessing = Preprocessing(resize=(512, 256), crop=(512, 256), fit=fit)
    if fit == "pad":
        assert read_image(strip, preprocessing).shape == (3, 512, 256)
    else:
        with pytest.raises(ImageError, match="resized 1280000 x 512, more than the 64 million pixels allowed"):
            read_image(strip, preprocessing)


# --- 12 bits in 16


def deep_colour(values):
    """A PNG of 16-bit colour, which Pillow does not write."""
    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "colour"])
def test_12_bits_in_16_are_nearly_black_and_said_to_be(kind):
    twelve = np.random.default_rng(0).integers(0, 4096, (20, 30)).astype(np.uint16)
    content = deep_colour(np.stack([twelve] * 3, 2)) if kind == "colour" else encoded(twelve, kind)
    with pytest.warns(
        UserWarning, match=r"^scan has 16 bits, of which 65535 is white, and no pixel above [56]\..% of that"
    ):
        image = read_image(content, name="scan")
    assert image.max() <= 4095 / 65535 + 1 / 255


@pytest.mark.parametrize("values", [DEEP, np.zeros((20, 30), np.uint16), GREY, GREY // 20])
def test_other_pictures_are_not_said_to_be_black(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(encoded(values))


def test_a_folder_of_12_bit_scans_is_told_of_once(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(encoded(np.full((10, 10), 4000 + number, np.uint16)))
    source = open_source(tmp_path)
    with pytest.warns(UserWarning, match=r"\.png has 16 bits.* Others like it are not named") as told:
        assert len(source.read().ids) == 3
    assert len(told) == 1
