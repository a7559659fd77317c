"""The transfer study: its rows against a computation by hand, its table, sizes, resuming, and what it refuses."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn import functional

import gazeshift as gs
from gazeshift import cli
from gazeshift.errors import GazeshiftError, OutputError
from gazeshift.report.statistics import wilson
from gazeshift.runs.examples import fitted
from gazeshift.runs.store import Store
from gazeshift.studies.transfer.rows import scaled
from gazeshift.studies.transfer.settings import Transfer
from gazeshift.studies.transfer.summary import paired
from helpers.killing import check_killed
from helpers.small_study import make_images

NETWORKS = """
import torch
from torch import nn


class Tiny(nn.Module):
    def __init__(self, seed, size, classes=3):
        super().__init__()
        torch.manual_seed(seed)
        self.input_size = size
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 12, 3, padding=1, stride=2)
        self.head = nn.Linear(12, classes)
        with torch.no_grad():  # no class is far ahead of the others, so that an attack can turn the answer
            self.head.bias -= self.head(self.seen(torch.rand(16, 3, 32, 32))).mean(0)

    def seen(self, images):
        return torch.relu(self.second(torch.relu(self.first(images - 0.5)))).mean((2, 3))

    def forward(self, images):
        return self.head(self.seen(images)) * 30


def one():
    return Tiny(0, 32)


def two():
    return Tiny(0, 24)


def three():
    return Tiny(2, 40)


def many():
    return Tiny(2, 32, classes=5)
"""


@pytest.fixture
def models(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "transfer_networks.py"
    file.write_text(NETWORKS)
    return {name: f"module:{file}:{name}" for name in ("one", "two", "three", "many")}


@pytest.fixture
def settings(tmp_path: Path, models: dict[str, str]) -> dict[str, Any]:
    return {
        "images": make_images(tmp_path / "images", 10),
        "model": models["one"],
        "victims": (models["two"], models["three"]),
        "attack": "fgsm,pgd:steps=3",
        "epsilon": "16/255",
        "rms": "5/255",
        "device": "cpu",
        "batch_size": 4,
    }


def table(folder: Path, name: str = "rows") -> list[dict[str, Any]]:
    return pq.read_table(folder / f"{name}.parquet").to_pylist()


def test_rows_are_those_computed_by_hand(settings: dict[str, Any], models: dict[str, str], tmp_path: Path) -> None:
    out = Transfer(**settings).run(tmp_path / "out")
    rows = {(row["image"], row["attack"], row["size"], row["victim"]): row for row in table(out)}
    assert len(rows) == 10 * 2 * 2 * 3
    loaded = {name: gs.load(spec) for name, spec in models.items() if name != "many"}
    source = loaded["one"]
    batch = gs.open_source(settings["images"]).read(0, 4, source.preprocessing)
    draws = [gs.generator_for(0, "pgd:steps=3", name) for name in batch.ids]
    attack = gs.build("attacks", "pgd:steps=3", epsilon=16 / 255)
    found = gs.attack(source, batch.images, batch.labels, by=attack, generator=draws)
    small = scaled(found.clean, found.images, 5 / 255)
    for name, side in (("one", 32), ("two", 24), ("three", 40)):
        for size, shown in (("as made", found.images), ("rms 5/255", small)):
            seen, clean = (
                loaded[name](functional.interpolate(one, (side, side), mode="bilinear", antialias=True))
                for one in (shown, batch.images)
            )
            for at, image in enumerate(batch.ids):
                row = rows[image, "pgd:steps=3", size, models[name]]
                assert row["source"] == models["one"]
                assert row["attacked_class"] == int(seen[at].argmax())
                assert row["clean_class"] == int(clean[at].argmax())
                assert row["error"] == (int(seen[at].argmax()) != int(batch.labels[at]))
                assert row["clean_correct"] == (int(clean[at].argmax()) == int(batch.labels[at]))
                assert row["success"] == (row["clean_correct"] and row["error"])
                assert row["attacked_confidence"] == pytest.approx(float(seen[at].softmax(0).max()), abs=1e-5)
                change = shown[at] - batch.images[at]
                assert row["rms"] == pytest.approx(float(change.square().mean().sqrt()), rel=1e-4)
                assert row["linf"] == pytest.approx(float(change.abs().max()), rel=1e-4)
                assert row["epsilon"] == pytest.approx(16 / 255)
    assert {row["success"] for row in rows.values()} == {True, False}


def test_the_table_counts_the_rows(settings: dict[str, Any], models: dict[str, str], tmp_path: Path) -> None:
    out = Transfer(**settings | {"sources": models["three"]}).run(tmp_path / "out")
    rows, lines = table(out), table(out, "table")
    assert len(lines) == 2 * 2 * 2 * 3  # sources, attacks, sizes, victims
    keys = ("source", "attack", "size", "victim")
    for line in lines:
        own = [row for row in rows if all(row[key] == line[key] for key in keys)]
        first = {
            row["image"]: row
            for row in rows
            if all(row[k] == line[k] for k in keys if k != "attack") and row["attack"] == "fgsm"
        }
        assert line["n"] == len(own) == 10
        assert line["white_box"] == (line["source"] == line["victim"])
        assert line["error"] == pytest.approx(np.mean([row["error"] for row in own]))
        assert line["clean_error"] == pytest.approx(np.mean([not row["clean_correct"] for row in own]))
        assert line["fooled"] == sum(row["success"] for row in own)
        assert line["clean_right"] == sum(row["clean_correct"] for row in own)
        assert line["rms"] == pytest.approx(np.mean([row["rms"] for row in own]), rel=1e-5)
        assert line["linf"] == pytest.approx(np.max([row["linf"] for row in own]))
        assert (line["error_low"], line["error_high"]) == pytest.approx(wilson(round(line["error"] * 10), 10))
        difference = [int(row["error"]) - int(first[row["image"]]["error"]) for row in own]
        assert line["against_first"] == pytest.approx(np.mean(difference))
        counts = difference.count(1), difference.count(-1)
        assert (line["only_here"], line["only_first"]) == counts
        assert (line["against_first_low"], line["against_first_high"]) == pytest.approx(paired(*counts, 10))
    assert [line["source"] for line in lines] == [models["one"]] * 12 + [models["three"]] * 12


def test_intervals_are_those_of_the_literature() -> None:
    assert wilson(0, 10) == pytest.approx(
        (0, 0.2775), abs=1e-4
    )  # statsmodels' proportion_confint(0, 10, method="wilson")
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = paired(0, 0, 50)
    assert low == pytest.approx(-high)
    assert paired(10, 0, 10)[1] == 1.0


def test_images_are_brought_to_another_size() -> None:
    images = torch.rand((2, 3, 20, 20), generator=gs.generator_for(0))
    assert fitted(images, None, "resize") is images
    assert fitted(images, (20, 20), "pad") is images
    torch.testing.assert_close(
        fitted(images, (30, 30), "resize"), functional.interpolate(images, (30, 30), mode="bilinear", antialias=True)
    )
    padded = fitted(images, (27, 27), "pad")
    assert torch.equal(padded[:, :, 3:23, 3:23], images)
    assert padded.sum() == pytest.approx(float(images.sum()), rel=1e-5)
    assert torch.equal(fitted(images, (14, 14), "pad"), images[:, :, 3:17, 3:17])
    assert fitted(images[:, :, :16], (19, 19), "pad").shape == (2, 3, 19, 19)


def test_scaling_reaches_the_size_where_clipping_lets_it() -> None:
    clean = torch.rand((4, 3, 12, 12), generator=gs.generator_for(1)) * 1.6 - 0.3
    clean = clean.clamp(0, 1)
    attacked = (clean + 0.1 * torch.randn(clean.shape, generator=gs.generator_for(2))).clamp(0, 1)
    attacked[2] = clean[2]
    for rms in (0.01, 0.1, 0.2):
        change = scaled(clean, attacked, rms) - clean
        sizes = change.square().mean((1, 2, 3)).sqrt()
        torch.testing.assert_close(sizes[[0, 1, 3]], torch.full((3,), rms), rtol=1e-3, atol=0)
        assert sizes[2] == 0
    small = scaled(clean, attacked, 0.01) - clean
    torch.testing.assert_close(
        functional.cosine_similarity(small.flatten(1), (attacked - clean).flatten(1))[0], torch.tensor(1.0)
    )


def test_the_batch_size_changes_no_number_and_a_seed_does(settings: dict[str, Any], tmp_path: Path) -> None:
    first = Transfer(**settings).run(tmp_path / "first")
    again = Transfer(**settings).run(tmp_path / "again")
    other = Transfer(**settings | {"batch_size": 3}).run(tmp_path / "other")
    for name in ("rows", "table"):
        assert (first / f"{name}.parquet").read_bytes() == (again / f"{name}.parquet").read_bytes()
    for one, two in zip(sorted(table(first), key=str), sorted(table(other), key=str), strict=True):
        assert one == two | {key: pytest.approx(two[key], abs=1e-4) for key in two if isinstance(two[key], float)}
    seeded = Transfer(**settings | {"seed": 1}).run(tmp_path / "seeded")
    assert table(seeded) != table(first)


def test_a_finished_study_is_not_done_again(settings: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    out = Transfer(**settings).run(tmp_path / "out")
    before = (out / "table.parquet").read_bytes()
    monkeypatch.setattr(Store, "save", lambda *_: pytest.fail("a cell was done again"))
    Transfer(**settings).run(out)
    assert (out / "table.parquet").read_bytes() == before


def test_a_killed_study_ends_with_the_same_bytes(settings: dict[str, Any], tmp_path: Path) -> None:
    check_killed(Transfer, settings, tmp_path, ("rows", "table"), times=2)


def test_what_the_manifest_says(settings: dict[str, Any], models: dict[str, str], tmp_path: Path) -> None:
    (settings["images"] / "003.png").write_bytes(b"not an image")
    out = Transfer(**settings).run(tmp_path / "out", command="gazeshift study transfer")
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["study"], manifest["status"], manifest["command"]) == (
        "transfer",
        "finished",
        "gazeshift study transfer",
    )
    assert (manifest["images"]["asked"], manifest["images"]["used"]) == (10, 9)
    assert [skip["id"] for skip in manifest["images"]["skipped"]] == ["003.png"]
    assert list(manifest["models"]) == [models["one"], models["two"], models["three"]]
    assert len({card["weights_sha256"] for card in manifest["models"].values()}) == 2, "one and two share their weights"
    assert manifest["sources"] == [models["one"]]
    assert manifest["passes"]["backwards"] == 9 * (1 + 3)
    assert len(table(out)) == 9 * 2 * 2 * 3


def test_without_labels_the_sources_own_answers_stand_in(
    settings: dict[str, Any], models: dict[str, str], tmp_path: Path
) -> None:
    (settings["images"] / "labels.csv").unlink()
    out = Transfer(**settings).run(tmp_path / "out")
    own = [row for row in table(out) if row["victim"] == models["one"]]
    assert all(row["clean_correct"] for row in own)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"attack": "pgdd"}, "no attacks named 'pgdd'"),
        ({"attack": "foolbox:LinfPDG"}, "Did you mean 'LinfPGD'"),
        ({"epsilon": "8"}, "Did you mean 8/255"),
        ({"victims": "efficientnet_lite9"}, "no models named 'efficientnet_lite9'"),
    ],
)
def test_bad_settings_end_in_a_sentence(
    settings: dict[str, Any], tmp_path: Path, bad: dict[str, Any], message: str
) -> None:
    with pytest.raises(GazeshiftError, match=message):
        Transfer(**settings | bad).run(tmp_path / "out")


def test_models_of_other_classes_are_refused(settings: dict[str, Any], models: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(GazeshiftError, match=r"knows 3 and .*many 5"):
        Transfer(**settings | {"victims": models["many"]}).run(tmp_path / "out")


def test_labels_that_no_model_knows_are_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    labels = settings["images"] / "labels.csv"
    labels.write_text(labels.read_text().replace("001.png,1", "001.png,7"))
    with pytest.raises(GazeshiftError, match=r"7"):
        Transfer(**settings).run(tmp_path / "out")


def test_other_settings_in_the_same_folder_are_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    out = Transfer(**settings).run(tmp_path / "out")
    with pytest.raises(OutputError, match=r"rms: 0\.0196.* there, 0\.0274.* now"):
        Transfer(**settings | {"rms": "7/255"}).run(out)


def test_from_the_command_line(
    settings: dict[str, Any], models: dict[str, str], tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    words = ["study", "transfer", "--out", out, "--images", settings["images"], "--model", models["one"]]
    words += ["--victims", models["two"], "--attack", "fgsm,pgd:steps=3", "--epsilon", "16/255", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["gazeshift", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    shown = capfd.readouterr()
    assert ended.value.code == 0, shown.err
    assert "* two is wrong on " in shown.out
    for name in ("report.html", "rows.parquet", "table.parquet", "manifest.json"):
        assert str(out / name) in shown.out
    assert "Do attacks made on one model fool others?" in (out / "report.html").read_text()
    assert json.loads((out / "manifest.json").read_text())["command"].startswith("gazeshift study transfer --out")
    with pytest.raises(SystemExit) as ended:
        cli.main(["study", "transfer", "--rms", "7", "--out", str(tmp_path / "other")])
    assert ended.value.code == 2
    assert "--rms" in capfd.readouterr().err
