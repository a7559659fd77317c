"""A module that has no map says why, whichever of its names is asked for."""

import pickle

import pytest
import torch
import torchvision
from torch import nn

from gazeshift import look
from gazeshift.errors import LayerError, UnknownNameError
from gazeshift.models import Classifier, load, select

PIXEL = r"its map is one pixel \(1 x 1\) for images of 32 x 32; give larger images"


@pytest.fixture(scope="module")
def small():
    """ResNet-18 at 32 pixels, whose last stage has maps of one pixel."""
    return load("torchvision:resnet18", weights="random", device="cpu").layers((32, 32))


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("layer4.1", PIXEL),
        ("layer4.1.conv2", PIXEL),
        ("layer4.0.relu#2", PIXEL),  # a later call, which only the layer's alias names
        ("layer4", PIXEL),
        ("avgpool", PIXEL),
        ("fc", r"it gives \(1, 1000\), which has no height and width"),
    ],
)
def test_a_part_of_the_network_without_a_map(small, wanted, reason):
    with pytest.raises(LayerError, match=rf"^resnet18 has no map at '{wanted}': {reason}\.$"):
        select(small, wanted, "resnet18")


def test_a_glob_names_the_first_and_counts_the_others(small):
    with pytest.raises(
        LayerError, match=rf"^resnet18 has no map at 'layer4.\*' \(layer4\S* and \d+ more\): {PIXEL}\.$"
    ):
        select(small, "layer4.*", "resnet18")
    assert select(small, "layer[34].1", "resnet18") == select(small, "layer3.1", "resnet18")


@pytest.mark.parametrize("wanted", ["activation_49", "conv5_block3_out", "activation_4[2-9]"])
def test_papers_names_of_one_pixel(wanted):
    layers = load("torchvision:resnet50", weights="random", device="cpu").layers((32, 32))
    with pytest.raises(LayerError, match=PIXEL):
        select(layers, wanted, "resnet50")
    assert select(layers, "activation_40", "resnet50")[0].shape == (1024, 2, 2)


def test_vggs_last_pooling_at_32_pixels():
    layers = load("torchvision:vgg11", weights="random", device="cpu").layers((32, 32))
    with pytest.raises(LayerError, match=PIXEL):
        select(layers, "block5_pool", "vgg11")


@pytest.mark.parametrize("wanted", ["layer5", "layer4.2", "relu#9", "layer9.*", "activation_99"])
def test_what_no_part_is_called(small, wanted):
    with pytest.raises(UnknownNameError, match="resnet18 has no layer"):
        select(small, wanted, "resnet18")


def test_the_same_at_a_size_that_is_large_enough():
    layers = load("torchvision:resnet18", weights="random", device="cpu").layers((64, 64))
    assert select(layers, "layer4.1", "resnet18")[0].shape == (512, 2, 2)
    assert not set(layers.absent) & {name for layer in layers for name in layer.names}


class Odd(nn.Module):
    """Parts that give no tensor, that are never called, and that only hold others."""

    class Pair(nn.Module):
        def forward(self, maps):
            return maps, maps

    def __init__(self):
        super().__init__()
        self.conv, self.pair, self.head = nn.Conv2d(3, 4, 3), self.Pair(), nn.Linear(4, 3)
        self.auxiliary = nn.Linear(4, 3)
        self.held = nn.ModuleList([nn.Conv2d(4, 4, 1)])

    def forward(self, images):
        maps, _ = self.pair(self.held[0](self.conv(images)))
        return self.head(maps.mean((2, 3)))


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("pair", "it gives a tuple, not a tensor; ask for a module inside it"),
        ("auxiliary", "the network does not call it for a grey image, with which its layers are found"),
        ("held", "it only holds other modules; ask for one of them"),
    ],
)
def test_parts_that_give_nothing(wanted, reason):
    classifier = Classifier(Odd(), name="odd")
    with pytest.raises(LayerError, match=f"odd has no map at '{wanted}': {reason}"):
        look(classifier, torch.rand(2, 3, 8, 8), layers=wanted)
    assert classifier.layers((8, 8)).uncalled == ("auxiliary",)


def test_gates_of_one_pixel_and_windows():
    network = torchvision.models.get_model("efficientnet_b0", weights=None)
    layers = Classifier(network, name="b0", own=True).layers((64, 64))
    with pytest.raises(LayerError, match="its map is one pixel"):
        select(layers, "features.1.0.block.1.fc1", "b0")  # squeeze and excitation
    network = torchvision.models.get_model("maxvit_t", weights=None)
    layers = Classifier(network, name="maxvit", own=True).layers((224, 224))
    with pytest.raises(LayerError, match=r"it gives \(1, 64, 49, 64\), whose last two axes are not"):
        select(layers, "blocks.0.layers.0.layers.window_attention.attn_layer.1", "maxvit")


def test_layers_can_be_sent_to_a_worker(small):
    sent = pickle.loads(pickle.dumps(small))  # noqa: S301
    assert sent == small
    assert (sent.absent, sent.path, sent.uncalled, sent.unseen) == (small.absent, small.path, small.uncalled, 0)
