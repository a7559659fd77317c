"""Which neurons a network has, and what one pass shows of them."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gazeshift.errors import LayerError, ModelError, UnknownNameError
from gazeshift.models import Classifier, coverage_curve, find_neurons, load
from gazeshift.seeds import generator_for
from helpers.networks import Plain, seeded

GREY = torch.full((1, 3, 16, 16), 0.5)


def pictures(n: int, size: int = 16) -> Tensor:
    return torch.rand((n, 3, size, size), generator=generator_for(0, "pictures"))


def vgg16() -> Classifier:
    """Torchvision's without its 528 MB of weights: shapes need none, and on the meta device they take no memory."""
    import torchvision

    with torch.device("meta"):
        return torchvision.models.vgg16(weights=None).eval()


def test_vgg16_has_as_many_neurons_as_under_keras() -> None:
    """SPEC check 1: 64*2 + 128*2 + 256*3 + 512*6 in convolutions; the same again pooled, two fc layers, softmax."""
    example = torch.zeros((1, 3, 224, 224), device="meta")
    neurons = find_neurons(vgg16(), example)
    assert len(neurons) == 14_888
    assert len(find_neurons(vgg16(), example, scope="conv_only")) == 4_224
    by_kind = {kind: int(neurons.of_kinds([kind]).sum()) for kind in ("conv", "pool", "linear", "softmax")}
    assert by_kind == {"conv": 4224, "pool": 64 + 128 + 256 + 512 + 512, "linear": 8192, "softmax": 1000}
    assert [layer.name for layer in neurons.layers][-4:] == ["features.30", "classifier.0", "classifier.3", "softmax"]
    assert "avgpool" not in {layer.name for layer in neurons.layers}, "7 x 7 to 7 x 7 does nothing"


def test_an_adaptive_pooling_that_pools_is_counted() -> None:
    neurons = find_neurons(vgg16(), torch.zeros((1, 3, 256, 256), device="meta"))
    assert len(neurons) == 14_888 + 512


def test_convolutions_are_the_layers_that_maps_are_drawn_at() -> None:
    classifier = load("efficientnet_lite0", device="cpu")
    neurons = find_neurons(classifier, torch.full((1, 3, 224, 224), 0.5))
    seen = {
        (layer.module, layer.call, layer.then): layer.shape for layer in classifier.layers() if "conv" in layer.kinds
    }
    ours = {(layer.module, layer.call, layer.then): layer.shape for layer in neurons.layers if "conv" in layer.kinds}
    assert len(ours) == 49
    assert ours == seen
    assert (len(neurons), neurons.layers[-2].name) == (23_288, "global_pool.pool")


@pytest.mark.parametrize("how", ["module", "in-place", "function", "method", "in-place method"])
def test_activations_are_taken_after_the_activation(how: str) -> None:
    """However a ReLU is written, neurons are what the next layer reads: never negative. Checked by hand."""
    network = seeded(lambda: Plain(how))
    neurons, images = find_neurons(network, GREY), pictures(3)
    assert [layer.name for layer in neurons.layers] == ["convs.0", "convs.1", "convs.2", "softmax"]
    reading = neurons.read(images)
    maps, expected = images, []
    for index, (conv, norm) in enumerate(zip(network.convs, network.norms, strict=True)):
        maps = functional.relu(norm(conv(maps)))
        expected.append(maps)
        maps = functional.max_pool2d(maps, 2) if index == 0 else maps
    expected.append(network.head(maps.mean((2, 3))).softmax(1)[:, :, None, None])
    means = torch.cat([layer.mean((2, 3)) for layer in expected], 1)
    torch.testing.assert_close(reading.means, means)
    values = torch.cat([torch.stack([scaled(one) for one in layer]) for layer in expected], 1)
    torch.testing.assert_close(reading.values, values)
    torch.testing.assert_close(reading.logits, network(images))


def scaled(output: Tensor) -> Tensor:
    """The specification's words: scaled by the whole layer's lowest and highest value, then averaged per channel."""
    return ((output - output.min()) / (output.max() - output.min())).mean((1, 2))


def test_means_can_be_differentiated_and_values_not() -> None:
    network, images = seeded(lambda: Plain("in-place")), pictures(2).requires_grad_()
    reading = find_neurons(network, GREY).read(images)
    gradient = torch.autograd.grad(reading.means[:, 5].sum(), images, retain_graph=True)[0]
    conv, norm = network.convs[0], network.norms[0]
    expected = torch.autograd.grad(functional.relu(norm(conv(images))).mean((2, 3))[:, 5].sum(), images)[0]
    torch.testing.assert_close(gradient, expected)
    assert gradient.abs().sum() > 0
    assert not reading.values.requires_grad


def test_one_pass_for_all_and_none_for_finding() -> None:
    classifier = Classifier(seeded(lambda: Plain("module")), name="plain")
    with classifier.counting() as passes:
        neurons = find_neurons(classifier, GREY)
        assert passes.forwards == 0
        neurons.read(pictures(5))
    assert passes.forwards == 5


def test_an_image_is_read_the_same_in_any_batch() -> None:
    network = seeded(lambda: Plain("module")).double()
    neurons, images = find_neurons(network, GREY.double()), pictures(4).double()
    images = images * torch.tensor([1.0, 0.1, 0.5, 0.9], dtype=torch.float64)[:, None, None, None]
    together, alone = neurons.read(images), neurons.read(images[1:2])
    torch.testing.assert_close(together.values[1:2], alone.values, rtol=0, atol=1e-12)
    torch.testing.assert_close(together.means[1:2], alone.means, rtol=0, atol=1e-12)


def test_a_constant_layer_has_values_of_zero() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(512, 3))
    nn.init.zeros_(network[0].weight)
    reading = find_neurons(network, GREY).read(pictures(1))
    assert reading.values[0, :2].tolist() != [0, 0], "two channels of different bias differ"
    nn.init.constant_(network[0].bias, 0.7)
    reading = find_neurons(network, GREY).read(pictures(1))
    assert reading.values[0, :2].tolist() == [0, 0]
    assert reading.means[0, :2].tolist() == pytest.approx([0.7, 0.7])


def test_incoming_weights_are_means_over_kernel_and_input_channels() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(98, 4))
    neurons = find_neurons(network, GREY)
    expected = [*network[0].weight.mean((1, 2, 3)).tolist(), None, None, *network[4].weight.mean(1).tolist()]
    found = [None if value != value else value for value in neurons.incoming.tolist()]  # noqa: PLR0124
    assert found == [one if one is None else pytest.approx(one, rel=1e-5) for one in expected]


def test_the_softmax_takes_the_place_of_the_layer_that_gives_the_logits() -> None:
    images, network = pictures(2), nn.Sequential(nn.Conv2d(3, 4, 16), nn.Flatten(), nn.Linear(4, 6), nn.ReLU())
    neurons = find_neurons(network, GREY)
    assert [(layer.name, layer.shape[0]) for layer in neurons.layers] == [("0", 4), ("softmax", 6)]
    torch.testing.assert_close(neurons.read(images).means[:, 4:], network(images).softmax(1))


class Odd(nn.Module):
    """A shared layer called twice, tokens with the channels last, and windows in place of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Conv2d(3, 3, 3, padding=1)
        self.tokens = nn.Linear(3, 5)
        self.windows = nn.Linear(5, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.shared(self.shared(images).relu())
        tokens = functional.gelu(self.tokens(maps.flatten(2).transpose(1, 2)))
        windows = self.windows(tokens.reshape(-1, 16, 5))
        return self.head(windows.reshape(len(images), -1, 5).mean(1))


def test_shared_layers_tokens_and_windows() -> None:
    network, images = Odd().eval(), pictures(2)
    neurons = find_neurons(network, GREY)
    assert [(layer.name, layer.shape) for layer in neurons.layers] == [
        ("shared", (3, 16, 16)),
        ("shared#2", (3, 16, 16)),
        ("tokens", (5, 256, 1)),
        ("softmax", (2, 1, 1)),
    ]
    maps = network.shared(network.shared(images).relu())
    tokens = functional.gelu(network.tokens(maps.flatten(2).transpose(1, 2)))
    reading = neurons.read(images)
    torch.testing.assert_close(reading.means[:, 3:6], maps.mean((2, 3)))
    torch.testing.assert_close(reading.means[:, 6:11], tokens.mean(1))


def test_a_plain_function_shows_its_softmax() -> None:
    neurons = find_neurons(lambda images: images.mean((2, 3)), GREY)
    assert (len(neurons), neurons.layers[0].name) == (3, "softmax")
    assert neurons.incoming.isnan().all()


def test_half_precision_is_averaged_in_float32() -> None:
    network = seeded(lambda: Plain("module")).bfloat16()
    reading = find_neurons(network, GREY.bfloat16()).read(pictures(2).bfloat16())
    assert {reading.means.dtype, reading.values.dtype, reading.logits.dtype} == {torch.float32}


def test_leaves_the_network_as_it_was() -> None:
    network = seeded(lambda: Plain("function"))
    neurons = find_neurons(network, GREY)
    neurons.read(pictures(1))
    with pytest.raises(RuntimeError):
        neurons.read(pictures(1)[:, :2])
    assert not any(module._forward_hooks for module in network.modules())


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"no scope of neurons named 'conv'\. Did you mean 'conv_only'"):
        find_neurons(Plain(), GREY, scope="conv")
    with pytest.raises(ModelError, match="shows no convolution"):
        find_neurons(lambda images: images.mean((2, 3)), GREY, scope="conv_only")
    with pytest.raises(ModelError, match=r"one row of logits per image, .*; the model gave \(1, 3, 16, 16\)"):
        find_neurons(nn.Identity(), GREY)


def test_another_way_through_the_network_is_refused() -> None:
    class Turns(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.rare = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1), False

        def forward(self, images: Tensor) -> Tensor:
            return (self.second if self.rare else self.first)(images).mean((2, 3))

    network = Turns()
    neurons = find_neurons(network, GREY)
    network.rare = True
    with pytest.raises(LayerError, match="did not reach layer first"):
        neurons.read(pictures(1))


def test_the_curve_of_coverage() -> None:
    """Against a loop; with neurons covered from the start."""
    covered = torch.rand((20, 50), generator=generator_for(0, "covered")) < 0.05
    before = torch.rand(50, generator=generator_for(0, "before")) < 0.1
    for started in (None, before):
        union = torch.zeros(50, dtype=torch.bool) if started is None else started
        expected = []
        for row in covered:
            union = union | row
            expected.append(union.double().mean().item())
        assert coverage_curve(covered, started).tolist() == pytest.approx(expected, abs=0)
    assert coverage_curve(covered[:0], before).tolist() == []
