"""A classifier is a frozen snapshot: it follows no later training, works from any mode, can be sent to a worker."""

import copy
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

from gazeshift import look
from gazeshift.errors import BoundsError, ModelError
from gazeshift.models import Classifier, Preprocessing


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)
        self.drop = nn.Dropout(0.5)

    def forward(self, images):
        return self.head(self.drop(functional.relu(self.norm(self.conv(images)))).mean((2, 3)))


class Compiled(Network):
    """As people decorate it."""

    @torch.compile(backend="eager")
    def forward(self, images):
        return Network.forward(self, images)


@pytest.fixture
def images():
    return torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def test_later_training_does_not_reach_it(images):
    network = Network()
    classifier = Classifier(network, name="toy")
    before, sha = classifier(images), classifier.weights_sha256
    optimiser = torch.optim.SGD(network.parameters(), lr=1.0)
    functional.cross_entropy(network(images), torch.tensor([0, 1])).backward()
    optimiser.step()
    assert torch.equal(classifier(images), before)
    assert Classifier(classifier.module, name="toy").weights_sha256 == sha


def test_the_callers_network_is_left_as_it_was(images):
    network = Network()
    network.conv.weight.requires_grad_(requires_grad=False)
    Classifier(network, name="toy").to(torch.float64)(images)
    assert network.training
    assert network.drop.training
    assert [weight.requires_grad for weight in network.parameters()] == [False, *[True] * 5]
    assert all(weight.grad is None and weight.dtype == torch.float32 for weight in network.parameters())


def test_own_keeps_the_very_module():
    network = Network()
    assert Classifier(network, name="toy", own=True).module is network
    assert Classifier(network, name="toy").module is not network


def test_it_stays_in_eval_mode(images):
    classifier = Classifier(Network().train(), name="toy")
    with pytest.raises(ModelError, match="a Classifier is frozen in eval mode"):
        classifier.train()
    assert classifier.train(mode=False) is classifier.eval()
    assert not any(module.training for module in classifier.modules())
    assert not any(weight.requires_grad for weight in classifier.parameters())
    assert torch.equal(classifier(images), classifier(images))


def test_it_normalises_inside(images):
    mean, std = (0.1, 0.2, 0.3), (0.5, 1.0, 2.0)
    network = Network().eval()
    classifier = Classifier(network, name="toy", preprocessing=Preprocessing(mean=mean, std=std))
    normalised = (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    torch.testing.assert_close(classifier(images), network(normalised))


@pytest.mark.parametrize("own", [False, True])
def test_made_inside_inference_mode_it_still_has_gradients(images, own):
    with torch.inference_mode():
        network = Network()
        network.tied = network.head
        classifier = Classifier(network, name="toy", own=own).to(torch.float64).to(torch.float32)
        assert classifier(images).shape == (2, 3)
    assert not any(tensor.is_inference() for tensor in (*classifier.parameters(), *classifier.buffers()))
    assert classifier.module.tied.weight is classifier.module.head.weight
    asked = images.clone().requires_grad_()
    classifier(asked).sum().backward()
    assert asked.grad.abs().sum() > 0
    assert look(classifier, images, layers="*").layers == ("conv",)
    outside = Classifier(Network(), name="toy")
    assert [name for name, _ in outside.named_parameters()] == [
        name for name, _ in classifier.named_parameters() if "tied" not in name
    ]


def compiled_inside():
    network = nn.Sequential(torch.compile(Network(), backend="eager"))
    return network, "0.conv"


def compiled_in_place():
    network = Network()
    network.compile(backend="eager")
    return network, "conv"


@pytest.mark.parametrize(
    "make",
    [
        lambda: (torch.compile(Network(), backend="eager"), "conv"),
        lambda: (nn.DataParallel(Network()), "conv"),
        lambda: (nn.DataParallel(torch.compile(Network(), backend="eager")), "conv"),
        lambda: (Compiled(), "conv"),
        compiled_inside,
        compiled_in_place,
    ],
    ids=["compiled", "parallel", "both", "decorated", "inside", "in place"],
)
def test_compiled_and_wrapped_networks_are_looked_at_as_they_were_written(images, make):
    network, layer = make()
    classifier = Classifier(network, name="toy")
    assert [found.name for found in classifier.layers((12, 12))] == [layer]
    assert look(classifier, images, layers=layer).layers == (layer,)
    torch.testing.assert_close(classifier(images), Classifier(Network(), name="plain")(images))


def test_the_compiled_network_itself_stays_compiled():
    network = torch.compile(Network(), backend="eager")
    outer = nn.Sequential(network)
    Classifier(outer, name="toy")
    assert outer[0] is network
    assert hasattr(outer[0], "_orig_mod")


@pytest.mark.parametrize("how", ["script", "trace"])
def test_scripted_networks_are_refused(images, how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit calls itself deprecated
        plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
        network = torch.jit.script(plain) if how == "script" else torch.jit.trace(plain, images)
        with pytest.raises(ModelError, match=r"toy is a scripted or traced network \(torch.jit\)"):
            Classifier(network, name="toy")
        with pytest.raises(ModelError, match="Give the Python network it was made from"):
            Classifier(nn.Sequential(network), name="toy")


def test_what_is_no_module_or_cannot_be_copied():
    with pytest.raises(ModelError, match=r"a classifier needs a torch.nn.Module, got function for toy"):
        Classifier(lambda images: images, name="toy")
    network = Network()
    network.derived = network.head.weight * 2  # torch copies no tensor in the middle of a graph
    with pytest.raises(ModelError, match=r"toy cannot be copied .* hand it over with own=True"):
        Classifier(network, name="toy")
    assert Classifier(network, name="toy", own=True).module is network


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])  # noqa: S301
def test_it_can_be_copied_and_sent_to_a_worker(images, copied):
    classifier = Classifier(Network(), name="toy", class_names=["a", "b", "c"])
    layers = classifier.layers((12, 12))
    with classifier.counting():
        other = copied(classifier)
    assert other.weights_sha256 == classifier.weights_sha256
    assert other.card() == classifier.card()
    assert other.layers((12, 12)) == layers
    assert torch.equal(other(images), classifier(images))
    with other.counting() as passes:
        other(images)
    assert passes.forwards == 2


def test_a_classifier_may_be_part_of_another(images):
    inner = Classifier(Network(), name="inner")
    outer = Classifier(nn.Sequential(inner), name="outer")
    torch.testing.assert_close(outer(images), inner(images))
    assert [layer.name for layer in outer.layers((12, 12))] == ["0.module.conv"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            torch.rand(3, 8, 8),
            "images must be float (n, channels, h, w), got float32 (3, 8, 8). One image: images[None]",
        ),
        (torch.rand(2, 8, 8, 3), "got float32 (2, 8, 8, 3)"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "got uint8 (2, 3, 8, 8)"),
        (
            torch.full((1, 3, 2, 2), 255.0),
            "images must be in [0, 1], got [255, 255]. The model normalises inside. Divide 8-bit",
        ),
        (torch.tensor([-2.12, 2.64, 0.0])[None, :, None, None], "images must be in [0, 1], got [-2.12, 2.64]"),
        (torch.full((1, 3, 2, 2), float("nan")), "images must be in [0, 1], got [nan, nan]"),
    ],
)
def test_what_is_no_batch_of_images(wrong, message):
    with pytest.raises(BoundsError) as told:
        Classifier(Network(), name="toy").prepare(wrong)
    assert message in str(told.value)


def test_layers_are_remembered_for_a_bounded_number_of_sizes(monkeypatch):
    monkeypatch.setattr("gazeshift.models._classifier.SIZES", 2)
    classifier = Classifier(Network(), name="any size", preprocessing=Preprocessing(resize=None, crop=None))
    shapes = [classifier.layers((side, side))[0].shape for side in (8, 9, 10, 8)]
    assert shapes == [(4, 6, 6), (4, 7, 7), (4, 8, 8), (4, 6, 6)]
    assert list(classifier._layers) == [(10, 10), (8, 8)]
