"""What settings open: the images, the model and the attack that they name, and what they keep of what was given."""

import json

import pytest
from pydantic import ValidationError
from safetensors.torch import save_file

import gazeshift as gs
from gazeshift.runs.open import open_attack, open_classifier, open_images
from gazeshift.runs.run import Run
from helpers.small_study import make_images, make_network

Deviation = pytest.importorskip("gazeshift.studies.deviation.settings").Deviation
Renkhoff2022 = pytest.importorskip("gazeshift.studies.renkhoff2022.settings").Renkhoff2022

SMALL = {"attack": "fgsm", "epsilon": "16/255", "strengths": "1", "layers": "convs", "gallery": 0, "device": "cpu"}


@pytest.fixture
def settings(tmp_path) -> dict:
    return {**SMALL, "images": make_images(tmp_path / "images", 12), "model": make_network(tmp_path)}


def test_a_limit_is_a_choice_by_the_seed(settings):
    every = gs.open_source(settings["images"])
    chosen = {}
    for seed in (0, 1):
        made = Deviation(**settings, limit=4, seed=seed)
        chosen[seed] = open_images(made, open_classifier(made)).ids
        assert chosen[seed] == every.take(4, seed).ids
    assert chosen[0] != chosen[1]
    assert every.ids[:4] not in chosen.values()


def test_folders_of_wordnet_ids_are_the_classes_of_a_model_that_knows_them(tmp_path):
    classifier = gs.load("efficientnet_lite0", device="cpu")
    for at in (0, 7):
        make_images(tmp_path / "photos" / classifier.wnids[at], 1)
        (tmp_path / "photos" / classifier.wnids[at] / "labels.csv").unlink()
    found = open_images(Deviation(images=tmp_path / "photos"), classifier)
    assert sorted(found.labels) == [0, 7]


def test_weights_size_and_names_are_those_of_the_settings(settings, tmp_path):
    plain = open_classifier(Deviation(**settings))
    other = {name: value + 1 for name, value in plain.module.state_dict().items()}
    save_file(other, tmp_path / "other.safetensors")
    (tmp_path / "names.txt").write_text("one\ntwo\nthree\n")
    given = {"weights": str(tmp_path / "other.safetensors"), "input_size": 16, "classes": tmp_path / "names.txt"}
    made = open_classifier(Deviation(**settings, **given))
    assert made.weights_sha256 != plain.weights_sha256
    assert (made.module.first.weight == other["first.weight"]).all()
    assert (made.input_size, plain.input_size) == (16, 32)
    assert made.class_names == ("one", "two", "three")


def test_an_attacks_own_epsilon_wins():
    assert open_attack("fgsm:epsilon=2/255", 4 / 255).epsilon == pytest.approx(2 / 255)
    assert open_attack("fgsm", 4 / 255).epsilon == pytest.approx(4 / 255)
    assert not hasattr(open_attack("gaussian:std=0.1", 4 / 255), "epsilon")


def test_lists_keep_the_order_in_which_they_were_given(settings):
    assert Deviation(**settings | {"strengths": "2,0.5,2,1"}).strengths == (2.0, 0.5, 1.0)


def test_what_is_set_beside_quick_wins():
    limit = Renkhoff2022.QUICK["limit"]
    assert Renkhoff2022(quick=True).limit == limit
    assert Renkhoff2022(quick=True, limit=limit + 1).limit == limit + 1
    assert Renkhoff2022().limit != limit


@pytest.mark.parametrize("beside", ["images", "labels"])
def test_a_set_and_images_are_not_given_together(beside, tmp_path):
    with pytest.raises(ValidationError, match="a set brings its own images and labels"):
        Renkhoff2022(**{"set": tmp_path, beside: tmp_path})


def test_images_without_a_label_are_counted_among_those_asked_for(settings, tmp_path):
    table = settings["images"] / "labels.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-2]) + "\n")
    (settings["images"] / "001.png").write_bytes(b"no picture")
    images = json.loads((Deviation(**settings).run(tmp_path / "out") / "manifest.json").read_text())["images"]
    assert (images["asked"], images["used"], images["labels"]) == (12, 9, "given")
    assert sorted(skip["id"] for skip in images["skipped"]) == ["001.png", "010.png", "011.png"]


def test_cells_count_on_from_where_they_are_told_to(settings, tmp_path):
    run = Run("deviation", 1, Deviation(**settings, batch_size=5), tmp_path / "out")
    assert [cell.number for cell in run.cells("rows", first=7)] == [7, 8, 9]
    assert [len(cell.ids) for cell in run.cells("rows")] == [5, 5, 2]
