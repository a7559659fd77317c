"""Layers of small networks of one's own, however they write their activations; shapes and values by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from gazeshift import look
from gazeshift.errors import ModelError
from gazeshift.models import Classifier, select, trace

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Network(nn.Module):
    """Two convolutions and a linear head; what happens in between differs."""

    def __init__(self, **modules):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.head = nn.Linear(6, 3)
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, images):
        return self.head(self.features(images).mean((2, 3)))


class Functional(Network):
    def features(self, images):
        return functional.relu(self.second(functional.max_pool2d(functional.relu(self.first(images)), 2)))


class InPlace(Network):
    def features(self, images):
        return functional.relu(
            self.second(functional.max_pool2d(functional.relu(self.first(images), inplace=True), 2)), inplace=True
        )


class Method(Network):
    def features(self, images):
        return self.second(functional.max_pool2d(self.first(images).relu_(), 2)).clamp_(min=0)


class Shared(Network):
    def features(self, images):
        return self.relu(self.second(functional.max_pool2d(self.relu(self.first(images)), 2)))


class Normed(Network):
    def features(self, images):
        return functional.relu(
            self.norm2(self.second(functional.max_pool2d(functional.relu(self.norm1(self.first(images))), 2)))
        )


class Dropped(Network):
    """Dropout in eval mode hands back what it was given, between convolution and activation."""

    def features(self, images):
        pooled = functional.max_pool2d(functional.relu(functional.dropout(self.first(images), 0.5, self.training)), 2)
        return functional.relu(self.drop(self.second(pooled)))


class Curved(Network):
    def features(self, images):
        return functional.gelu(self.second(functional.max_pool2d(self.silu(self.first(images)), 2)))


KINDS = {  # network, and the name of its second convolution's layer
    "functions": (Functional(), "second"),
    "in place": (InPlace(), "second"),
    "methods": (Method(), "second"),
    "one shared module": (Shared(relu=nn.ReLU()), "relu#2"),
    "one shared in-place module": (Shared(relu=nn.ReLU(inplace=True)), "relu#2"),
    "batch norm": (Normed(norm1=nn.BatchNorm2d(4), norm2=nn.BatchNorm2d(6)), "second"),
    "dropout": (Dropped(drop=nn.Dropout(0.5)), "second"),
    "SiLU and GELU": (Curved(silu=nn.SiLU()), "second"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_ends_after_its_activation(kind):
    """The tensor that is traced is the one that the rest of the network reads: pooled, it gives the logits."""
    network, second = KINDS[kind]
    classifier = Classifier(network, name=kind)
    layers = select(classifier.layers((16, 16)), "convs", kind)
    assert [layer.shape for layer in layers] == [(4, 16, 16), (6, 8, 8)]
    assert [layer.followed_by for layer in layers] == ["pool", ""]
    assert "first" in layers[0].names
    assert layers[1].name == second
    assert "second" in layers[1].names
    assert select(layers, "1-1,2-1", kind) == layers
    logits, _, seen = trace(classifier, IMAGES, layers, lambda _layer, activations, _gradients: activations.clone())
    torch.testing.assert_close(classifier.module.head(seen[second].mean((2, 3))), logits)
    first = classifier.module.eval().first(IMAGES)
    first = classifier.module.norm1(first) if kind == "batch norm" else first
    first = functional.silu(first) if "SiLU" in kind else functional.relu(first)
    torch.testing.assert_close(seen[layers[0].name], first)


def test_a_network_of_functions_is_a_plain_chain():
    layers = Classifier(Functional(), name="functions").layers((16, 16))
    assert [(layer.name, layer.kinds, layer.then) for layer in layers] == [
        ("first", {"conv", "block", "trunk"}, 1),
        ("second", {"conv", "block", "trunk"}, 1),
    ]


class OwnConv(nn.Module):
    """A convolution that is no `torch.nn.Conv2d`."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 3, 3, 3))

    def forward(self, images):
        return functional.relu(functional.conv2d(images, self.weight))


def test_a_convolution_of_ones_own_is_one():
    network = nn.Sequential(OwnConv(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2))
    (layer,) = Classifier(network, name="own").layers((16, 16))
    assert (layer.name, layer.kinds, layer.shape) == ("0", {"conv", "block", "trunk"}, (5, 14, 14))


class Residual(nn.Module):
    """A block: two convolutions, the second one's norm overwritten by the sum."""

    def __init__(self, channels):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, maps):
        out = self.norm(self.conv2(functional.relu(self.conv1(maps))))
        out += maps
        return functional.relu(out)


class Stage(nn.Module):
    """Holds blocks and returns the last one's result."""

    def __init__(self, *blocks):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, maps):
        for block in self.blocks:
            maps = block(maps)
        return maps


class Dense(nn.Module):
    """Holds modules of several convolutions and returns something else than the last one's result."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([Residual(8), Residual(8)])

    def forward(self, maps):
        first = self.parts[0](maps)
        return torch.cat([first, self.parts[1](first)], 1)


def head(channels):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3))


def test_stages_are_opened_and_their_blocks_counted():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), Stage(Residual(8)), Stage(Residual(8), Residual(8)), Stage(Residual(8)), head(8)
    )
    layers = Classifier(network, name="stages").layers((16, 16))
    assert [layer.name for layer in select(layers, "trunk", "stages")] == [
        "0",
        "1.blocks.0",
        "2.blocks.0",
        "2.blocks.1",
        "3.blocks.0",
    ]
    assert select(layers, "2", "stages")[0].name == "2.blocks.1"
    assert [layer.name for layer in layers if layer.overwritten] == [
        f"{name}.norm" for name in ("1.blocks.0", "2.blocks.0", "2.blocks.1", "3.blocks.0")
    ]


def test_a_dense_block_is_one_block():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), Dense(), nn.Conv2d(16, 8, 1), Dense(), head(16))
    layers = Classifier(network, name="dense").layers((16, 16))
    assert [layer.name for layer in select(layers, "blocks", "dense")] == ["2", "4"]
    assert [layer.shape for layer in select(layers, "blocks", "dense")] == [(16, 14, 14), (16, 14, 14)]


def test_all_these_can_be_looked_at():
    for block in (Stage(Residual(8), Residual(8)), Residual(8)):
        classifier = Classifier(nn.Sequential(nn.Conv2d(3, 8, 3), block, nn.ReLU(), head(8)), name="blocks")
        evidence = look(classifier, IMAGES, layers="*", cams=("grad_cam", "layer_cam"))
        assert evidence.layers == tuple(layer.name for layer in classifier.layers((16, 16)))


class ChannelsLast(nn.Module):
    """Norm and linear layers on (n, h, w, c), as ConvNeXt has them."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.linear = nn.Conv2d(3, 5, 3, padding=1), nn.LayerNorm(5), nn.Linear(5, 7)

    def forward(self, images):
        return self.linear(self.norm(self.conv(images).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


class Crops(nn.Module):
    """Sends two halves of each image through as a batch of its own."""

    def __init__(self):
        super().__init__()
        self.whole, self.parts = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 5, 3, padding=1)

    def forward(self, images):
        halves = torch.cat(self.whole(images).chunk(2, dim=3))
        return torch.stack(self.parts(halves).chunk(2)).mean(0)


@pytest.mark.parametrize(
    ("network", "names"),
    [
        (nn.Sequential(ChannelsLast(), head(7)), ["0.conv", "0"]),
        (nn.Sequential(Crops(), head(5)), ["0.whole", "0"]),
    ],
)
def test_what_has_no_height_and_width_or_another_batch_is_left_out(network, names):
    classifier = Classifier(network, name="axes")
    layers = classifier.layers((16, 16))
    assert [layer.name for layer in layers] == names
    assert look(classifier, IMAGES, layers="*").layers == tuple(names)


def test_modules_that_hand_back_their_input_name_no_layer():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Identity(), nn.Dropout(), Residual(8), nn.Identity(), head(8))
    layers = Classifier(network, name="idle").layers((16, 16))
    assert not {"1", "2", "4"} & {name for layer in layers for name in layer.names}


def test_a_tensor_that_only_an_identity_names_is_a_layer():
    class Tapped(Network):
        def features(self, images):
            return self.tap(self.first(images) + 1)

    layers = Classifier(Tapped(tap=nn.Identity(), head=nn.Linear(4, 3)), name="tapped").layers((16, 16))
    assert [layer.name for layer in layers] == ["first", "tap"]


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(768, 3)), "has no convolution that gives a map"),
        (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1), nn.Flatten()), "has no convolution that gives"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 3)),
            "toy cannot be run on 1 image of 3 x 16 x 16",
        ),
    ],
)
def test_what_cannot_be_looked_at_says_why(network, message):
    with pytest.raises(ModelError, match=message):
        Classifier(network, name="toy").layers((16, 16))


def test_whatever_a_network_raises_is_told_in_one_sentence():
    class Failing(nn.Module):
        def forward(self, _images):
            raise AssertionError

    with pytest.raises(ModelError, match=r"toy cannot be run on 1 image of 3 x 16 x 16: AssertionError$"):
        Classifier(Failing(), name="toy").layers((16, 16))
