"""DAmageNet's two layouts and plain folder pairs, with their traps (SPEC 11.2, check 23)."""

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gazeshift.data import open_set, verify_set
from gazeshift.data._damagenet import counterpart
from gazeshift.errors import DataError
from gazeshift.models import Preprocessing

SIZES = [(300, 224), (500, 375), (375, 500), (224, 301), (640, 427), (501, 377)]


def photograph(size: tuple[int, int], seed: int) -> Image.Image:
    """Noise, in which every other filter or offset than the right one shows."""
    levels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(levels)


def by_hand(picture: Image.Image) -> np.ndarray:
    """Short side to 224 by the pixel under each new pixel's centre, long side truncated, middle 224 columns or rows.

    A centre may fall exactly between two pixels: then the rounding of Pillow's running sum decides.
    """
    levels = np.asarray(picture).astype(int)
    high, wide = levels.shape[:2]
    short = min(high, wide)
    new_high = 224 if high == short else math.floor(224 / short * high)
    new_wide = 224 if wide == short else math.floor(224 / short * wide)
    rows, columns = under_centres(high, new_high), under_centres(wide, new_wide)
    top, left = (new_high - 224) // 2, (new_wide - 224) // 2
    return levels[rows][:, columns][top : top + 224, left : left + 224]


def under_centres(old: int, new: int) -> list[int]:
    place, found = old / new * 0.5, []
    for _ in range(new):
        found.append(math.floor(place))
        place += old / new
    return found


def as_tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(picture).astype(np.float32).transpose(2, 0, 1) / np.float32(255))


def make_damagenet(folder: Path, *, by_class: bool, change: int = 20) -> tuple[Path, Path]:
    """Attacked PNG files that differ from the NEAREST crop by at most `change` levels; and ImageNet's JPEG (as PNG)."""
    clean, attacked = folder / "ILSVRC2012_img_val", folder / "DAmageNet"
    clean.mkdir()
    lines = []
    for number, size in enumerate(SIZES, 1):
        picture, name = photograph(size, number), f"ILSVRC2012_val_{number:08d}"
        picture.save(clean / f"{name}.png")
        lines.append(f"{name}.JPEG {(65, 970, 230, 809, 516, 57)[number - 1]}")
        noise = np.random.default_rng(100 + number).integers(-change, change + 1, (224, 224, 3))
        target = attacked / ("n01440764" if number % 2 else "n01443537") if by_class else attacked
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(by_hand(picture) + noise, 0, 255).astype(np.uint8)).save(target / f"{name}.png")
    if not by_class:
        (folder / "val.txt").write_text("\n".join(lines) + "\n")
    return attacked, clean


@pytest.mark.parametrize("size", SIZES)
def test_the_clean_counterpart_is_the_nearest_crop(size):
    picture = photograph(size, 7)
    ours = (counterpart(as_tensor(picture)) * 255).round().numpy().transpose(1, 2, 0)
    np.testing.assert_array_equal(ours, by_hand(picture))


def test_version_2_is_flat_with_labels_from_val_txt(tmp_path):
    attacked, clean = make_damagenet(tmp_path, by_class=False)
    found = open_set(attacked, clean=clean)
    assert found.manifest["kind"] == "DAmageNet v2"
    assert found.labels.tolist() == [65, 970, 230, 809, 516, 57]
    whole = found.read()
    assert whole.attacked.shape == whole.images.shape == (6, 3, 224, 224)
    assert 0 < (whole.attacked - whole.images).abs().max() <= 20.001 / 255
    for own, image in zip(whole.ids, whole.images, strict=True):
        with Image.open(clean / f"{own}.png") as picture:
            np.testing.assert_array_equal((image * 255).round().numpy().transpose(1, 2, 0), by_hand(picture))


def test_version_1_has_class_folders(tmp_path):
    attacked, clean = make_damagenet(tmp_path, by_class=True)
    found = open_set(attacked, clean=clean)
    assert found.manifest["kind"] == "DAmageNet v1"
    assert found.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert found.ids[0] == "ILSVRC2012_val_00000001"
    assert (found.read().attacked - found.read().images).abs().max() <= 20.001 / 255
    for wnid, number in (("n01440764", "388"), ("n01443537", "7")):
        (attacked / wnid).rename(attacked / number)
    assert open_set(attacked).labels.tolist() == [388, 7, 388, 7, 388, 7]
    with pytest.raises(DataError, match=r"labelled by its folders. Leave labels out"):
        open_set(attacked, labels=tmp_path / "val.txt")


def test_without_the_clean_files_and_labels_it_is_still_a_set(tmp_path):
    attacked, _ = make_damagenet(tmp_path, by_class=False)
    (tmp_path / "val.txt").unlink()
    found = open_set(attacked)
    (batch,) = found.batches(10)
    assert batch.images is None
    assert batch.labels is None
    assert found.labels is None
    assert found.images is None
    assert "no val.txt was found" in found.manifest["notes"][0]


@pytest.mark.parametrize("resampling", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
def test_an_impossible_difference_is_warned_of(tmp_path, resampling):
    """As when the clean images had been resized by another filter."""
    attacked, clean = make_damagenet(tmp_path, by_class=False)
    file = clean / "ILSVRC2012_val_00000002.png"
    with Image.open(file) as picture:
        smooth = picture.resize((298, 224), resampling)
    smooth.save(file)
    with pytest.warns(UserWarning, match=r"ILSVRC2012_val_00000002 differs .* by \d+ grey levels, more than the 27"):
        open_set(attacked, clean=clean).read()


def test_a_possible_difference_is_not(tmp_path):
    attacked, clean = make_damagenet(tmp_path, by_class=False, change=27)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = open_set(attacked, clean=clean).read()
    assert (whole.attacked - whole.images).abs().max() * 255 == pytest.approx(27)


def test_larger_models_get_a_black_frame_and_smaller_ones_the_middle(tmp_path):
    attacked, clean = make_damagenet(tmp_path, by_class=False)
    own = open_set(attacked, clean=clean).read()
    large, small = (open_set(attacked, clean=clean, size=size).read() for size in (299, 200))
    for name in ("images", "attacked"):
        framed = getattr(large, name)
        assert framed.shape == (6, 3, 299, 299)
        assert torch.equal(framed[:, :, 37 : 37 + 224, 37 : 37 + 224], getattr(own, name))
        assert framed.sum() == pytest.approx(float(getattr(own, name).sum()), rel=1e-6)
        assert torch.equal(getattr(small, name), getattr(own, name)[:, :, 12:212, 12:212])


def test_an_image_of_another_size_is_skipped_and_named(tmp_path):
    attacked, clean = make_damagenet(tmp_path, by_class=False)
    photograph((256, 256), 0).save(attacked / "ILSVRC2012_val_00000003.png")
    (attacked / "ILSVRC2012_val_00000004.png").write_bytes(b"")
    whole = open_set(attacked, clean=clean).read()
    assert len(whole) == 4
    assert [skip.id[-1] for skip in whole.skipped] == ["3", "4"]
    assert "is 256 x 256 pixels, and DAmageNet's are 224 x 224" in whole.skipped[0].reason
    assert len(verify_set(open_set(attacked, clean=clean)).problems) == 2


def test_a_missing_counterpart_or_label_is_counted(tmp_path):
    attacked, clean = make_damagenet(tmp_path, by_class=False)
    (clean / "ILSVRC2012_val_00000001.png").unlink()
    lines = (tmp_path / "val.txt").read_text().splitlines()
    (tmp_path / "val.txt").write_text("\n".join(lines[:-1]))
    found = open_set(attacked, clean=clean)
    assert found.manifest["counts"] == {"asked": 6, "used": 4, "skipped": 2}
    reasons = [skip["reason"] for skip in found.manifest["skipped"]]
    assert reasons == ["no clean image of that name", "no label"]
    with pytest.raises(
        DataError, match=r"6 attacked images, and none is usable; the first.*no clean image of that name"
    ):
        open_set(attacked, clean=attacked.parent / make_other(tmp_path))


def make_other(folder: Path) -> str:
    (folder / "other").mkdir()
    photograph((224, 224), 0).save(folder / "other" / "cat.png")
    return "other"


def test_imagenet_itself_is_no_damagenet(tmp_path):
    _, clean = make_damagenet(tmp_path, by_class=False)
    with pytest.raises(DataError, match=r"is no adversarial set.* Give the clean images' folder too"):
        open_set(clean)


def make_pairs(folder: Path) -> Path:
    draw = np.random.default_rng(0)
    for name in ("cats/1", "cats/2", "dogs/1"):
        levels = draw.integers(30, 200, (20, 24, 3))
        for half, suffix in (("clean", ".png"), ("attacked", ".bmp")):
            file = folder / half / f"{name}{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            shown = levels if half == "clean" else levels + draw.integers(-8, 9, levels.shape)
            Image.fromarray(shown.astype(np.uint8)).save(file)
    (folder / "labels.csv").write_text("file,label\ncats/1.jpeg,0\ncats/2.png,0\ndogs/1.png,1\n")
    return folder


def test_plain_folder_pairs_belong_together_by_path(tmp_path):
    folder = make_pairs(tmp_path / "pairs")
    found = open_set(folder)
    assert found.manifest["kind"] == "folders"
    assert found.ids == ("cats/1", "cats/2", "dogs/1")
    assert found.labels.tolist() == [0, 0, 1]
    assert 0 < (found.attacked - found.images).abs().max() <= 8.001 / 255
    assert [len(batch) for batch in found.batches(2)] == [2, 1]


def test_clean_files_may_need_the_models_preprocessing(tmp_path):
    folder = make_pairs(tmp_path / "pairs")
    with Image.open(folder / "clean" / "cats" / "1.png") as picture:
        picture.resize((48, 40), Image.Resampling.NEAREST).save(folder / "clean" / "cats" / "1.png")
    whole = open_set(folder).read()
    assert "is 24 x 20 pixels attacked and 48 x 40 clean" in whole.skipped[0].reason
    fits = Preprocessing(resize=20, crop=None, interpolation="nearest")
    assert not open_set(folder, preprocessing=fits).read().skipped


def test_pairs_that_differ_in_the_suffix_alone_are_refused(tmp_path):
    folder = make_pairs(tmp_path / "pairs")
    (folder / "attacked" / "cats" / "1.png").write_bytes((folder / "clean" / "cats" / "1.png").read_bytes())
    with pytest.raises(DataError, match="another image of that stem"):
        open_set(folder)


def test_labels_that_name_none_are_refused(tmp_path):
    folder = make_pairs(tmp_path / "pairs")
    (folder / "labels.csv").write_text("file,label\nbirds/1.png,0\n")
    with pytest.raises(DataError, match=r"labels.csv names none of the 3 images: it names 'birds/1.png'"):
        open_set(folder)
