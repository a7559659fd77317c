"""A set shown to a model that it was not made on, and a set whose clean images lie elsewhere."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

import gazeshift as gs
from gazeshift import cli
from gazeshift.data import open_set
from gazeshift.errors import BoundsError, DataError
from gazeshift.runs.adversarial_set.run import make_set
from gazeshift.runs.adversarial_set.settings import SetSettings
from gazeshift.runs.examples import attacked_pairs, fitted, open_pairs
from gazeshift.studies.patching.settings import Patching
from helpers.small_study import make_images

NETWORKS = """
import torch
from torch import nn


class Tiny(nn.Module):
    def __init__(self, seed, size, classes):
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


def source():
    return Tiny(0, 32, 3)


def victim():
    network = Tiny(0, 28, 3)
    network.head.weight.data *= 1.1  # another network, and much alike
    return network


def narrow():
    return Tiny(1, 24, 2)
"""


def named(folder: Path, function: str) -> str:
    return f"module:{folder / 'victim_networks.py'}:{function}"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("victims")
    (folder / "victim_networks.py").write_text(NETWORKS)
    make_images(folder / "images", 8)
    for table in (folder / "images").glob("*.csv"):
        table.unlink()
    told = SetSettings(
        model=named(folder, "source"), images=folder / "images", epsilon="64/255", device="cpu", health_images=0
    )
    make_set("pgd", told, folder / "set")
    return folder


def settings(place: Path, function: str = "victim", **more) -> Patching:
    told = {"set": place / "set", "model": named(place, function), "layers": ("second",), "device": "cpu", "factor": 8}
    return Patching(**told | more)


def test_success_is_judged_anew_at_the_victims_own_size(place, tmp_path):
    out = settings(place).run(tmp_path / "study")
    victim = gs.load(named(place, "victim"), device="cpu")
    pairs = open_set(place / "set").read()
    clean, attacked = (victim(fitted(part, (28, 28), "resize")).argmax(1) for part in (pairs.images, pairs.attacked))
    wanted = dict(zip(pairs.ids, (clean != attacked).tolist(), strict=True))  # labels are its own answers
    found = {row["image"]: row["success"] for row in pq.read_table(out / "images.parquet").to_pylist()}
    assert found == wanted
    assert sum(wanted.values()) > 0, "some examples transfer"
    assert {row["image"] for row in pq.read_table(out / "rows.parquet").to_pylist()} == {
        name for name, fooled in wanted.items() if fooled
    }


def test_the_manifest_and_the_page_say_whose_examples_they_are(place, tmp_path):
    from gazeshift import report

    out = settings(place).run(tmp_path / "study")
    (note,) = json.loads((out / "manifest.json").read_text())["notes"]
    assert note == (
        f"{place / 'set'} was made on {named(place, 'source')}; {named(place, 'victim')} is only shown its examples, "
        "resized to 28 x 28 where they are not."
    )
    assert "is only shown its examples" in report.make(out).html


def test_the_model_that_they_were_made_on_sees_them_as_they_are(place, tmp_path):
    out = settings(place, "source").run(tmp_path / "study")
    assert json.loads((out / "manifest.json").read_text())["notes"] == []
    found = {row["image"]: row["success"] for row in pq.read_table(out / "images.parquet").to_pylist()}
    known = open_set(place / "set")
    assert found == dict(zip(known.ids, known.column("success"), strict=True))


@pytest.fixture(scope="module")
def labelled(place) -> Path:
    """A set of the same images with labels of their own, 0 to 2."""
    rows = [f"{number:03d}.png,{number % 3}" for number in range(8)]
    (place / "labels.csv").write_text("\n".join(["file,label", *rows]) + "\n")
    told = {"images": place / "images", "labels": place / "labels.csv", "epsilon": "64/255", "device": "cpu"}
    return make_set("pgd", SetSettings(model=named(place, "source"), **told, health_images=0), place / "labelled")


def test_labels_that_are_given_are_those_of_every_victim(place, labelled):
    victim = gs.load(named(place, "victim"), device="cpu")
    source = open_pairs(labelled, settings(place)).shown_to(victim)
    assert attacked_pairs(victim, source.pairs(source.ids)).labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


def test_a_victim_that_lacks_a_label_is_refused(place, labelled, tmp_path):
    """Classes 0 to 2 of the set, for a model of two."""
    with pytest.raises(BoundsError, match="labels"):
        settings(place, "narrow", set=labelled).run(tmp_path / "study")
    victim = gs.load(named(place, "narrow"), device="cpu")
    source = open_pairs(labelled, settings(place)).shown_to(victim)
    with pytest.raises(BoundsError, match="labels"):
        attacked_pairs(victim, source.pairs(source.ids))


@pytest.fixture
def apart(place, tmp_path) -> Path:
    """The same examples as PNG files, the clean ones elsewhere."""
    from gazeshift.data import export_set

    export_set(open_set(place / "set"), tmp_path / "export")
    shutil.move(tmp_path / "export" / "attacked", tmp_path / "attacked")
    shutil.move(tmp_path / "export" / "clean", tmp_path / "originals")
    return tmp_path


@pytest.mark.filterwarnings("ignore:.*more than the 27 that an attack")
def test_clean_images_may_lie_elsewhere(place, apart):
    out = settings(place, "source", set=apart / "attacked", clean=apart / "originals").run(apart / "study")
    rows = pq.read_table(out / "images.parquet")
    assert rows.num_rows == 8
    assert max(rows["linf"].to_pylist()) == pytest.approx(64 / 255, abs=1e-6)


def test_without_them_the_command_says_what_to_name(place, apart, capsys):
    command = ["study", "patching", "--set", str(apart / "attacked"), "--model", named(place, "source")]
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, "--device", "cpu", "--out", str(apart / "study")])
    assert ended.value.code == 2
    assert "Give the clean images' folder too" in capsys.readouterr().err
    with pytest.raises(ValueError, match="--clean names the clean images of a set"):
        Patching(clean=apart / "originals")


def test_the_settings_of_a_study_without_clean_are_as_before(place):
    assert "clean" not in settings(place).identity()
    assert settings(place, clean=place / "images").identity()["clean"] == str(place / "images")


def test_damagenets_own_example_goes_in(data_folder, tmp_path):
    """Its clean image is ImageNet's file, brought to 224 x 224 as DAmageNet's authors did."""
    pair = data_folder / "by_others" / "damagenet"
    for kind, name in (("attacked", "DAmageNet"), ("clean", "ImageNet")):
        (found,) = pair.glob(f"{name}_*")
        (tmp_path / kind).mkdir()
        shutil.copy(found, tmp_path / kind / found.name.removeprefix(f"{name}_"))
    told = Patching(
        set=tmp_path / "attacked", clean=tmp_path / "clean", layers=("blocks.5.0",), device="cpu", factor=64
    )
    out = told.run(tmp_path / "study")
    (row,) = pq.read_table(out / "images.parquet").to_pylist()
    assert row["linf"] * 255 == pytest.approx(26, abs=0.01)
    assert row["clean_class"] != row["changed_class"]


def test_damagenet_without_clean_images_says_how_to_name_them(data_folder, tmp_path):
    (found,) = (data_folder / "by_others" / "damagenet").glob("DAmageNet_*")
    (tmp_path / "attacked").mkdir()
    shutil.copy(found, tmp_path / "attacked" / found.name.removeprefix("DAmageNet_"))
    with pytest.raises(DataError, match=r"has no clean images, .* name the folder of the clean ones with --clean"):
        Patching(set=tmp_path / "attacked", device="cpu").run(tmp_path / "study")


def test_images_keep_their_pixels_where_the_size_fits(place):
    source = open_pairs(place / "set", settings(place)).shown_to(gs.load(named(place, "victim"), device="cpu"))
    assert source.pairs(source.ids).attacked.shape[2:] == (28, 28)
    own = open_pairs(place / "set", settings(place)).shown_to(gs.load(named(place, "source"), device="cpu"))
    assert torch.equal(own.pairs(own.ids).attacked, open_set(place / "set").read().attacked)
