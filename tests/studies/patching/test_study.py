"""The patching study: its rows against patches by hand, its order of channels, and what a run keeps and refuses."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import gazeshift as gs
from gazeshift.errors import GazeshiftError
from gazeshift.pipeline import attack
from gazeshift.seeds import generator_for
from gazeshift.studies.patching.rows import RANKINGS, steps_to
from gazeshift.studies.patching.settings import Patching
from helpers.killing import check_killed
from helpers.small_study import make_images

NETWORK = """
import torch
from torch import nn


class Tiny(nn.Module):
    input_size = 24

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 8, 3, padding=1, stride=2)
        self.third = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)
        with torch.no_grad():  # no class is far ahead of the others, so that an attack can turn the answer
            self.head.bias -= self.head(self.seen(torch.rand(16, 3, 24, 24))).mean(0)

    def seen(self, images):
        maps = torch.relu(self.second(torch.relu(self.first(images - 0.5))))
        return (maps + torch.relu(self.third(maps))).mean((2, 3))

    def forward(self, images):
        return self.head(self.seen(images)) * 30


def tiny():
    return Tiny()
"""
LAYERS = ("first", "second", "third")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("patching")
    (folder / "patched_network.py").write_text(NETWORK)
    make_images(folder / "images", 6)
    for table in (folder / "images").glob("*.csv"):  # the network's own answers are the labels
        table.unlink()
    return folder


def settings(place: Path, **more) -> Patching:
    told = {"model": f"module:{place / 'patched_network.py'}:tiny", "images": place / "images", "layers": LAYERS}
    return Patching(**{**told, "epsilon": "16/255", "device": "cpu", "batch_size": 4, **more})


@pytest.fixture(scope="module")
def folder(place) -> Path:
    return settings(place).run(place / "study")


def rows(folder, **wanted):
    found = pq.read_table(folder / "rows.parquet").to_pylist()
    return [row for row in found if all(row[name] == value for name, value in wanted.items())]


def pairs(place):
    """Fooled images by hand: their ids, clean and attacked."""
    classifier = gs.load(f"module:{place / 'patched_network.py'}:tiny", device="cpu")
    batch = gs.open_source(place / "images").read(preprocessing=classifier.preprocessing)
    draws = [generator_for(0, "pgd", name) for name in batch.ids]
    found = attack(classifier, batch.images, None, by="pgd:epsilon=16/255", generator=draws)
    at = found.success.nonzero()[:, 0]
    assert len(at) >= 3, "the network must be fooled"
    return classifier, [batch.ids[one] for one in at.tolist()], found.pick(at)


def forward(network, images, changed=lambda _, maps: maps):
    """The network written out; `changed` gets each layer's name and maps."""
    images = (images - 0.5).double()
    first = changed("first", torch.relu(network.first(images)))
    second = changed("second", torch.relu(network.second(first)))
    third = changed("third", torch.relu(network.third(second)))
    return network.head((second + third).mean((2, 3))) * 30


def slow(place, layer, direction, *, ranking, k):
    """One patch of one layer, image by image in float64: id to (margin, turned)."""
    classifier, ids, found = pairs(place)
    network, answers = classifier.module.double(), {}
    for at, name in enumerate(ids):
        clean, attacked = found.clean[at : at + 1], found.images[at : at + 1]
        right, wrong = int(found.labels[at]), int(found.logits[at].argmax())
        kept = {}
        for side, images in (("clean", clean), ("attacked", attacked)):
            maps = {}
            logits = forward(network, images, lambda key, own, maps=maps: maps.setdefault(key, own.requires_grad_()))
            margin = logits[0, right] - logits[0, wrong]
            kept[side] = maps[layer].detach(), torch.autograd.grad(margin, maps[layer])[0]
        taker, giver = ("attacked", "clean") if direction == "restore" else ("clean", "attacked")
        change = kept[giver][0] - kept[taker][0]
        effect = (change * kept[taker][1]).sum((0, 2, 3)) * (1 if direction == "restore" else -1)
        draw = generator_for(0, "random", layer, direction, name)
        value = {
            "effect": effect,
            "rmse": change.square().mean((0, 2, 3)).sqrt(),
            "random": torch.rand(change.shape[1], generator=draw),
        }[ranking]
        chosen = sorted(range(change.shape[1]), key=lambda channel: -float(value[channel]))[:k]

        def patched(key, own, chosen=chosen, giver=kept[giver][0]):
            own = own.clone()
            if key == layer:
                own[:, chosen] = giver[:, chosen]
            return own

        logits = forward(network, attacked if direction == "restore" else clean, patched)[0]
        turned = (int(logits.argmax()) == right) == (direction == "restore")
        answers[name] = float(logits[right] - logits[wrong]), turned
    return answers


@pytest.mark.parametrize("direction", ["restore", "flip"])
@pytest.mark.parametrize("ranking", RANKINGS)
@pytest.mark.parametrize("patch", [("first", 2), ("second", 4), ("third", 1), ("third", 8)])
def test_rows_are_patches_by_hand(folder, place, patch, direction, ranking):
    layer, k = patch
    found = rows(folder, layer=layer, direction=direction, ranking=ranking, k=k)
    wanted = slow(place, layer, direction, ranking=ranking, k=k)
    assert {row["image"] for row in found} == set(wanted)
    for row in found:
        margin, turned = wanted[row["image"]]
        assert row["margin"] == pytest.approx(margin, abs=1e-3)
        assert row["turned"] == turned or abs(margin) < 1e-3


def test_every_step_of_every_ranking_is_there(folder, place):
    _, ids, _ = pairs(place)
    steps = {"first": [1, 2, 4, 6], "second": [1, 2, 4, 8], "third": [1, 2, 4, 8]}
    assert len(rows(folder)) == len(ids) * 2 * 3 * sum(map(len, steps.values()))
    for layer, wanted in steps.items():
        assert sorted({row["k"] for row in rows(folder, layer=layer)}) == wanted
        assert {row["of"] for row in rows(folder, layer=layer)} == {wanted[-1]}


def test_a_layer_that_nothing_goes_around_mends_everything_exactly(folder):
    """`third` is a branch: the maps of `second` are added to its own."""
    layers = pq.read_table(folder / "layers.parquet").to_pylist()
    exact = {name: [row["exact"] for row in layers if row["layer"] == name] for name in LAYERS}
    assert all(exact["first"])
    assert all(exact["second"])
    assert not any(exact["third"])
    for layer, whole in (("first", 6), ("second", 8)):
        for direction in ("restore", "flip"):
            assert all(row["turned"] for row in rows(folder, layer=layer, direction=direction, k=whole))


def test_positions_are_replaced_in_all_maps(place, tmp_path):
    out = settings(place, unit="positions", layers=("second",), factor=12).run(tmp_path / "study")
    assert sorted({(row["k"], row["of"]) for row in rows(out)}) == [(1, 144), (12, 144), (144, 144)]
    classifier, ids, found = pairs(place)
    network = classifier.module.double()
    maps = {}
    forward(network, found.clean, lambda key, own: maps.setdefault(("clean", key), own))
    forward(network, found.images, lambda key, own: maps.setdefault(("attacked", key), own))
    change = maps["clean", "second"] - maps["attacked", "second"]
    order = change.square().mean(1).flatten(1).argsort(1, descending=True)[:, :12]
    mask = torch.zeros_like(change[:, :1]).flatten(1).scatter(1, order, 1).reshape(change[:, :1].shape).bool()

    def patched(key, own):
        return torch.where(mask, maps["clean", "second"], own) if key == "second" else own

    logits = forward(network, found.images, patched)
    margins = dict(
        zip(
            ids,
            (logits.gather(1, found.labels[:, None]) - logits.gather(1, found.logits.argmax(1, keepdim=True)))[
                :, 0
            ].tolist(),
            strict=True,
        )
    )
    for row in rows(out, direction="restore", ranking="rmse", k=12):
        assert row["margin"] == pytest.approx(margins[row["image"]], abs=1e-3)


def test_the_batch_and_the_cells_do_not_change_rows(folder, place, tmp_path):
    other = settings(place, batch_size=1).run(tmp_path / "study")
    one, two = (
        pq.read_table(here / "rows.parquet").sort_by(
            [(name, "ascending") for name in ("image", "layer", "direction", "ranking", "k")]
        )
        for here in (folder, other)
    )
    for name in ("image", "layer", "direction", "ranking", "k", "of", "turned"):
        assert one[name].equals(two[name])
    assert np.allclose(one["margin"], two["margin"], atol=1e-3)


def test_layers_say_how_far_the_gaze_moved(folder, place):
    classifier, ids, found = pairs(place)
    clean, attacked = (gs.look(classifier, images, layers=list(LAYERS)) for images in (found.clean, found.images))
    wanted = gs.compare(clean, attacked).values
    for row in pq.read_table(folder / "layers.parquet").to_pylist():
        at = ids.index(row["image"])
        assert row["cosine"] == pytest.approx(float(wanted[row["layer"], "grad_cam"]["cosine"][at]), abs=1e-5)
        assert -1 <= row["agreement"] <= 1


def test_no_fooled_image_makes_a_page_that_says_so(place, tmp_path):
    out = settings(place, epsilon="0.0001/255").run(tmp_path / "study")
    assert rows(out) == []
    from gazeshift import report

    made = report.make(out)
    assert made.findings == ()
    assert "The attack fooled no image" in made.html


def test_a_killed_run_ends_with_the_same_bytes(place, tmp_path):
    told = settings(place, batch_size=1).model_dump(exclude_unset=True)
    check_killed(Patching, told, tmp_path, ("rows", "layers", "images"), times=3)


def test_a_set_of_examples_can_be_patched(place, tmp_path):
    from gazeshift.runs.adversarial_set.run import make_set
    from gazeshift.runs.adversarial_set.settings import SetSettings

    told = settings(place)
    made = make_set(
        "pgd",
        SetSettings(model=told.model, images=told.images, epsilon=told.epsilon, device="cpu", health_images=0),
        tmp_path / "set",
    )
    out = settings(place, images=None, set=made).run(tmp_path / "study")
    assert json.loads((out / "manifest.json").read_text())["examples"] >= 3


@pytest.mark.parametrize(("more", "sentence"), [
    ({"layers": ("nowhere",)}, "nowhere"),
    ({"attack": "pgd:stepz=2"}, "stepz"),
])  # fmt: skip
def test_bad_input_gets_one_sentence(place, tmp_path, more, sentence):
    with pytest.raises(GazeshiftError, match=sentence):
        settings(place, **more).run(tmp_path / "study")


def test_steps_end_with_all():
    assert steps_to(1, 2) == [1]
    assert steps_to(8, 2) == [1, 2, 4, 8]
    assert steps_to(1280, 4) == [1, 4, 16, 64, 256, 1024, 1280]
