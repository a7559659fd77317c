"""Pictures for a model: fitted to its size, or taken as they are; and what is said of those whose pixels changed."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from gazeshift.data import PictureReader, open_source, read_image
from gazeshift.models import Preprocessing

FITTING = Preprocessing(resize=40, crop=32)
SIDEWAYS = 6  # EXIF: to be turned by 90 degrees


def write(file: Path, size: tuple[int, int], orientation: int = 1) -> Path:
    image = Image.effect_noise(size, 80).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(file, exif=exif)
    return file


def read(reader: PictureReader) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    batches = list(reader.batches(8))
    images = {name: image for batch in batches for name, image in zip(batch.ids, batch.images, strict=True)}
    return images, {skip.id: skip.reason for batch in batches for skip in batch.skipped}


def test_pictures_of_the_models_size_are_taken_as_they_are_and_no_others(tmp_path: Path) -> None:
    for name, size in {
        "own.png": (32, 32),
        "wide.png": (64, 32),
        "large.png": (300, 200),
        "small.png": (16, 16),
    }.items():
        write(tmp_path / name, size)
    (tmp_path / "bad.png").write_bytes(b"no image")
    reader = PictureReader(open_source(tmp_path), FITTING, "as-is")
    images, skipped = read(reader)
    assert images.keys() == {"own.png"}
    assert torch.equal(images["own.png"], read_image(tmp_path / "own.png"))
    assert skipped["wide.png"].startswith("wide.png is 64 x 32 pixels, and as-is takes the model's 32 x 32 alone.")
    assert skipped["small.png"].startswith("small.png is 16 x 16 pixels, and as-is takes the model's 32 x 32 alone.")
    assert "bad.png is not an image" in skipped["bad.png"]
    assert (reader.resized("own.png"), reader.summary) == (None, None)


def test_what_became_of_the_pixels_is_said_once_and_of_each_picture(tmp_path: Path) -> None:
    for name, size in {"own.png": (32, 32), "large.png": (300, 200)}.items():
        write(tmp_path / name, size)
    reader = PictureReader(open_source(tmp_path), FITTING)
    images, _ = read(reader)
    assert torch.equal(images["own.png"], read_image(tmp_path / "own.png", FITTING))
    assert reader.resized("own.png") == "32 x 32 to 40 x 40 and cropped to 32 x 32"
    assert reader.resized("large.png") == "300 x 200 to 32 x 32"
    assert reader.summary == (
        "2 of 2 pictures were resized or cropped for the model, 1 of them though they have its 32 x 32: that undoes "
        "most attacks. --pixels as-is takes such pictures as they are."
    )
    (tmp_path / "own.png").unlink()
    reader = PictureReader(open_source(tmp_path), FITTING)
    read(reader)
    assert reader.summary == "1 of 1 pictures were resized or cropped for the model, which weakens an attack in them."
    kept = PictureReader(open_source(write(tmp_path / "own.png", (32, 32))), Preprocessing(resize=32, crop=32))
    read(kept)
    assert (kept.resized("own.png"), kept.summary) == (None, None)


def test_a_picture_that_lies_on_its_side_has_the_size_of_the_upright_one(tmp_path: Path) -> None:
    tall = Preprocessing(resize=(64, 32), crop=(64, 32))
    source = open_source(write(tmp_path / "a.jpg", (64, 32), SIDEWAYS))
    images, skipped = read(PictureReader(source, tall, "as-is"))
    assert (images["a.jpg"].shape, skipped) == ((3, 64, 32), {})
    fitted = PictureReader(source, tall)
    read(fitted)
    assert fitted.summary is None


def test_a_model_without_a_size_takes_every_picture_as_it_is(tmp_path: Path) -> None:
    write(tmp_path / "a.png", (20, 30))
    write(tmp_path / "b.png", (30, 20))
    images, skipped = read(PictureReader(open_source(tmp_path), Preprocessing(resize=40, crop=None), "as-is"))
    assert {name: tuple(image.shape) for name, image in images.items()} == {"a.png": (3, 30, 20), "b.png": (3, 20, 30)}
    assert not skipped


def test_a_model_of_grey_images_takes_them_as_they_are(tmp_path: Path) -> None:
    write(tmp_path / "a.png", (32, 32))
    images, _ = read(
        PictureReader(open_source(tmp_path), Preprocessing(resize=40, crop=32, mean=0.5, std=1.0, channels=1), "as-is")
    )
    assert images["a.png"].shape == (1, 32, 32)


@pytest.mark.parametrize("pixels", ["fit", "as-is"])
def test_rows_of_a_table_count_like_files(tmp_path: Path, pixels: str) -> None:
    files = [io.BytesIO(), io.BytesIO()]
    for file, size in zip(files, ((32, 32), (48, 32)), strict=True):
        Image.new("RGB", size).save(file, "PNG")
    pq.write_table(pa.table({"image": [file.getvalue() for file in files]}), tmp_path / "t.parquet")
    reader = PictureReader(open_source(tmp_path / "t.parquet"), FITTING, pixels)
    images, skipped = read(reader)
    assert (len(images), len(skipped)) == ((2, 0) if pixels == "fit" else (1, 1))
    assert (reader.summary is None) == (pixels == "as-is")
