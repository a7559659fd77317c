"""New heads: what a headed network computes, the split, training on features, and going on after a kill."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import gazeshift as gs
from gazeshift.errors import DataError
from gazeshift.models import Classifier, Preprocessing, load, select
from gazeshift.records import Batch
from gazeshift.runs.training import Schedule
from gazeshift.studies.chakraborty2022.collection import open_collection
from gazeshift.studies.chakraborty2022.headed import WithNewHead
from gazeshift.studies.chakraborty2022.heads import (
    FEATURES,
    epoch_rows,
    examples,
    feature_model,
    feature_rows,
    headed,
    split,
    train_head,
)
from helpers.faces import make_classes
from helpers.networks import Plain, Rebuilt, Residual, seeded
from helpers.small_study import make_network

IMAGES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def body_of(network: nn.Module) -> Classifier:
    torch.manual_seed(0)
    return Classifier(network, name="body", preprocessing=Preprocessing(resize=16, crop=16))


def last(classifier: Classifier):
    return select(classifier.layers((16, 16)), "trunk", classifier.name)[-1]


@pytest.mark.parametrize("how", ["module", "in-place", "function", "method", "in-place method"])
def test_a_head_sees_the_last_layer_after_its_activation(how):
    torch.manual_seed(1)
    network = Plain(how).eval()
    body = body_of(network)
    found = feature_model(body, last(body))(IMAGES)
    maps = IMAGES
    for index in range(3):
        maps = torch.relu(network.norms[index](network.convs[index](maps)))
        maps = nn.functional.max_pool2d(maps, 2) if index == 0 else maps
    torch.testing.assert_close(found, maps.mean((2, 3)))


@pytest.mark.parametrize("how", ["in place", "out of place"])
def test_what_the_body_writes_into_its_last_layer_afterwards_does_not_count(how):
    network = seeded(lambda: Rebuilt(how, overwrite=True))
    body = body_of(network)
    assert last(body).overwritten
    found = feature_model(body, last(body))(IMAGES)
    maps = network.norm(network.second(network.first(IMAGES).clamp(min=0))).clamp(min=0)
    torch.testing.assert_close(found, maps.mean((2, 3)))


@pytest.mark.parametrize("network", [Plain("function"), Residual()])
def test_cam_is_defined_at_the_last_layer_and_is_grad_cam_times_the_pixels(network):
    body = body_of(network)
    made = headed(body, last(body), nn.Linear(last(body).shape[0], 4), ["a", "b", "c", "d"])
    evidence = gs.look(made, IMAGES, layers=last(made).name, cams=("cam", "grad_cam"))
    cam, grad = (evidence.maps(last(made).name, name) for name in ("cam", "grad_cam"))
    assert cam.isfinite().all()
    torch.testing.assert_close(cam / (cam.shape[1] * cam.shape[2]), grad)
    assert made.class_names == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("name", "alias"),
    [
        ("torchvision:vgg16", "block5_conv3"),
        ("torchvision:resnet50", "conv5_block3_out"),
        ("torchvision:inception_v3", "mixed10"),
        ("timm:xception", "block14_sepconv2_act"),
    ],
)
def test_the_papers_models_end_where_the_paper_looks(name, alias):
    body = load(name, weights="random", input_size=128)
    layer = select(body.layers((128, 128)), "trunk", name)[-1]
    assert alias in layer.names
    made = headed(body, layer, nn.Linear(layer.shape[0], 3), ["a", "b", "c"])
    with torch.no_grad():
        assert made(torch.rand(1, 3, 128, 128)).shape == (1, 3)


def test_the_body_is_left_as_it_is():
    body = body_of(Residual())
    before = body.weights_sha256
    answer = body(IMAGES)
    headed(body, last(body), nn.Linear(8, 2), ["a", "b"])(IMAGES)
    assert torch.equal(body(IMAGES), answer)
    assert body.weights_sha256 == before


def test_the_split_is_stratified_and_has_every_image_once(tmp_path):
    found = open_collection(make_classes(tmp_path / "set", images=30))
    parts = split(found, 0)
    assert parts.keys() == set(found.source.ids)
    for name in found.names:
        own = Counter(part for image, part in parts.items() if image.startswith(name))
        assert own == {"train": 24, "val": 3, "test": 3}
    assert split(found, 0) == parts
    assert split(found, 1) != parts


def test_a_class_needs_three_images_and_is_named(tmp_path):
    root = make_classes(tmp_path / "set")
    for file in sorted((root / "class-1").iterdir())[1:]:
        file.unlink()
    with pytest.raises(DataError, match="class 'class-1' has 1 image, and a class needs at least 3"):
        split(open_collection(root), 0)
    (root / "class-1" / "more.png").write_bytes((root / "class-0" / "00.png").read_bytes())
    with pytest.raises(DataError, match="class 'class-1' has 2 images"):
        split(open_collection(root), 0)
    (root / "class-1" / "third.png").write_bytes((root / "class-0" / "00.png").read_bytes())
    parts = split(open_collection(root), 0)
    assert {part for own, part in parts.items() if own.startswith("class-1")} == {"train", "val", "test"}


def test_features_come_back_as_they_were(tmp_path):
    body = load(make_network(tmp_path))
    model = feature_model(body, select(body.layers(), "trunk", "tiny")[-1])
    images = torch.rand(3, 3, 32, 32)
    table = feature_rows(model, Batch(ids=("a", "b", "c"), images=images, labels=None))
    got = examples(table, {"a": 0, "b": 1, "c": 0}, {"a": "train", "b": "val", "c": "train"}, "train")
    features, labels = got.tensors
    with torch.no_grad():
        torch.testing.assert_close(features, model(images)[[0, 2]])
    assert labels.tolist() == [0, 0]
    with pytest.raises(DataError, match="no image of the part 'test'"):
        examples(table, {}, {}, "test")


def separable(n: int = 60, seed: int = 0) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    features = nn.functional.one_hot(labels, 3).float() + 0.2 * torch.randn(n, 3, generator=generator)
    return TensorDataset(features, labels)


def trained(folder: Path, epochs: int = 6, **more):
    given = {"train": separable(), "val": separable(30, 1)}
    schedule = Schedule(epochs=epochs, learning_rate=0.05)
    settings = {"classes": 3, "dropout": 0.5, "batch_size": 8, "identity": "here"} | more
    return train_head(given, schedule=schedule, checkpoint=folder / "heads" / "head.safetensors", **settings)


def test_a_head_learns_and_the_best_epoch_is_kept(tmp_path):
    before = torch.random.get_rng_state()
    head, history = trained(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)
    scores = [epoch["score"] for epoch in history.epochs]
    assert history.kept == int(np.argmax(scores))
    features, labels = separable(30, 1).tensors
    right = head(features).argmax(1) == labels
    assert right.float().mean() == pytest.approx(max(scores))
    rows = epoch_rows(history, condition="raw", model="m").to_pylist()
    assert [row["epoch"] for row in rows if row["kept"]] == [history.kept + 1]


def test_a_broken_off_training_ends_with_the_same_head(tmp_path):
    whole, _ = trained(tmp_path / "whole")
    steps = []

    def stop(*told):
        steps.append(told)
        if len(steps) == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "broken", progress=stop)
    resumed, history = trained(tmp_path / "broken")
    assert len(history.epochs) == 6
    assert torch.equal(resumed.weight, whole.weight)


def test_a_damaged_checkpoint_is_noted_and_trained_anew(tmp_path):
    whole, _ = trained(tmp_path)
    file = tmp_path / "heads" / "head.safetensors"
    file.write_bytes(file.read_bytes()[:50])
    again, history = trained(tmp_path)
    assert "checkpoint head.safetensors is damaged" in history.notes[0]
    assert torch.equal(again.weight, whole.weight)


def test_no_images_give_no_features():
    body = body_of(Plain())
    model = feature_model(body, last(body))
    table = feature_rows(model, Batch(ids=(), images=torch.empty(0, 3, 16, 16), labels=None))
    assert table.schema == FEATURES
    assert isinstance(table, pa.Table)
    assert table.num_rows == 0


def test_a_layer_that_is_not_reached_is_named():
    body = body_of(Plain())
    layer = last(body)
    from dataclasses import replace

    with pytest.raises(gs.GazeshiftError, match="did not reach layer"):
        WithNewHead(body.module, replace(layer, call=2), nn.Identity())(IMAGES)
