"""The study of Ding et al. 2022: its numbers by hand, splits, resuming, its page, and what it refuses."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

import gazeshift as gs
from gazeshift import report
from gazeshift.errors import DataError, ModelError, SettingsError
from gazeshift.model_edits.scale_filters import ScaleFilters
from gazeshift.report.roc import auroc, roc
from gazeshift.runs.examples import open_pairs
from gazeshift.studies.ding2022.feature_maps import PADDED, averaged, map_rmse, padded, ranked_layers, ranking, summed
from gazeshift.studies.ding2022.report.numbers import Change, change_statistic
from gazeshift.studies.ding2022.settings import Ding2022
from gazeshift.studies.ding2022.training_data import noisy, split
from helpers.ding_study import HIDDEN, SMALL, make_parts, make_settings
from helpers.killing import check_killed
from helpers.small_study import make_images

TABLE_8 = [  # clean before, after, adversarial before, after, and whether the adversarial label stayed
    (95.10, 98.37, 90.42, 95.23, True),
    (47.62, 62.43, 50.38, 61.63, True),
    (78.84, 88.14, 77.28, 83.62, True),
    (99.12, 99.10, 84.53, 82.68, True),
    (61.83, 97.89, 20.44, 18.06, False),
    (78.38, 79.32, 89.17, 90.63, True),
    (80.22, 77.62, 99.86, 99.93, True),
    (92.53, 92.45, 98.12, 96.83, True),
]


def row(before: float, after: float, *, stayed: bool = True) -> Change:
    answers = (1, "one", before / 100), (1 if stayed else 2, "one or two", after / 100)
    return Change("a.png", "mask", "clean", None, None, 1, "one", *answers[0], *answers[1])


def test_the_statistic_of_the_papers_table_8():
    clean = [row(before, after) for before, after, *_ in TABLE_8]
    adversarial = [row(before, after, stayed=stayed) for _, _, before, after, stayed in TABLE_8]
    assert change_statistic(clean) == pytest.approx(7.710, abs=1e-3)
    assert change_statistic(adversarial) == pytest.approx(2.970, abs=1e-3)
    assert np.isnan(change_statistic([row(50, 60, stayed=False)]))


def test_areas_are_those_of_scikit_learn_and_of_hard_labels_the_balanced_accuracy():
    random_numbers = np.random.default_rng(0)
    high, low = random_numbers.normal(1, 1, 40).round(1), random_numbers.normal(0, 1, 60).round(1)
    truth = [1] * 40 + [0] * 60
    assert auroc(high, low) == pytest.approx(roc_auc_score(truth, [*high, *low]))
    assert auroc(high, low) == pytest.approx(auroc(np.exp(high), np.exp(low)))  # a monotone map changes nothing
    hard = [(values > 0.5).astype(float) for values in (high, low)]
    assert auroc(*hard) == pytest.approx(balanced_accuracy_score(truth, np.concatenate(hard)))
    false, true = roc(high, low)
    assert np.trapezoid(true, false) == pytest.approx(auroc(high, low))


def test_no_id_is_on_both_sides_and_smaller_training_sets_lie_in_larger_ones():
    ids = [f"{at}.png" for at in range(50)]
    parts = split(ids, 3)
    assert parts.sizes == (10, 20, 30, 40)
    assert len(parts.held) == 10
    assert set(parts.train).isdisjoint(parts.held)
    assert sorted((*parts.train, *parts.held)) == sorted(ids)
    assert split(list(reversed(ids)), 3) == parts
    assert split(ids, 4).held != parts.held
    with pytest.raises(SettingsError, match="takes 60, and the set has 50"):
        split(ids, 0, [10, 50], 10)


def test_differences_of_maps_against_numpy_and_the_padded_stem_of_a_resnet():
    """A ring of zeros multiplies an RMSE by 112 / 114."""
    model = gs.load("torchvision:resnet50", weights="random")
    layers = ranked_layers(model, (64, 64), "auto")
    assert list(layers)[:3] == [PADDED, "activation_1", "activation_2"]
    assert len(layers) == 50
    random_maps = [torch.rand((2, 3, 112, 112), generator=gs.generator_for(at)) for at in range(2)]
    one, other = map_rmse(*random_maps), map_rmse(*map(padded, random_maps))
    assert torch.allclose(other, one * 112 / 114, rtol=1e-12)
    slow = [np.sqrt(np.mean((a - b).double().numpy() ** 2)) for a, b in zip(random_maps[0][0], random_maps[1][0])]  # noqa: B905
    np.testing.assert_allclose(one[0], slow, rtol=1e-6)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return make_parts(tmp_path_factory.mktemp("ding"))


@pytest.fixture(scope="module")
def settings(parts, tmp_path_factory):
    return make_settings(tmp_path_factory.mktemp("set"), parts)


@pytest.fixture(scope="module")
def finished(settings, tmp_path_factory):
    return Ding2022(**settings).run(tmp_path_factory.mktemp("study") / "out")


def table(folder: Path, name: str = "rows") -> list[dict]:
    return pq.read_table(folder / f"{name}.parquet").to_pylist()


def test_the_ranking_is_that_of_maps_taken_by_hand(settings, finished):
    model, source = gs.load(settings["model"]), open_pairs(Path(settings["sets"].split("=")[1]), Ding2022(**settings))
    pairs = source.pairs(source.ids)
    found = {(one["layer"], one["channel"]): one for one in table(finished, "maps")}
    network, relu = model.module, torch.relu
    sides = []
    for images in (pairs.images, pairs.attacked):
        first = relu(network.first(images - 0.5))
        sides.append({"first": first.double(), "second": relu(network.second(first)).double()})
    for layer in ("first", "second"):
        clean, attacked = (side[layer] for side in sides)
        wanted = (clean - attacked).square().mean((2, 3)).sqrt().mean(0)
        for channel, value in enumerate(wanted.tolist()):
            one = found[layer, channel]
            assert one["rmse"] == pytest.approx(value, rel=1e-5)
            assert one["relative"] == pytest.approx(value / clean.square().mean().sqrt().item(), rel=1e-5)
            assert one["dead"] == bool((clean[:, channel] == 0).all() and (attacked[:, channel] == 0).all())
    order = sorted(found.values(), key=lambda one: -one["rmse"])[:3]
    (told,) = json.loads((finished / "manifest.json").read_text())["sets"]
    assert told["most"] == [[one["layer"], one["channel"]] for one in order]
    assert told["fooled"] >= 2


def test_dead_maps_are_not_among_the_least_changed(settings):
    model = gs.load(settings["model"])
    images = torch.rand((3, 3, 32, 32), generator=gs.generator_for(0))
    with torch.no_grad():
        model.module.first.weight[0], model.module.first.bias[0] = 0, -1
    maps = averaged(summed(model, images, images.flip(3), ranked_layers(model, (32, 32), "auto")), "x")
    found = ranking(maps, 30)
    assert ("first", 0) not in found.least
    assert found.most[-1] == ("first", 0) or maps["dead"].to_pylist().count(True) > 1
    assert len(found.most) == 20


def test_rows_after_a_change_are_the_models_answers(settings, finished):
    (told,) = json.loads((finished / "manifest.json").read_text())["sets"]
    model, source = gs.load(settings["model"]), open_pairs(Path(settings["sets"].split("=")[1]), Ding2022(**settings))
    pairs, rows = source.pairs(told["examples"]), table(finished)
    per_image = 2 * 2 * 2 * 2 + 3 * 2  # places x draws x values x sides, and three changes of the model
    assert len(rows) == 2 * per_image
    with ScaleFilters(factor=1.8)(model, told["filters_most"]), torch.no_grad():
        wanted = model(pairs.attacked).double().softmax(1).max(1)
    found = [one for one in rows if one["experiment"] == "enlarge_sensitive" and one["side"] == "attacked"]
    assert [one["image"] for one in found] == told["examples"]
    np.testing.assert_allclose([one["after_confidence"] for one in found], wanted.values, rtol=1e-5)
    assert [one["after_class"] for one in found] == wanted.indices.tolist()


def test_trainings_say_what_was_before_and_detectors_judge_unseen_images_on_both_sides(finished):
    epochs = table(finished, "training")
    assert sorted({one["size"] for one in epochs}) == [2, 4, 6, 8]
    assert {one["clean_accuracy"] for one in epochs if one["epoch"] == 0} == {1.0}
    assert [one["epoch"] for one in epochs] == [0, 1, 2] * 4
    scores = table(finished, "scores")
    kinds = {kind: sorted({one["image"] for one in scores if one["kind"] == kind}) for kind in ("clean", "attacked")}
    assert len(kinds["clean"]) == 5
    assert kinds["clean"] == kinds["attacked"]
    assert {one["trained_on"] for one in scores} == {"attacked", "gaussian"}


def test_the_control_has_the_size_of_the_perturbation():
    clean = torch.full((2, 3, 64, 64), 0.5)
    attacked = clean + torch.tensor([0.02, 0.05])[:, None, None, None] * torch.sign(torch.randn(clean.shape))
    made = noisy(clean, attacked, ["a", "b"], 0)
    sizes = (made - clean).square().mean((1, 2, 3)).sqrt()
    assert torch.allclose(sizes, torch.tensor([0.02, 0.05]), rtol=0.05)
    assert torch.equal((made * 255).round() / 255, made)


def test_a_killed_study_ends_with_the_same_bytes(settings, tmp_path):
    tables = ("rows", "seen", "maps", "training", "detector", "scores", "gallery")
    out = check_killed(Ding2022, settings, tmp_path, tables, times=3)
    assert not list((out / "scratch").glob("*"))


def test_the_page_has_every_figure_and_table_of_the_paper(finished):
    made = report.make(finished)
    shown = set(re.findall(r">\s*((?:Fig|Table) \d+)\s*<", made.html))
    tables = (1, 3, 6, 7, 9, 12, 13, 15)  # those of the paper's PGD set
    assert {*(f"Fig {at}" for at in (2, 3, 4, 5)), *(f"Table {at}" for at in tables)} <= shown
    assert len(made.findings) == 3


def test_no_adversarial_example_is_said_and_not_an_error(settings, parts, tmp_path):
    given = {name: parts[name] for name in ("images", "model", "detector")}
    weak = SMALL | given | {"attack": "gaussian", "epsilon": "0.0001", "epochs": 0, "detector_epochs": 0}
    out = Ding2022(**weak).run(tmp_path / "out")
    made = report.make(out)
    assert "No adversarial example in gaussian" in made.html
    assert not (out / "rows.parquet").exists() or not table(out)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"sets": "strong"}, "NAME=FOLDER"),
        ({"values": "0,300"}, "between 0 and 255"),
        ({"sizes": "2.5"}, "whole numbers"),
    ],
)
def test_bad_settings_are_refused(settings, bad, message):
    with pytest.raises(ValueError, match=message):
        Ding2022(**settings | bad)


def test_what_cannot_be_studied_ends_in_a_sentence(settings, tmp_path):
    with pytest.raises(SettingsError, match=r"and the set has 10\. Lower --sizes"):
        Ding2022(**settings | {"sizes": "9,20"}).run(tmp_path / "many")
    with pytest.raises(DataError, match="at least 2 examples"):
        Ding2022(**settings | {"limit": 1}).run(tmp_path / "one")
    file = tmp_path / "hidden.py"
    file.write_text(HIDDEN)
    images = make_images(tmp_path / "images", 3)
    with pytest.raises(ModelError, match="average pooling and one linear layer"):
        Ding2022(**SMALL | {"model": f"module:{file}:made", "images": images, "detector": settings["detector"]}).run(
            tmp_path / "head"
        )


def test_the_manifest_counts_pairs_once(finished):
    manifest = json.loads((finished / "manifest.json").read_text())
    assert (manifest["images"]["asked"], manifest["images"]["used"]) == (10, 10)
    assert [check["detail"] for check in manifest["preflight"] if check["check"] == "baseline accuracy"] == [
        "1.000 of 10 clean images of strong are classified as labelled, untrained"
    ]


def test_a_detector_learns_what_is_plain_to_see(settings, tmp_path):
    plain = {"epochs": 0, "detector_epochs": 60, "detector_learning_rate": 0.02, "control": False}
    out = Ding2022(**settings | plain).run(tmp_path / "out")
    said = {
        kind: [one["score"] for one in table(out, "scores") if one["kind"] == kind] for kind in ("clean", "attacked")
    }
    losses = [one["loss"] for one in table(out, "detector")]
    assert losses[-1] < 0.5 * losses[0]
    assert auroc(np.array(said["attacked"]), np.array(said["clean"])) > 0.9
