"""The layers of VGG-16, by torchvision's names and by those of the papers (``block4_conv1``, ``4-1``)."""

import pytest
import torch
from torchvision import models as zoo

from gazeshift import look
from gazeshift.models import Classifier, load, select

STAGES = [("1", 2, 64, 224), ("2", 2, 128, 112), ("3", 3, 256, 56), ("4", 3, 512, 28), ("5", 3, 512, 14)]
RELUS = [1, 3, 6, 8, 11, 13, 15, 18, 20, 22, 25, 27, 29]  # after torchvision's convolutions 0, 2, 5, 7, ...
RELUS_AFTER_NORM = [2, 5, 9, 12, 16, 19, 22, 26, 29, 32, 36, 39, 42]
POOLS = [4, 9, 16, 23, 30]


def expected():
    """Paper's two names, shape and what follows of each convolution."""
    for stage, convs, channels, size in STAGES:
        for conv in range(1, convs + 1):
            after = "pool" if conv == convs else ""
            yield f"block{stage}_conv{conv}", f"{stage}-{conv}", (channels, size, size), after


@pytest.fixture(scope="module")
def vgg16():
    return load("torchvision:vgg16", weights="random", device="cpu")


@pytest.fixture(scope="module")
def layers(vgg16):
    return vgg16.layers()


def test_the_thirteen_convolutions_are_taken_after_their_relu(layers):
    convs = [layer for layer in layers if "conv" in layer.kinds]
    assert [layer.name for layer in convs] == [f"features.{at}" for at in RELUS]
    assert [layer.aliases[0] for layer in convs] == [f"features.{at - 1}" for at in RELUS]
    assert [(*layer.aliases[-2:], layer.shape, layer.followed_by) for layer in convs] == [*expected()]


def test_every_pool_has_one_name(layers):
    pools = {f"block{stage}_pool": f"features.{at}" for stage, at in zip("12345", POOLS, strict=True)}
    for alias, name in pools.items():
        assert [layer.name for layer in layers if alias in layer.names] == [name]
    assert [layer.name for layer in layers if not layer.kinds] == [*pools.values(), "avgpool"]
    assert [layer.shape for layer in layers if layer.name in pools.values()] == [
        (64, 112, 112),
        (128, 56, 56),
        (256, 28, 28),
        (512, 14, 14),
        (512, 7, 7),
    ]


def test_blocks_are_the_last_convolutions_before_each_pool_and_the_trunk_is_all(layers):
    assert [layer.name for layer in select(layers, "blocks", "vgg16")] == [
        f"features.{at}" for at in (3, 8, 15, 22, 29)
    ]
    assert select(layers, "trunk", "vgg16") == select(layers, "convs", "vgg16")


def test_no_name_belongs_to_two_layers(layers):
    names = [name for layer in layers for name in layer.names]
    assert len(names) == len(set(names))


def test_in_place_relus_are_seen_after_the_relu_and_every_layer_can_be_traced(vgg16):
    evidence = look(vgg16, torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)), layers="*")
    assert len(evidence.layers) == 18  # the last pool gives one pixel, so it is no map; avgpool spreads it again
    for layer in evidence.layers:
        assert evidence.maps(layer).shape[1:] == evidence.traces[layer].layer.shape[1:]


def test_batch_norm_belongs_to_its_convolution():
    network = zoo.vgg16_bn(init_weights=False)
    network.classifier = torch.nn.Sequential(torch.nn.Linear(512 * 49, 10))
    classifier = Classifier(network, name="vgg16_bn", own=True)
    convs = [layer for layer in classifier.layers((64, 64)) if "conv" in layer.kinds]
    assert [layer.name for layer in convs] == [f"features.{at}" for at in RELUS_AFTER_NORM]
    assert [layer.aliases for layer in convs] == [
        (f"features.{at - 2}", f"features.{at - 1}", keras, label)
        for at, (keras, label, *_) in zip(RELUS_AFTER_NORM, expected(), strict=True)
    ]


def test_a_users_own_vgg16_has_the_papers_names(data_folder, monkeypatch):
    monkeypatch.chdir(data_folder / "vgg16_cifar10")
    classifier = load("module:vgg16_cifar10:vgg16_cifar10", device="cpu")
    convs = [layer for layer in classifier.layers((32, 32)) if "conv" in layer.kinds]
    assert [layer.name for layer in convs] == [f"net.0.{at}" for at in RELUS]
    assert [layer.aliases[-1] for layer in convs] == [label for _, label, *_ in expected()]
    assert [layer.shape for layer in convs] == [
        (channels, size // 7, size // 7) for _, _, (channels, size, _), _ in expected()
    ]
    assert [layer.name for layer in classifier.layers((32, 32)) if "block4_pool" in layer.names] == ["net.0.23"]
