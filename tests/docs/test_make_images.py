"""The images of the published results can be made by anyone, and a wrong one is noticed."""

import csv
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tools import make_images

LISTED = make_images.LISTS / "tiny_imagenet50.csv"


@pytest.fixture
def lists(tmp_path, monkeypatch):
    """Lists of one's own, written by name and rows."""
    monkeypatch.setattr(make_images, "LISTS", tmp_path)

    def write(name, rows):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)

    return write


def photograph(place, width, height):
    """A smooth picture in three colours."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    Image.fromarray(np.stack([x, y, 255 - x], 2).astype(np.uint8)).save(place, "JPEG", quality=98)
    return place


@pytest.mark.parametrize(
    ("size", "made"), [((500, 375), (384, 288)), ((200, 640), (200, 640)), ((300, 401), (288, 385))]
)
def test_the_short_side_is_at_most_288_and_colours_keep_their_resolution(size, made, tmp_path):
    make_images.shrink(photograph(tmp_path / "one.JPEG", *size), tmp_path / "small.jpg")
    with Image.open(tmp_path / "small.jpg") as small:
        assert small.size == made
        assert [layer[1:3] for layer in small.layer] == [(1, 1)] * 3


def test_photographs_and_labels_are_written_and_checked(tmp_path, lists):
    photograph(tmp_path / "n01_tench.JPEG", 500, 375)
    make_images.shrink(tmp_path / "n01_tench.JPEG", tmp_path / "small.jpg")
    right = hashlib.sha256((tmp_path / "small.jpg").read_bytes()).hexdigest()
    row = {"file": "n01.jpg", "label": 0, "wnid": "n01", "name": "tench", "sha256": right}
    lists("imagenet700", [row])
    out = tmp_path / "out"
    assert list(make_images.imagenet700(tmp_path, out)) == []
    assert (out / "labels.csv").read_text().splitlines() == ["file,label,wnid,name", "n01.jpg,0,n01,tench"]
    lists("imagenet700", [row | {"sha256": "0" * 64}, row | {"wnid": "n02"}])
    changed, missing = make_images.imagenet700(tmp_path, out)
    assert f"should have SHA-256 {'0' * 12}..., and has {right[:12]}..." in changed
    assert missing == f"{tmp_path} has no n02_*.JPEG"


def test_the_lists_are_those_of_the_images_at_hand(data_folder: Path):
    for row in make_images._listed("imagenet700"):
        found = (data_folder / "imagenet700" / "images" / row["file"]).read_bytes()
        assert hashlib.sha256(found).hexdigest() == row["sha256"]


def test_fifty_classes_come_out_of_the_archive_as_they_are(data_folder: Path, tmp_path, lists):
    with LISTED.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["wnid"] == "n01629819"]
    lists("tiny_imagenet50", rows)
    for row in rows:
        part = row["part"]
        inside = tmp_path / "tiny" / part / ("" if part == "val" else row["wnid"]) / "images"
        shutil.copytree(data_folder / "tiny_imagenet50" / part / row["wnid"], inside)
    out = tmp_path / "out"
    assert list(make_images.tiny_imagenet50(tmp_path / "tiny", out)) == []
    assert len(list(out.rglob("*.JPEG"))) == 170
    first = min((tmp_path / "tiny" / "val" / "images").iterdir())
    first.write_bytes(first.read_bytes() + b"\0")
    (problem,) = make_images.tiny_imagenet50(tmp_path / "tiny", out)
    assert problem.startswith(f"{out / 'val' / 'n01629819'} should have SHA-256 ")
    first.unlink()
    (problem,) = make_images.tiny_imagenet50(tmp_path / "tiny", out)
    assert problem == f"{tmp_path / 'tiny' / 'val' / 'images'} has no {first.name}"


def test_a_wrong_folder_ends_in_one_sentence(tmp_path):
    script = Path(make_images.__file__)
    run = [sys.executable, str(script), "imagenet700", str(tmp_path / "none"), str(tmp_path / "out")]
    found = subprocess.run(run, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert f"{tmp_path / 'none'} is no folder. Name the checkout" in found.stderr
