"""Choosing layers: selectors, globs, names, aliases, several at once; unknown ones name the nearest."""

import pytest

from gazeshift.errors import UnknownNameError
from gazeshift.models import load, select


@pytest.fixture(scope="module")
def layers():
    return load("torchvision:resnet50", weights="random", device="cpu", input_size=64).layers()


def names(layers, wanted):
    return [layer.name for layer in select(layers, wanted, "resnet50")]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("layer4.2", ["layer4.2"]),
        ("layer4.2.relu#3", ["layer4.2"]),  # an alias
        ("layer1.0.relu#1", ["layer1.0.relu"]),  # #1 may be written
        ("layer1.0.relu", ["layer1.0.relu"]),
        ("conv1", ["relu"]),  # the convolution's own name
        ("layer4", ["layer4.2"]),  # a stage is its last block
        ("conv5_block3_out", ["layer4.2"]),
        ("activation_4?", [*("layer3.5",), *(f"layer4.{b}{r}" for b in (0, 1, 2) for r in (".relu", ".relu#2", ""))]),
        ("layer4.?", ["layer4.0", "layer4.1", "layer4.2"]),
        ("layer2.0.relu*", ["layer2.0.relu", "layer2.0.relu#2", "layer2.0"]),
        ("layer4.2,relu", ["relu", "layer4.2"]),  # in the order of the pass, not of the asking
        (["layer4.2", "relu,layer4.2"], ["relu", "layer4.2"]),  # each once
        (" relu , layer4.2 ,", ["relu", "layer4.2"]),
    ],
)
def test_selectors(layers, wanted, expected):
    assert names(layers, wanted) == expected


def test_everything_is_the_whole_list_in_the_order_of_the_pass(layers):
    assert select(layers, "*", "resnet50") == layers
    positions = {layer.name: at for at, layer in enumerate(layers)}
    assert positions["relu"] == 0
    assert positions["layer1.0.bn3"] < positions["layer1.0.downsample"] < positions["layer1.0"]
    assert positions["layer1.0"] < positions["layer1.1.relu"] < positions["layer4.2"] == len(layers) - 1


def test_kinds_may_be_mixed_with_names(layers):
    assert set(names(layers, "blocks,conv1")) == set(names(layers, "trunk"))


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        ("layer4.22", "Did you mean 'layer4.2'?"),
        ("block", "Did you mean 'blocks'?"),
        ("activation_50", "Did you mean 'activation_5'?"),
        ("nonsense", "Known: activation_1, activation_10,"),
        ("layer9.*", "resnet50 has no layer 'layer9.*'"),
        ("relu#4", "resnet50 has no layer 'relu#4'"),
        ("", "resnet50 has no layer ''"),
    ],
)
def test_unknown_layers_name_the_nearest(layers, wanted, hint):
    with pytest.raises(UnknownNameError) as told:
        select(layers, wanted, "resnet50")
    assert hint in str(told.value)


def test_one_unknown_among_known_ones_is_not_overlooked(layers):
    with pytest.raises(UnknownNameError, match="has no layer 'layer7'"):
        select(layers, "blocks,layer7", "resnet50")


def test_a_selector_that_a_network_has_nothing_for_is_not_suggested(layers):
    without = [layer for layer in layers if "block" not in layer.kinds]
    with pytest.raises(UnknownNameError) as told:
        select(without, "blocks", "resnet50")
    assert "Did you mean 'blocks'" not in str(told.value)
