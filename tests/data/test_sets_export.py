"""8-bit export: epsilon kept, losses told, and what was exported can be read again as a set."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import gazeshift as gs
from gazeshift.data import attacked_levels, export_set, open_set, verify_set
from gazeshift.data._set_export import png_names
from gazeshift.errors import DataError, OutputError
from gazeshift.runs.adversarial_set.run import AttackRun
from gazeshift.runs.adversarial_set.settings import SetSettings
from helpers.quadrants import make_quadrant_images, make_quadrant_network


def attack_run(folder: Path, spec: str, epsilon: float, count: int = 28) -> Path:
    images = make_quadrant_images(folder / "images", count)
    chosen = SetSettings(
        images=images,
        model=make_quadrant_network(folder),
        epsilon=epsilon,
        device="cpu",
        shard_size=8,
        health_images=0,
    )
    return AttackRun(spec, chosen, folder / "set").run()


def read_png(file: Path) -> np.ndarray:
    with Image.open(file) as picture:
        assert picture.mode == "RGB"
        return np.asarray(picture).astype(int)


LEVELS = st.lists(st.integers(0, 255), min_size=3, max_size=3)
CHANGES = st.lists(st.floats(-1, 1), min_size=3, max_size=3)


def pixels(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)


@given(LEVELS, CHANGES, st.floats(0.1 / 255, 0.2))
@settings(max_examples=300, deadline=None)
def test_rounding_keeps_epsilon_in_linf_and_goes_to_the_nearest_allowed_level(levels, changes, epsilon):
    clean = pixels(levels) / 255
    attacked = (clean + epsilon * pixels(changes)).clamp(0, 1)
    rounded = attacked_levels(clean, attacked, norm="linf", epsilon=epsilon).flatten().tolist()
    for before, after, wanted in zip(levels, rounded, (attacked.double() * 255).flatten().tolist(), strict=True):
        allowed = [level for level in range(256) if abs(level - before) <= epsilon * 255 + 1e-3]
        best = min(abs(level - wanted) for level in allowed)
        assert after in allowed
        assert abs(after - wanted) <= best + 1e-4


@given(LEVELS, CHANGES, st.floats(0.1 / 255, 0.2))
@settings(max_examples=300, deadline=None)
def test_rounding_keeps_epsilon_in_l2(levels, changes, epsilon):
    clean = pixels(levels) / 255
    direction = pixels(changes)
    attacked = (clean + epsilon * direction / direction.norm().clamp(min=1)).clamp(0, 1)
    rounded = attacked_levels(clean, attacked, norm="l2", epsilon=epsilon)
    assert (rounded.double().flatten() - torch.tensor(levels)).norm() <= epsilon * 255 + 2e-3
    nearest = (attacked * 255).round()
    if (nearest.flatten() - torch.tensor(levels)).norm() <= epsilon * 255:
        assert torch.equal(rounded.float(), nearest)


def test_rounding_by_hand():
    clean = torch.tensor([100.0, 100.0, 100.0]).view(1, 3, 1, 1) / 255
    attacked = torch.tensor([102.6, 99.4, float("nan")]).view(1, 3, 1, 1) / 255
    for norm, epsilon, wanted in (
        (None, None, [103, 99, 100]),
        ("linf", 2.7 / 255, [102, 99, 100]),
        ("l2", 2.8 / 255, [102, 100, 100]),
    ):
        assert attacked_levels(clean, attacked, norm=norm, epsilon=epsilon).flatten().tolist() == wanted


@pytest.mark.parametrize(("spec", "epsilon"), [("pgd", 16 / 255), ("pgd", 12.6 / 255), ("pgd:norm=l2", 1.0)])
def test_an_export_is_the_set_in_8_bit(tmp_path, spec, epsilon):
    made, out = attack_run(tmp_path, spec, epsilon), tmp_path / "png"
    told = export_set(open_set(made), out)
    model, whole = gs.load(json.loads((made / "manifest.json").read_text())["settings"]["model"]), open_set(made).read()
    fooled = still = 0
    for at, own in enumerate(whole.ids):
        source = read_png(tmp_path / "images" / own)
        clean, attacked = (read_png(out / half / own) for half in ("clean", "attacked"))
        np.testing.assert_array_equal(clean, source)
        change = attacked - clean
        size = np.abs(change).max() if spec == "pgd" else np.sqrt((change**2).sum())
        assert size <= epsilon * 255 + 1e-3
        assert np.abs(attacked - 255 * whole.attacked[at].permute(1, 2, 0).numpy()).max() <= 1 + 1e-3
        answer = model(torch.from_numpy(attacked / 255).float().permute(2, 0, 1)[None]).argmax()
        fools = bool(whole.facts["clean_correct"][at]) and int(answer) != int(whole.labels[at])
        assert fools == whole.facts["success_8bit"][at]
        fooled += int(whole.facts["success"][at])
        still += int(fools and whole.facts["success"][at])
    assert (told.images, told.success, told.success_8bit) == (28, fooled, still)
    assert fooled > 0


def test_a_weak_attack_is_lost_and_the_export_says_so(tmp_path):
    made = attack_run(tmp_path, "fgsm", 0.45 / 255, count=8)
    images = make_quadrant_images(tmp_path / "close", 4)
    for file in images.glob("*.png"):  # quadrants that differ by nearly nothing
        levels = np.full((16, 16, 3), 100, np.uint8)
        levels[:, :, 0][0, 0] = 110
        Image.fromarray(levels).save(file)
    (images / "labels.csv").write_text("file,label\n" + "".join(f"{n:03d}.png,0\n" for n in range(4)))
    chosen = SetSettings(
        images=images, model=make_quadrant_network(tmp_path), epsilon=0.45 / 255, device="cpu", health_images=0
    )
    made = AttackRun("fgsm", chosen, tmp_path / "weak").run()
    told = export_set(open_set(made), tmp_path / "png")
    assert (told.success, told.success_8bit, told.largest) == (4, 0, 0)


def test_an_export_is_read_again_as_folders(tmp_path):
    made, out = attack_run(tmp_path, "pgd", 16 / 255), tmp_path / "png"
    export_set(open_set(made), out)
    whole = open_set(made).read()
    for again in (open_set(out), open_set(out / "attacked", clean=out / "clean")):
        read = again.read()
        assert read.ids == whole.ids
        assert torch.equal(read.images, whole.images)
        assert (read.attacked - whole.attacked).abs().max() <= 1 / 255
        assert torch.equal(read.labels, whole.labels)
        assert verify_set(again).problems == ()
    rows = list(csv.DictReader((out / "labels.csv").read_text().splitlines()))
    assert [row["success"] for row in rows] == [str(bool(value)) for value in whole.facts["success"]]
    model = make_quadrant_network(tmp_path)
    source = gs.open_source(out / "attacked", labels=out / "labels.csv")
    batch = source.read()
    predicted = gs.load(model)(batch.images).argmax(1)
    clean = torch.tensor([row["clean_class"] == row["label"] for row in rows])
    assert ((predicted != batch.labels) & clean).tolist() == whole.facts["success_8bit"].tolist()


def folders(root: Path, names: tuple[str, ...], text: str = "") -> Path:
    """Folders clean and attacked with pictures of these names, and a table of labels."""
    for half in ("clean", "attacked"):
        for level, name in enumerate(names):
            (root / half / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (level, level, level)).save(root / half / name)
    if text:
        (root / "labels.csv").write_text(text)
    return root


def test_original_names_survive_an_export_also_without_labels(tmp_path):
    names = ("cat.bmp", "a/1.bmp", "a/2.png")
    files = "file,id,label\n" + "".join(f"{name},photos/{name},{at}\n" for at, name in enumerate(names))
    for text, labels in ((files, [1, 2, 0]), ("", None)):
        root = folders(tmp_path / str(len(text)), names, text)
        found = open_set(root)
        export_set(found, root / "png")
        rows = list(csv.DictReader((root / "png" / "labels.csv").read_text().splitlines()))
        wanted = [f"photos/{name}" for name in sorted(names)] if text else ["a/1", "a/2", "cat"]
        assert [row["id"] for row in rows] == wanted
        assert [row["file"] for row in rows] == [str(Path(own).with_suffix(".png")) for own in wanted]
        again = open_set(root / "png")
        assert list(again.ids) == wanted
        assert (None if again.labels is None else again.labels.tolist()) == labels
        assert torch.equal(again.read().images, found.read().images)


def test_a_column_of_ids_that_tells_no_images_apart_is_ignored_and_said(tmp_path):
    found = open_set(folders(tmp_path, ("a.png", "b.png"), "file,id,label\na.png,7,0\nb.png,7,1\n"))
    assert found.ids == ("a", "b")
    assert found.manifest["notes"] == ["The column id of the labels was ignored: it gives several images one name."]


def test_rows_that_differ_in_their_suffix_alone_must_agree(tmp_path):
    root = folders(tmp_path, ("a.png", "b.png"), "file,label\na.jpg,0\na.png,1\nb.png,1\n")
    with pytest.raises(DataError, match="gives 'a', whatever its suffix, two labels: 0 and 1"):
        open_set(root)


def test_what_lies_beside_the_pictures_of_folders_is_named(tmp_path):
    root = folders(tmp_path, ("a.png", "b.png"), "file,label\na.png,0\n.\\b.png,1\n")
    (root / "attacked" / "IMG_1.HEIC").write_bytes(b"")
    (root / "clean" / "ct.dcm").write_bytes(b"")
    Image.new("RGB", (8, 8)).save(root / "clean" / "c.png")
    assert open_set(root).manifest["notes"] == [
        "Other files ignored: 1 ('IMG_1.HEIC').",
        "Other files ignored: 1 ('ct.dcm').",
        "Clean images without an attacked one: 1.",
    ]


def test_an_export_begins_in_an_empty_folder(tmp_path):
    made = attack_run(tmp_path, "fgsm", 0.1, count=4)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"not empty \(mine.txt\)"):
        export_set(open_set(made), tmp_path / "full")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        export_set(open_set(made), tmp_path / "file")


def test_a_full_disk_ends_an_export_that_begins_anew(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    made = attack_run(tmp_path, "fgsm", 0.1, count=4)
    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OutputError, match=r"No space left on device\). Export again into an empty folder: --out."):
        export_set(open_set(made), tmp_path / "out")


def test_names_stay_inside_and_differ():
    ids = [
        "a/1.jpg",
        "a/1.png",
        "A/1.webp",
        "../../x.png",
        "/etc/passwd",
        "..",
        "b\\c.jpg",
        ".hidden",
        "q?.png",
        "train.parquet#0003",
    ]
    names = png_names(ids)
    assert len({name.casefold() for name in names}) == len(ids)
    assert names[:2] == ["a/1.png", "a/1.png.png"]
    for name in names:
        path = Path("root") / name
        assert ".." not in path.parts
        assert not Path(name).is_absolute()
        assert path.suffix == ".png"
        assert not path.name.startswith(".")
