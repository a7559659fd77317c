"""The layers of ResNets, and their numbers as Keras counts them, which the papers use."""

import pytest
import torch
from torch import nn
from torchvision import models as zoo

from gazeshift import look
from gazeshift.models import Classifier, load, select

DEPTHS = {"layer1": 3, "layer2": 4, "layer3": 6, "layer4": 3}
BLOCKS = [f"{stage}.{at}" for stage, depth in DEPTHS.items() for at in range(depth)]


@pytest.fixture(scope="module")
def resnet50():
    return load("torchvision:resnet50", weights="random", device="cpu")


@pytest.fixture(scope="module")
def layers(resnet50):
    return resnet50.layers()


def named(layers, alias):
    (found,) = select(layers, alias, "resnet50")
    return found


def test_counts_and_order(layers):
    assert len(select(layers, "convs", "resnet50")) == 53
    assert [layer.name for layer in select(layers, "blocks", "resnet50")] == BLOCKS
    assert [layer.name for layer in select(layers, "trunk", "resnet50")] == ["relu", *BLOCKS]


@pytest.mark.parametrize(
    ("number", "name", "shape"),
    [
        (1, "relu", (64, 112, 112)),
        (2, "layer1.0.relu", (64, 56, 56)),
        (32, "layer3.3.relu", (256, 14, 14)),
        (33, "layer3.3.relu#2", (256, 14, 14)),
        (35, "layer3.4.relu", (256, 14, 14)),
        (41, "layer4.0.relu", (512, 14, 14)),  # 7 x 7 in Keras, whose stride is in the first convolution
        (42, "layer4.0.relu#2", (512, 7, 7)),
        (43, "layer4.0", (2048, 7, 7)),
        (49, "layer4.2", (2048, 7, 7)),
    ],
)
def test_keras_activations(layers, number, name, shape):
    layer = named(layers, f"activation_{number}")
    assert (layer.name, layer.shape) == (name, shape)


def test_all_49_activations_are_in_order_and_none_beyond(layers):
    numbers = [int(name[11:]) for layer in layers for name in layer.names if name.startswith("activation_")]
    assert numbers == [*range(1, 50)]
    assert not any(layer.name.endswith("bn3") and any("activation" in name for name in layer.names) for layer in layers)


def test_keras_block_outputs(layers):
    keras = [f"conv{at + 2}_block{n + 1}_out" for at, depth in enumerate(DEPTHS.values()) for n in range(depth)]
    assert [named(layers, name).name for name in keras] == BLOCKS


def test_one_relu_called_three_times_gives_three_layers(layers):
    first, second, third = (named(layers, f"layer1.0.relu{call}") for call in ("#1", "#2", "#3"))
    assert (first.name, second.name, third.name) == ("layer1.0.relu", "layer1.0.relu#2", "layer1.0")
    assert [(layer.module, layer.call) for layer in (first, second, third)] == [
        ("layer1.0.relu", 1),
        ("layer1.0.relu", 2),
        ("layer1.0.relu", 3),
    ]
    assert "layer1.0.conv2" in second.aliases
    assert "layer1.0.bn2" in second.aliases


def test_the_sum_is_written_into_bn3(layers):
    """``out += identity`` overwrites what bn3 gave; the trace must look at a copy."""
    assert [layer.name for layer in layers if layer.overwritten] == [f"{block}.bn3" for block in BLOCKS]


def test_what_follows(layers):
    followed = {layer.name: layer.followed_by for layer in layers if layer.followed_by}
    assert followed == {
        "relu": "pool",
        **dict.fromkeys(("layer1.2", "layer2.3", "layer3.5"), "stride"),
        **{f"layer{stage}.0.relu": "stride" for stage in (2, 3, 4)},
    }


def test_every_layer_can_be_traced(resnet50):
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    evidence = look(resnet50, images, layers="*")
    assert len(evidence.layers) == 70
    for layer in evidence.layers:
        assert evidence.maps(layer).shape == (2, *evidence.traces[layer].layer.shape[1:])


def test_resnet101():
    layers = load("torchvision:resnet101", weights="random", device="cpu").layers((64, 64))
    assert [len(select(layers, kind, "resnet101")) for kind in ("convs", "blocks", "trunk")] == [104, 33, 34]
    assert named(layers, "activation_100").name == "layer4.2"
    assert named(layers, "conv4_block23_out").name == "layer3.22"


def test_resnet18_has_two_convolutions_per_block_and_no_keras_numbers():
    layers = load("torchvision:resnet18", weights="random", device="cpu").layers((64, 64))
    assert [len(select(layers, kind, "resnet18")) for kind in ("convs", "blocks", "trunk")] == [20, 8, 9]
    assert not any("activation" in name for layer in layers for name in layer.names)


def test_timms_resnet_has_the_same_numbers_and_a_deep_stem_counts_once():
    plain = load("timm:resnet50", weights="random", device="cpu").layers((64, 64))
    assert named(plain, "activation_35").name == "layer3.4.act1"
    assert named(plain, "activation_49").name == "layer4.2"
    deep = load("timm:resnet50d", weights="random", device="cpu").layers((64, 64))
    assert [layer.name for layer in deep if "activation_1" in layer.names] == ["act1"]
    assert named(deep, "activation_49").name == "layer4.2"


class Wrapped(nn.Module):
    """A backbone as people wrap one: everything interesting is one level down."""

    def __init__(self):
        super().__init__()
        self.backbone = zoo.resnet18()
        self.backbone.fc = nn.Identity()
        self.head = nn.Linear(512, 3)

    def forward(self, images):
        return self.head(self.backbone(images))


def test_a_wrapped_backbone_shows_its_own_blocks():
    layers = Classifier(Wrapped(), name="wrapped", own=True).layers((64, 64))
    blocks = [f"backbone.layer{stage}.{at}" for stage in (1, 2, 3, 4) for at in (0, 1)]
    assert [layer.name for layer in select(layers, "trunk", "wrapped")] == ["backbone.relu", *blocks]


def test_a_wrapped_bottleneck_keeps_keras_numbers():
    network = Wrapped()
    network.backbone = zoo.resnet50()
    network.head = nn.Linear(1000, 3)
    layers = Classifier(network, name="wrapped", own=True).layers((64, 64))
    assert named(layers, "activation_1").name == "backbone.relu"
    assert named(layers, "activation_43").name == "backbone.layer4.0"
