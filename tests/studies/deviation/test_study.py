"""The deviation study: its rows against a computation by hand, resuming, and what it refuses."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

import gazeshift as gs
from gazeshift import report
from gazeshift.errors import DataError, OutputError, SettingsError
from gazeshift.runs.store import Store
from gazeshift.studies.deviation.settings import Deviation
from helpers.killing import check_killed
from helpers.small_study import make_images, make_network

SETTINGS = {
    "attack": "fgsm,pgd:steps=3",
    "epsilon": "16/255",
    "strengths": "0.5,1",
    "cams": "grad_cam,layer_cam,cam",
    "gallery": 1,
    "device": "cpu",
    "batch_size": 4,
}


@pytest.fixture
def settings(tmp_path):
    images = make_images(tmp_path / "images", 10)
    return {**SETTINGS, "images": images, "model": make_network(tmp_path)}


def table(folder: Path, name: str = "rows"):
    return pq.read_table(folder / f"{name}.parquet")


def enlarged(raw: torch.Tensor) -> np.ndarray:
    maps = raw.double().clamp_min(0)[None, None]
    return torch.nn.functional.interpolate(maps, (32, 32), mode="bilinear").numpy().ravel()


def test_rows_are_those_computed_by_hand(settings, tmp_path):
    out = Deviation(**settings).run(tmp_path / "out")
    rows = table(out).to_pylist()
    model = gs.load(settings["model"])
    batch = gs.open_source(settings["images"]).read(0, 4, model.preprocessing)
    generators = [gs.generator_for(0, "fgsm", name) for name in batch.ids]
    attack = gs.build("attacks", "fgsm", epsilon=16 / 255)
    found = gs.attack(model, batch.images, batch.labels, by=attack, generator=generators)
    half = (batch.images + 0.5 * found.perturbation).clamp(0, 1)
    for target in ("predicted", "reference"):
        clean, changed = gs.look(model, batch.images), gs.look(model, half)
        if target == "reference":
            changed = gs.look(model, half, target=clean.predicted)
        for layer in ("first", "second"):
            for at, name in enumerate(batch.ids):
                one, two = (enlarged(seen.maps(layer)[at]) for seen in (clean, changed))
                wanted = one @ two / np.sqrt((one @ one) * (two @ two))
                (row,) = [
                    row
                    for row in rows
                    if (row["image"], row["layer"], row["cam"], row["target"]) == (name, layer, "grad_cam", target)
                    and row["measure"] == "cosine"
                    and (row["attack"], row["strength"], row["kind"]) == ("fgsm", 0.5, "attacked")
                ]
                assert row["value"] == pytest.approx(wanted, abs=1e-5)
                assert row["switched"] == bool(clean.predicted[at] != changed.predicted[at])


def test_every_combination_has_its_row(settings, tmp_path):
    out = Deviation(**settings).run(tmp_path / "out")
    rows, images = table(out), table(out, "images")
    # 10 images x 2 attacks x 2 strengths x 2 kinds, x 2 targets x (2 layers x 2 CAMs + cam at the last layer)
    assert images.num_rows == 10 * 2 * 2 * 2
    # by cosine; and by four others, which only the first CAM's maps are compared by
    assert rows.num_rows == images.num_rows * 2 * (5 + 4 * 2)
    for name in ("nissim", "area", "correlation", "displacement"):
        others = rows.filter(pc.equal(rows["measure"], name))
        assert set(others["cam"].to_pylist()) == {"grad_cam"}
        assert others.num_rows == images.num_rows * 2 * 2
    keys = ["image", "attack", "strength", "kind", "target", "layer", "cam", "measure"]
    assert rows.group_by(keys).aggregate([]).num_rows == rows.num_rows
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["images"] | {"source": ""} == {
        "source": "",
        "kind": "folder",
        "asked": 10,
        "used": 10,
        "labels": "given",
        "skipped": [],
        "notes": [],
    }
    (undefined,) = [entry for entry in manifest["undefined"] if entry["kind"] == "all"]
    assert (undefined["layer"], undefined["count"]) == ("first", 10)
    assert manifest["passes"]["backwards"] > 0
    assert len(manifest["model"]["weights_sha256"]) == 64


def test_the_noise_has_the_size_of_the_perturbation(settings, tmp_path):
    out = Deviation(**settings | {"limit": 4, "strengths": "0.5"}).run(tmp_path / "out")
    images = table(out, "images").to_pylist()
    for row in images:
        twin = next(
            other
            for other in images
            if (other["image"], other["attack"]) == (row["image"], row["attack"]) and other["kind"] != row["kind"]
        )
        assert row["rms"] == pytest.approx(twin["rms"], rel=0.12)  # both are clipped to [0, 1]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(settings, tmp_path):
    first, again = (Deviation(**settings).run(tmp_path / name) for name in ("first", "again"))
    other = Deviation(**settings | {"seed": 1}).run(tmp_path / "other")
    for name in ("rows", "images", "gallery"):
        assert (first / f"{name}.parquet").read_bytes() == (again / f"{name}.parquet").read_bytes()
    assert (first / "rows.parquet").read_bytes() != (other / "rows.parquet").read_bytes()


def test_the_batch_size_changes_no_number(settings, tmp_path):
    four = Deviation(**settings).run(tmp_path / "four")
    three = Deviation(**settings | {"batch_size": 3}).run(tmp_path / "three")
    keys = [
        (name, "ascending") for name in ("image", "attack", "strength", "kind", "target", "layer", "cam", "measure")
    ]
    first, second = table(four).sort_by(keys), table(three).sort_by(keys)
    np.testing.assert_allclose(first["value"], second["value"], atol=1e-4)
    assert first["switched"] == second["switched"]


def test_a_finished_study_is_not_done_again(settings, tmp_path, monkeypatch):
    out = Deviation(**settings).run(tmp_path / "out")
    before = (out / "rows.parquet").read_bytes()
    monkeypatch.setattr(Store, "save", lambda *_: pytest.fail("a cell was done again"))
    Deviation(**settings).run(out)
    assert (out / "rows.parquet").read_bytes() == before


def test_other_settings_in_the_same_folder_are_refused(settings, tmp_path):
    out = Deviation(**settings).run(tmp_path / "out")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(OutputError, match=r"other settings \(epsilon: 0.0627.* there, 0.0313.* now\)"):
        Deviation(**settings | {"epsilon": "8/255"}).run(out)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_a_folder_with_other_things_is_refused(settings, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "diary.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"not empty and holds no study \(diary.txt\)"):
        Deviation(**settings).run(tmp_path / "out")


def test_a_full_disk_loses_nothing_that_was_done(settings, tmp_path, monkeypatch):
    real, written = pq.write_table, []

    def full(table, path, **options):
        if len(written) >= 5:  # in the middle of the second cell
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        real(table, path, **options)

    monkeypatch.setattr("gazeshift.runs.store.pq.write_table", full)
    with pytest.raises(OutputError, match="the disk is full"):
        Deviation(**settings).run(tmp_path / "out")
    monkeypatch.undo()
    done = {path.name: path.read_bytes() for path in (tmp_path / "out" / "parts").glob("000000*")}
    assert len(done) == 3
    Deviation(**settings).run(tmp_path / "out")
    assert done == {path.name: path.read_bytes() for path in (tmp_path / "out" / "parts").glob("000000*")}
    whole = Deviation(**settings).run(tmp_path / "whole")
    assert (tmp_path / "out" / "rows.parquet").read_bytes() == (whole / "rows.parquet").read_bytes()


def test_a_damaged_part_is_made_again(settings, tmp_path):
    out = Deviation(**settings).run(tmp_path / "out")
    before = (out / "rows.parquet").read_bytes()
    part = next((out / "parts").glob("*.rows.parquet"))
    part.write_bytes(part.read_bytes()[:100])
    Deviation(**settings).run(out)
    assert (out / "rows.parquet").read_bytes() == before


@pytest.mark.parametrize("spoil", [Path.unlink, lambda part: part.write_bytes(part.read_bytes()[:100])])
def test_a_part_beside_the_main_one_that_is_lost_is_made_again(settings, tmp_path, spoil):
    out = Deviation(**settings).run(tmp_path / "out")
    before = {file.name: file.read_bytes() for file in out.glob("*.parquet")}
    spoil(sorted((out / "parts").glob("*.images.parquet"))[1])
    Deviation(**settings).run(out)
    assert {file.name: file.read_bytes() for file in out.glob("*.parquet")} == before


def test_two_commands_do_not_work_in_one_folder(settings, tmp_path):
    out = tmp_path / "out"
    code = (
        "import sys; from pathlib import Path; from gazeshift.runs.store import Store;"
        "store = Store(Path(sys.argv[1])); store.open({}); print('open', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "open\n"
    with pytest.raises(OutputError, match=r"another command is at work in .*out\. Wait until it ends"):
        Deviation(**settings).run(out)
    other.communicate()
    Deviation(**settings).run(out)
    Deviation(**settings).run(out)  # the same process may, again and again


def test_what_a_killed_run_left_half_written_is_removed(settings, tmp_path):
    out = Deviation(**settings).run(tmp_path / "out")
    left = [out / ".rows.parquet.99999", out / "parts" / ".000000-abc.rows.parquet.7", out / ".manifest.json.12"]
    mine = out / ".gitignore"
    for file in (*left, mine):
        file.write_text("x")
    Deviation(**settings).run(out)
    assert [file.exists() for file in (*left, mine)] == [False, False, False, True]


def test_a_killed_study_ends_with_the_same_bytes(settings, tmp_path):
    check_killed(Deviation, settings, tmp_path, ("rows", "images", "gallery"), times=4)


def test_unreadable_images_are_skipped_named_and_counted(settings, tmp_path):
    (settings["images"] / "003.png").write_bytes(b"not an image")
    (settings["images"] / "004.png").write_bytes(b"")
    out = Deviation(**settings).run(tmp_path / "out")
    images = json.loads((out / "manifest.json").read_text())["images"]
    assert (images["asked"], images["used"]) == (10, 8)
    assert [skip["id"] for skip in images["skipped"]] == ["003.png", "004.png"]
    assert table(out, "images").num_rows == 8 * 8


def test_a_cell_of_unreadable_images_leaves_the_others(settings, tmp_path):
    for number in range(4, 8):
        (settings["images"] / f"{number:03d}.png").write_bytes(b"x")
    out = Deviation(**settings).run(tmp_path / "out")
    assert table(out, "images").num_rows == 6 * 8


def test_nothing_readable_is_an_error(settings, tmp_path):
    for file in settings["images"].glob("*.png"):
        file.write_bytes(b"x")
    with pytest.raises(DataError, match="none of the 10 images"):
        Deviation(**settings).run(tmp_path / "out")


def test_without_labels_the_models_own_answers_stand_in(settings, tmp_path):
    (settings["images"] / "labels.csv").unlink()
    out = Deviation(**settings).run(tmp_path / "out")
    assert json.loads((out / "manifest.json").read_text())["images"]["labels"] == "predicted"
    images = table(out, "images")
    assert images["label"] == images["clean_class"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"epsilon": "8"}, "Did you mean 8/255"),
        ({"epsilon": "0"}, "epsilon must be above 0"),
        ({"epsilon": "-0.1"}, "epsilon must be above 0"),
        ({"attack": "pgdd"}, "no attacks named 'pgdd'. Did you mean 'pgd'"),
        ({"attack": "pgd:epsilom=3"}, "no setting 'epsilom'. Did you mean 'epsilon'"),
        ({"cams": "gradcam"}, "Did you mean 'grad_cam'"),
        ({"layers": "secnd"}, "Did you mean 'second'"),
        ({"measures": "cosin"}, "Did you mean 'cosine'"),
        ({"measures": "ssim"}, "compares raw maps, and the measure 'ssim' does not. Choose from cosine, nissim"),
        ({"strengths": "0"}, "strengths must be finite and above 0"),
        ({"device": "cuda:7"}, "Use --device cpu"),
    ],
)
def test_bad_settings_end_in_a_sentence(settings, tmp_path, bad, message):
    with pytest.raises(gs.GazeshiftError, match=message):
        Deviation(**settings | bad).run(tmp_path / "out")


def test_a_strength_given_twice_counts_once(settings, tmp_path):
    out = Deviation(**settings | {"strengths": "2,0.5,2", "limit": 2}).run(tmp_path / "out")
    assert set(table(out)["strength"].to_pylist()) == {0.5, 2}
    assert report.write(out).is_file()  # it refuses two rows of one condition


def test_a_first_try_that_finished_nothing_does_not_bind_the_folder(settings, tmp_path):
    (settings["images"] / "labels.csv").unlink()
    with pytest.raises(KeyboardInterrupt):
        Deviation(**settings).run(tmp_path / "out", progress=_interrupt)
    for part in (tmp_path / "out" / "parts").glob("*"):
        part.unlink()
    Deviation(**settings | {"epsilon": "8/255"}).run(tmp_path / "out")


def _interrupt(*_):
    raise KeyboardInterrupt


def test_class_names_come_from_a_file(settings, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("zero\none\ntwo\n")
    out = Deviation(**settings | {"classes": names, "limit": 3}).run(tmp_path / "out")
    assert set(table(out, "images")["clean_name"].to_pylist()) <= {"zero", "one", "two"}
    names.write_text("zero\n\ntwo\n\n")
    assert Deviation(**settings | {"classes": names}).class_names() == ("zero", "class 1", "two")
    with pytest.raises(SettingsError, match="class names cannot be read"):
        Deviation(**settings | {"classes": tmp_path / "none.txt"}).run(tmp_path / "other")


def test_the_gallery_holds_each_kind_of_picture_and_raw_maps(settings, tmp_path):
    out = Deviation(**settings).run(tmp_path / "out")
    gallery = table(out, "gallery").to_pylist()
    assert len({row["image"] for row in gallery}) == 2  # twice what was asked for, so that fooled ones can be preferred
    kinds = {(row["attack"], row["kind"]) for row in gallery if row["layer"] == ""}
    assert kinds == {("", "clean")} | {
        (attack, kind) for attack in ("fgsm", "pgd:steps=3") for kind in ("attacked", "noise", "perturbation")
    }
    second = next(
        row for row in gallery if row["layer"] == "second" and row["cam"] == "grad_cam" and row["kind"] == "clean"
    )
    model = gs.load(settings["model"])
    batch = gs.open_source(settings["images"]).read(0, 4, model.preprocessing)
    wanted = gs.look(model, batch.images).maps("second")[list(batch.ids).index(second["image"])]
    np.testing.assert_allclose(np.reshape(second["map"], (second["height"], second["width"])), wanted, rtol=1e-5)
