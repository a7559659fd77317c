"""Reading a source: lazily, in order, with unreadable images recorded, and limits."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gazeshift.data import image_source, open_source, read_image
from gazeshift.errors import DataError, SettingsError
from gazeshift.models import Preprocessing
from gazeshift.records import Sample

SMALL = Preprocessing(resize=10, crop=8)


def write(path: Path, level: int = 0, size: tuple[int, int] = (12, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(path, "PNG")
    return path


def mixed(tmp_path: Path) -> Path:
    for k in range(30):
        write(tmp_path / f"{k:02d}.png", level=k * 8)
    (tmp_path / "05.png").write_bytes(b"no image")
    (tmp_path / "06.png").write_bytes(b"")
    (tmp_path / "labels.csv").write_text("file,label\n" + "".join(f"{k:02d}.png,{k}\n" for k in range(30)))
    return tmp_path


def test_unreadable_images_are_skipped_and_recorded(tmp_path: Path) -> None:
    source = open_source(mixed(tmp_path))
    assert len(source) == 30
    batch = source.read(4, 8, SMALL)
    assert batch.ids == ("04.png", "07.png")
    assert batch.labels is not None
    assert batch.labels.tolist() == [4, 7]
    assert batch.labels.dtype == torch.int64
    assert [skipped.id for skipped in batch.skipped] == ["05.png", "06.png"]
    assert "05.png is not an image" in batch.skipped[0].reason
    assert torch.equal(batch.images[1], read_image(tmp_path / "07.png", SMALL))


def test_a_batch_of_nothing_but_unreadable_images(tmp_path: Path) -> None:
    batch = open_source(mixed(tmp_path)).read(5, 7, SMALL)
    assert (batch.ids, batch.images.shape, len(batch.skipped)) == ((), (0, 3, 8, 8), 2)
    assert batch.labels is not None
    assert batch.labels.shape == (0,)


def test_file_that_vanishes_after_opening_is_skipped(tmp_path: Path) -> None:
    source = open_source(mixed(tmp_path))
    (tmp_path / "01.png").unlink()
    (skipped,) = source.read(0, 3, SMALL).skipped
    assert skipped.reason.startswith("01.png cannot be read: No such file")


def test_batches_are_the_ranges_in_order(tmp_path: Path) -> None:
    source = open_source(mixed(tmp_path))
    batches = list(source.batches(7, SMALL))
    assert len(batches) == 5
    for k, batch in enumerate(batches):
        alone = source.read(7 * k, 7 * k + 7, SMALL)
        assert (batch.ids, batch.skipped) == (alone.ids, alone.skipped)
        assert torch.equal(batch.images, alone.images)
    levels = torch.cat([batch.images for batch in batches])[:, 0, 0, 0] * 255
    assert levels.round().tolist() == [8 * k for k in range(30) if k not in {5, 6}]


def test_ids_may_be_read_in_any_order(tmp_path: Path) -> None:
    source = open_source(mixed(tmp_path))
    batch = source.read(ids=("09.png", "02.png", "09.png"), preprocessing=SMALL)
    assert (batch.images[:, 0, 0, 0] * 255).round().tolist() == [72, 16, 72]
    with pytest.raises(DataError, match="holds no image with the id 'zz'"):
        source.read(ids=("zz",))


def test_samples_carry_the_hash_of_the_file(tmp_path: Path) -> None:
    (sample,) = open_source(mixed(tmp_path)).samples(3, 4, SMALL)
    assert isinstance(sample, Sample)
    assert sample.sha256 == hashlib.sha256((tmp_path / "03.png").read_bytes()).hexdigest()
    assert (sample.id, sample.label) == ("03.png", 3)


def test_decodes_only_a_few_images_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    decode = image_source.decode

    def spy(encoded: bytes, preprocessing: Preprocessing | None, *, name: str, note: object) -> torch.Tensor:
        decoded.append(name)
        return decode(encoded, preprocessing, name=name, note=note)

    monkeypatch.setattr(image_source, "decode", spy)
    source = open_source(mixed(tmp_path))
    assert decoded == []
    batches = source.batches(4, SMALL)
    assert decoded == []
    next(batches)
    assert len(decoded) <= 4 + image_source.AHEAD
    batches.close()  # type: ignore[attr-defined]
    assert len(decoded) <= 4 + image_source.AHEAD


def test_mixed_sizes_say_which_and_what_to_do(tmp_path: Path) -> None:
    write(tmp_path / "a.png", size=(12, 10))
    write(tmp_path / "b.png", size=(12, 10))
    write(tmp_path / "c.png", size=(16, 20))
    with pytest.raises(DataError, match=r"'a\.png' is 12 x 10 pixels and 'c\.png' is 16 x 20\..*--input-size 10"):
        open_source(tmp_path).read()
    assert open_source(tmp_path).read(0, 2).images.shape == (2, 3, 10, 12)
    assert open_source(tmp_path).read(preprocessing=SMALL).images.shape == (3, 3, 8, 8)


def test_batch_size_below_one(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    with pytest.raises(SettingsError, match="at least 1 image, got a size of 0"):
        next(open_source(tmp_path).batches(0))


def test_source_of_files_travels_to_other_processes(tmp_path: Path) -> None:
    source = open_source(mixed(tmp_path))
    other = pickle.loads(pickle.dumps(source))  # noqa: S301
    assert torch.equal(other.read(0, 3, SMALL).images, source.read(0, 3, SMALL).images)


# --- limits


def test_limit_takes_the_first_or_a_seeded_choice(tmp_path: Path) -> None:
    mixed(tmp_path)
    assert open_source(tmp_path, limit=3).ids == ("00.png", "01.png", "02.png")
    chosen = open_source(tmp_path, limit=5, seed=1)
    expected = sorted(np.random.default_rng(1).choice(30, 5, replace=False).tolist())
    assert chosen.labels == tuple(expected)
    assert chosen.ids == tuple(f"{k:02d}.png" for k in expected)
    assert chosen.read(preprocessing=SMALL).images[:, 0, 0, 0].mul(255).round().tolist() == [8 * k for k in expected]
    assert open_source(tmp_path, limit=5, seed=2).ids != chosen.ids
    assert len(open_source(tmp_path, limit=99, seed=1)) == 30
    with pytest.raises(SettingsError, match="limit must be at least 1 image, got 0"):
        open_source(tmp_path, limit=0)
