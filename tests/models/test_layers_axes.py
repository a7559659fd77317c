"""A layer is a map only if its last two axes are the image's height and width, upright: known networks of every kind.

In each, some tensor has the shape of a map and is none: height, width and channels are equal, or as many tokens as a
map has rows, or rows and columns have changed places.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional

from gazeshift import look
from gazeshift.errors import LayerError, NoMapsError
from gazeshift.models import Classifier, Preprocessing, select
from gazeshift.models._layers import turn_of

C = 8  # channels, and height and width of the images


class Block(nn.Module):
    """A convolution, what `inside` makes of its result, and a convolution again."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(3, C, 3, padding=1), nn.Conv2d(C, C, 3, padding=1)
        for name, part in parts.items():
            self.add_module(name, part)

    def inside(self, maps):
        return maps

    def forward(self, images):
        return self.after(self.inside(self.before(images)))


class ChannelsLast(Block):
    """As ConvNeXt: a norm and a linear layer over the last axis."""

    def inside(self, maps):
        return self.linear(self.norm(maps.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


class ByTransposes(Block):
    def inside(self, maps):
        last = maps.transpose(1, 2).transpose(2, 3)
        return self.linear(self.norm(last)).movedim(-1, 1)


class OfTokens(Block):
    """Merges height and width, and parts them again for the norm."""

    def inside(self, maps):
        n, c, h, w = maps.shape
        tokens = self.linear(maps.flatten(2).transpose(1, 2))
        return self.norm(tokens.view(n, h, w, c)).permute(0, 3, 1, 2)


def in_windows(last, side=4):
    """(n, h, w, c) to windows and back, as Swin does: nothing on the way tells where height and width lie."""
    n, h, w, c = last.shape
    windows = last.view(n, h // side, side, w // side, side, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, side, side, c)
    return windows.view(n, h // side, w // side, side, side, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)


class Windows(Block):
    def inside(self, maps):
        return self.same(self.norm(in_windows(maps.permute(0, 2, 3, 1))).permute(0, 3, 1, 2))


class Swapped(Block):
    """A convolution along columns, written as one along rows of the transposed maps."""

    def inside(self, maps):
        return self.inner(maps.transpose(2, 3)).transpose(2, 3)


class Mirrored(Block):
    def inside(self, maps):
        return self.inner(maps.flip(3)).flip(-1)


class Attention(Block):
    """Over 4 x 4 tokens with 4 heads of 16: matrices of 16 x 16, and queries of 16 x 16, as the image's own maps."""

    def inside(self, maps):
        n = len(maps)
        tokens = functional.adaptive_avg_pool2d(self.widen(maps), 4).flatten(2).transpose(1, 2)
        q, k = tokens.reshape(n, 16, 1, 4, 16).permute(2, 0, 3, 1, 4).expand(2, -1, -1, -1, -1).unbind(0)
        mixed = self.softmax(self.q_norm(q) @ k.transpose(2, 3)) @ k
        return maps * mixed.mean((1, 2, 3))[:, None, None, None]


class Strips(Block):
    """Coordinate attention (Hou et al. 2021): rows and columns one after the other in one tensor."""

    def inside(self, maps):
        rows, columns = maps.mean(3, keepdim=True), maps.mean(2, keepdim=True).permute(0, 1, 3, 2)
        both = self.squeeze(torch.cat([rows, columns], 2))
        rows, columns = both.split([maps.shape[2], maps.shape[3]], 2)
        return maps * self.for_rows(rows).sigmoid() * self.for_columns(columns.permute(0, 1, 3, 2)).sigmoid()


class Shuffled(Block):
    """Channel shuffle in groups, and space to depth and back: maps all the while."""

    def inside(self, maps):
        n, c, h, w = maps.shape
        shuffled = self.shuffled(maps.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))
        deep = self.deep(functional.pixel_unshuffle(shuffled, 2))
        return self.wide(functional.pixel_shuffle(deep, 2))


class Written(Block):
    """Writes into a slice of the maps."""

    def inside(self, maps):
        copy = maps.clone()
        copy[:, : C // 2] = self.part(maps[:, : C // 2])
        return self.whole(copy)


class Spectral(Block):
    def inside(self, maps):
        return self.back(torch.fft.ifft2(self.waves(torch.fft.fft2(maps))).real)


class Nested(Block):
    """Modules that take and give dicts and tuples of maps, as detectors' necks do."""

    class Neck(nn.Module):
        def __init__(self):
            super().__init__()
            self.fine, self.coarse = nn.Conv2d(C, C, 1), nn.Conv2d(C, C, 1)

        def forward(self, maps):
            coarse = self.coarse(functional.max_pool2d(maps, 2))
            return {"fine": self.fine(maps), "coarse": (coarse,)}

    def inside(self, maps):
        gives = self.neck(maps)
        return torch.cat([gives["fine"], functional.interpolate(gives["coarse"][0], scale_factor=2.0)], 1)[:, :C]


def conv(wide=C):
    return nn.Conv2d(C, wide, 3, padding=1)


LAST = {"norm": nn.LayerNorm(C), "linear": nn.Linear(C, C)}
NETWORKS = {  # network, size of the images, names of its maps
    "channels last": (ChannelsLast(**LAST), C, ["before", "after"]),
    "by transposes": (ByTransposes(**LAST), C, ["before", "after"]),
    "of tokens": (OfTokens(**LAST), C, ["before", "after"]),
    "swapped": (Swapped(inner=conv()), C, ["before", "after"]),
    "mirrored": (Mirrored(inner=conv()), C, ["before", "after"]),
    "attention": (
        Attention(widen=conv(64), softmax=nn.Softmax(-1), q_norm=nn.LayerNorm(16)),
        16,
        ["before", "widen", "after"],
    ),
    "strips": (Strips(squeeze=conv(), for_rows=conv(), for_columns=conv()), C, ["before", "after"]),
    "shuffled": (
        Shuffled(shuffled=nn.Identity(), deep=nn.Conv2d(4 * C, 4 * C, 1), wide=nn.Identity()),
        C,
        ["before", "shuffled", "deep", "wide", "after"],
    ),
    "written": (
        Written(part=nn.Conv2d(C // 2, C // 2, 1), whole=nn.Identity()),
        C,
        ["before", "part", "whole", "after"],
    ),
    "spectral": (Spectral(waves=nn.Identity(), back=nn.Identity()), C, ["before", "back", "after"]),
    "nested": (Nested(neck=Nested.Neck()), C, ["before", "neck.coarse", "neck.fine", "after"]),
}


def free_head(size):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(C, 3))


def fixed_head(size):
    return nn.Sequential(nn.Flatten(), nn.Linear(C * size * size, 3))


def classifier(block, size, head=free_head):
    return Classifier(
        nn.Sequential(block, head(size)), name="axes", preprocessing=Preprocessing(resize=None, crop=size)
    )


def ordered(found):
    """Names of the layers without the block's own, which is its last convolution's."""
    return [layer.name.removeprefix("0.").replace("0", "after") for layer in found]


@pytest.mark.parametrize("head", [free_head, fixed_head])
@pytest.mark.parametrize("kind", NETWORKS)
def test_only_maps_are_layers(kind, head):
    block, size, names = NETWORKS[kind]
    assert ordered(classifier(block, size, head).layers()) == names


def test_a_size_without_coincidence_gives_the_same():
    for kind in ("channels last", "by transposes", "of tokens", "swapped", "mirrored", "strips"):
        block, _, names = NETWORKS[kind]
        assert ordered(classifier(block, C).layers((12, 20))) == names, kind


@pytest.mark.parametrize(
    ("head", "found"), [(free_head, ["before", "same", "after"]), (fixed_head, ["before", "after"])]
)
def test_what_the_tape_cannot_tell_another_size_does(head, found):
    """Behind windows. Where the network takes one size alone, what stays in doubt is left out."""

    class OneSize(Windows):
        def inside(self, maps):
            if head is fixed_head:
                assert maps.shape[2:] == (C, C)
            return super().inside(maps)

    seen = classifier(OneSize(norm=nn.LayerNorm(C), same=nn.Identity()), C, head)
    assert ordered(seen.layers()) == found
    with pytest.raises(LayerError, match=r"no map at '0.norm': it gives \(1, 8, 8, 8\), whose last two axes are not"):
        select(seen.layers(), "0.norm", "axes")


def test_another_size_leaves_no_mark_on_the_network():
    """Some networks keep what they made for the first size they saw."""

    class Remembering(Windows):
        size = None

        def inside(self, maps):
            self.size = self.size or maps.shape
            assert self.size == maps.shape
            return super().inside(maps)

    seen = classifier(Remembering(norm=nn.LayerNorm(C), same=nn.Identity()), C)
    seen.layers()
    assert look(seen, torch.rand(1, 3, C, C), layers="0.after").layers == ("0.after",)


def test_timms_convnext_with_as_many_channels_as_rows():
    """16 x 16 x 16, 8 x 8 x 8, ... at 64 pixels: the same layers as at 96, where no numbers meet."""
    timm = pytest.importorskip("timm")
    network = timm.models.convnext.ConvNeXt(num_classes=3, depths=(1, 1, 2, 1), dims=(16, 8, 4, 2))
    seen = Classifier(network, name="convnext")
    assert [layer.names for layer in seen.layers((64, 64))] == [layer.names for layer in seen.layers((96, 96))]


@pytest.mark.parametrize(
    ("function", "arguments", "turn"),
    [
        (torch.permute, ((0, 2, 3, 1),), (0, 2, 3, 1)),
        (torch.transpose, (1, -1), (0, 3, 2, 1)),
        (torch.movedim, (1, -1), (0, 2, 3, 1)),
        (torch.flip, ((2, 3),), (0, 1, ~2, ~3)),
        (torch.rot90, (1, (2, 3)), (0, 1, ~3, 2)),
        (torch.unbind, (1,), (0, 2, 3)),
        (torch.select, (2, -1), (0, 1, 3)),
    ],
)
def test_where_axes_go(function, arguments, turn):
    """By hand: a rotation by 90 degrees makes rows of mirrored columns."""
    square = torch.rand(4, 4, 4, 4)
    assert turn_of(function, (square, *arguments), None) == turn
    assert turn_of(lambda tensor: function(tensor, *arguments), (), {"tensor": square}) == turn
    changed = square
    for axis in [axis for axis in turn if axis < 0]:
        changed = changed.flip(~axis)
    made = function(square, *arguments)
    plain = [axis if axis >= 0 else ~axis for axis in turn]
    if len(plain) == 4:
        assert torch.equal(made, changed.permute(plain))


class Halves(nn.Module):
    """Both halves of each image through one convolution as a batch of their own."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, C, 3), nn.Linear(C, 3)

    def forward(self, images):
        return torch.stack(self.head(self.conv(torch.cat(images.chunk(2, 3))).mean((2, 3))).chunk(2)).mean(0)


class Functions(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.rand(C, 3, 3, 3)), nn.Linear(C, 3)

    def forward(self, images):
        return self.head(functional.conv2d(images, self.weight).mean((2, 3)))


class Sideways(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, C, 3), nn.Linear(C, 3)

    def forward(self, images):
        return self.head(self.conv(images.transpose(2, 3)).mean((2, 3)))


class Lines(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv1d(3, C, 3), nn.Linear(C, 3)

    def forward(self, images):
        return self.head(self.conv(images.flatten(2)).mean(2))


class Volumes(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv3d(1, C, 3), nn.Linear(C, 3)

    def forward(self, images):
        return self.head(self.conv(images[:, None]).mean((2, 3, 4)))


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Halves(), "they take crops or windows of an image as a batch of their own (2 for 1)"),
        (Functions(), "none is the result of a module"),
        (Sideways(), "they do not see height and width of the image on the last two axes"),
        (Lines(), "they are not over height and width"),
        (Volumes(), "they are not over height and width"),
        (
            nn.Sequential(nn.Conv2d(3, 4, C), nn.Flatten(), nn.Linear(4, 3)),
            "each is one pixel (1 x 1) for images of 8 x 8",
        ),
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * C * C, 3)), "its weights work on whole images"),
        (nn.Sequential(nn.Linear(C, 4), nn.Flatten(), nn.Linear(3 * 4 * C, 3)), "its weights work on tokens"),
    ],
)
def test_a_network_without_maps_says_why(network, reason):
    with pytest.raises(NoMapsError) as told:
        Classifier(network, name="toy").layers((C, C))
    assert reason in str(told.value)
    assert str(told.value).startswith("toy has no convolution that gives a map")
    assert "gs.attack" in str(told.value)


class SmoothSecondDerivative(nn.Module):
    """One module under two names, called through both."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 3, 3, padding=1)
        self.other = self.one

    def forward(self, images):
        return self.other(self.one(images))


def test_a_module_with_two_names_and_two_calls():
    layers = Classifier(
        nn.Sequential(SmoothSecondDerivative(), nn.Flatten(), nn.Linear(3 * C * C, 3)), name="twice"
    ).layers((C, C))
    assert [(layer.name, layer.module, layer.call) for layer in layers] == [("0.one", "0.one", 1), ("0", "0.one", 2)]
    assert "0.one#2" in layers[1].names
    with pytest.raises(LayerError, match=r"no map at '0.other': it is the same module as '0.one'; ask for that"):
        select(layers, "0.other", "twice")
