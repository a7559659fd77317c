"""What cannot be read is refused in one sentence; Pillow's warnings and global state stay as they are."""

import io
import os
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from gazeshift.data import decode, pillow_warnings, read_image
from gazeshift.errors import DataError, ImageError
from gazeshift.models import Preprocessing

ORIENTATION = 0x0112


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def noise(height: int = 20, width: int = 30, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def png(width: int, height: int, pixels: bytes = b"", depth: int = 8, colour: int = 2) -> bytes:
    """A PNG whose header claims any size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


# --- what is refused


def refusal(content: bytes, preprocessing: Preprocessing | None = None) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(content, preprocessing, name="cats/a.png")
    message = str(caught.value)
    assert message.startswith("cats/a.png ")
    assert "\n" not in message
    return message


def test_not_an_image() -> None:
    assert "is not an image" in refusal(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n")
    assert "is not an image" in refusal(b"<svg xmlns='http://www.w3.org/2000/svg'/>")


def test_zero_bytes() -> None:
    assert "is empty (zero bytes)" in refusal(b"")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM"])
def test_truncated(form: str) -> None:
    whole = encoded(noise(40, 50), form)
    assert "truncated" in refusal(whole[: len(whole) // 2]) or form == "WEBP"
    for share in (0.02, 0.1, 0.7):
        refusal(whole[: int(len(whole) * share) + 1])


@pytest.mark.parametrize("size", [(30_000, 30_000), (10_000, 10_000), (8_001, 8_000), (2**31 - 1, 2**31 - 1)])
def test_decompression_bomb_is_refused_before_decoding(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        pytest.fail("the image was decoded")

    monkeypatch.setattr(Image.Image, "load", never)
    monkeypatch.setattr(ImageFile.ImageFile, "load", never)
    assert "more than the 64 million pixels allowed, and was not decoded" in refusal(png(*size))


def test_the_limit_itself_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_PIXELS", 600)
    assert read_image(encoded(noise(20, 30))).shape == (3, 20, 30)
    assert "claims 31 x 20, more than" in refusal(encoded(noise(20, 31)))


def test_a_long_strip_may_not_grow_beyond_the_limit() -> None:
    strip = encoded(Image.new("L", (20_000, 8)))
    assert read_image(strip).shape == (3, 8, 20_000)
    assert "resized 640000 x 256" in refusal(strip, Preprocessing())


def test_too_small() -> None:
    assert "is 7 x 30 pixels, wanted at least 8" in refusal(encoded(noise(30, 7)))
    assert read_image(encoded(noise(8, 8))).shape == (3, 8, 8)


def test_smaller_than_the_crop_says_to_resize() -> None:
    message = refusal(encoded(noise(40, 20)), Preprocessing(resize=None, crop=32))
    assert "is 20 x 40 pixels, too small for the crop of 32 x 32" in message
    assert "Resize it first" in message
    assert "--input-size 32" in message
    assert read_image(encoded(noise(32, 40)), Preprocessing(resize=None, crop=32)).shape == (3, 32, 32)


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"absent\.png cannot be read: No such file"):
        read_image(tmp_path / "absent.png")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(encoded(noise()))
    path.chmod(0)
    with pytest.raises(ImageError, match=r"secret\.png cannot be read: Permission denied"):
        read_image(path)


def test_permission_error_becomes_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(encoded(noise()))

    def deny(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", deny)
    with pytest.raises(ImageError, match=r"secret\.png cannot be read: Permission denied"):
        read_image(path)


def test_a_folder_or_a_pipe_is_no_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path, tmp_path / "pipe.png"):  # reading a pipe nobody writes to would wait for ever
        with pytest.raises(ImageError, match="is not a regular file"):
            read_image(path)


def test_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(decode.MAX_BYTES + 1)
    with pytest.raises(ImageError, match="larger than 512 MiB"):
        read_image(tmp_path / "huge.png")


def test_message_stays_one_line_for_a_hostile_name() -> None:
    with pytest.raises(ImageError) as caught:
        read_image(b"", name='a\nb"<script>\udcff\x1b[31m.png')
    assert str(caught.value).startswith('a\\nb"<script>\\udcff\\x1b[31m.png is empty')


def test_errors_are_data_errors_and_value_errors() -> None:
    for kind in (DataError, ValueError):
        with pytest.raises(kind):
            read_image(b"")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM"])
def test_damaged_bytes_give_an_image_or_an_image_error(form: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    whole = np.frombuffer(
        encoded(noise(16, 16), form, **({} if form in {"GIF", "BMP", "PPM"} else {"exif": exif})), "u1"
    )
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        damaged = whole.copy()
        damaged[rng.integers(0, min(len(whole), 200), 3)] = rng.integers(0, 256, 3)
        try:
            image = read_image(damaged.tobytes(), name="d")
            assert 0 <= image.min() <= image.max() <= 1
        except ImageError:
            refused += 1
    assert refused < 150 or form == "PNG"  # PNG has a checksum everywhere


# --- warnings and threads


def test_pillows_warnings_are_silenced_and_only_while_reading() -> None:
    before = list(warnings.filters)
    with pytest.raises(UserWarning, match="somebody else"), pillow_warnings.quiet_pillow():
        warnings.warn("somebody else's", UserWarning, stacklevel=1)
    with pillow_warnings.quiet_pillow():
        warnings.warn_explicit("odd tag", UserWarning, "TiffImagePlugin.py", 1, module="PIL.TiffImagePlugin")
    with pytest.raises(UserWarning, match="odd tag"):
        warnings.warn_explicit("odd tag", UserWarning, "TiffImagePlugin.py", 1, module="PIL.TiffImagePlugin")
    assert list(warnings.filters) == before


def test_silence_lasts_until_the_last_thread_leaves() -> None:
    before, inside, leave = list(warnings.filters), threading.Event(), threading.Event()

    def slow_reader() -> None:
        with pillow_warnings.quiet_pillow():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=slow_reader)
    thread.start()
    inside.wait(10)
    read_image(encoded(noise()))  # comes and goes while the other one still reads
    warnings.warn_explicit("odd tag", UserWarning, "Image.py", 1, module="PIL.Image")
    leave.set()
    thread.join()
    assert list(warnings.filters) == before


def test_many_threads_read_the_same_and_leave_pillow_alone() -> None:
    globals_before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    filters = list(warnings.filters)
    contents = [encoded(noise(60 + k, 80, seed=k), "JPEG") for k in range(40)] + [png(10_000, 10_000)] * 8
    alone = [read_image(content, Preprocessing(resize=40, crop=32)) for content in contents[:40]]

    def read(content: bytes) -> torch.Tensor | None:
        try:
            return read_image(content, Preprocessing(resize=40, crop=32))
        except ImageError:
            return None

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(read, contents))
    assert all(torch.equal(one, other) for one, other in zip(alone, together[:40], strict=True))
    assert together[40:] == [None] * 8
    assert globals_before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    assert list(warnings.filters) == filters
