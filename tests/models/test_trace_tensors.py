"""Which tensors a trace shows: called several times, overwritten, written by functions, side by side, cut off."""

import pytest
import torch
from torch import Tensor, nn

from gazeshift.errors import BoundsError, LayerError, ModelError
from gazeshift.models import trace
from gazeshift.pipeline import look
from gazeshift.records import Layer
from helpers.networks import (
    CLASSES,
    Branches,
    Plain,
    Rebuilt,
    Residual,
    Shared,
    captured,
    classifier_of,
    images_of,
    raw,
    seeded,
)

TARGET = torch.tensor([5, 0, 2])


def same(found: tuple[Tensor, Tensor], wanted: tuple) -> None:
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, torch.as_tensor(other), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("make", "places"),
    [
        (Plain, {f"relus.{at}": (f"relus.{at}", 1) for at in range(3)}),
        (
            Residual,
            {
                "stem": ("stem.1", 1),
                "blocks.0.relu": ("blocks.0.relu", 1),
                "blocks.0.bn2": ("blocks.0.bn2", 1),
                "blocks.0": ("blocks.0", 1),
                "blocks.1.relu": ("blocks.1.relu", 1),
                "blocks.1.bn2": ("blocks.1.bn2", 1),
                "blocks.1": ("blocks.1", 1),
            },
        ),
        (Shared, {"widen": ("widen", 1), "relu": ("relu", 1), "relu#2": ("relu", 2), "relu#3": ("relu", 3)}),
    ],
)
def test_shows_what_plain_hooks_see_in_a_copy_with_nothing_in_place(make, places):
    """Torchvision's bottleneck among them: bn2's output is overwritten by the addition, and shown from before."""
    network, images = seeded(make), images_of(3)
    seen = captured(network, images, TARGET.tolist(), list(places.values()))
    found = raw(classifier_of(network.double()), images, list(places), classes=TARGET)
    assert list(found) == list(places)
    for layer, call in places.items():
        same(found[layer], seen[call])


def test_a_shared_convolution_is_a_layer_at_each_call():
    classifier = classifier_of(seeded(Shared))
    layers = [layer for layer in classifier.layers((16, 16)) if "conv" in layer.kinds]
    assert [layer.name for layer in layers] == ["widen", "relu", "relu#2", "relu#3"]
    for layer, name in zip(layers[1:], ("conv", "conv#2", "conv#3"), strict=True):
        assert name in layer.names
    found = raw(classifier, images_of(2), ["conv", "conv#2", "conv#3"])
    gradients = [gradient for _, gradient in found.values()]
    assert not any(torch.equal(gradients[0], other) for other in gradients[1:])


def rebuilt_by_hand(network: Rebuilt, images: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    first = network.first(images.double()).clamp_min(0)
    second = network.norm(network.second(first)).clamp_min(0)
    logits = network.head(torch.sin(2 * second if network.overwrite else second).mean((2, 3)))
    gradients = torch.autograd.grad(logits[torch.arange(3), TARGET].sum(), [first, second])
    return {"first": (first, gradients[0]), "second": (second, gradients[1])}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("how", ["out of place", "in place", "keyword", "not taken"])
@pytest.mark.parametrize("layers", ["first,second", "first", "second"])
def test_a_function_is_followed_to_its_result(how, layers, overwrite):
    """Past a dropout that does nothing; in place too, and if the network ignores the result and uses what it gave."""
    network, images = seeded(lambda: Rebuilt(how, overwrite=overwrite)).double(), images_of(3)
    wanted = rebuilt_by_hand(network, images)
    found = raw(classifier_of(network), images, layers, classes=TARGET)
    assert list(found) == layers.split(",")
    for layer, shown in found.items():
        same(shown, wanted[layer])


def test_layers_side_by_side_do_not_need_each_other():
    classifier, images = classifier_of(seeded(Branches).double()), images_of(2)
    both = raw(classifier, images, ["left", "right", "after"])
    for layer in both:
        same(raw(classifier, images, layer)[layer], both[layer])


@pytest.mark.parametrize("layers", ["before,after", "aside,left,right"])
def test_a_layer_that_no_class_score_depends_on_is_refused(layers):
    with pytest.raises(LayerError, match=f"layer {layers.split(',')[0]} has no influence on the class score"):
        raw(classifier_of(seeded(Branches)), images_of(2), layers)


@pytest.mark.parametrize("layer", ["before", "aside"])
def test_alone_it_cannot_be_told_from_one_behind_a_detach(layer):
    said = f"to layer {layer}, and this model gives none. .* without influence on the score has no map: leave it out"
    with pytest.raises(ModelError, match=said):
        raw(classifier_of(seeded(Branches)), images_of(2), layer)


class Moody(nn.Module):
    """Goes another way when it sees more than one image."""

    def __init__(self) -> None:
        super().__init__()
        self.alone, self.crowd, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Linear(4, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.head((self.alone if len(images) == 1 else self.crowd)(images).sin().mean((2, 3)))


def test_a_layer_that_the_pass_does_not_reach_is_refused():
    classifier = classifier_of(seeded(Moody))
    assert list(raw(classifier, images_of(1), "alone")) == ["alone"]
    with pytest.raises(LayerError, match="did not reach layer alone"):
        raw(classifier, images_of(2), "alone")


class Answers(nn.Module):
    """A network that gives something else than logits."""

    def __init__(self, make) -> None:
        super().__init__()
        self.conv, self.make = nn.Conv2d(3, 4, 1), make

    def forward(self, images: Tensor) -> object:
        return self.make(self.conv(images).mean((2, 3)))


@pytest.mark.parametrize(
    ("make", "came"),
    [
        (lambda logits: (logits, logits), r"a tuple of \(3, 4\), \(3, 4\)"),
        (lambda logits: {"scores": logits}, "a dict of 'scores'"),
        (lambda logits: logits[:1], r"\(1, 4\)"),
        (lambda logits: logits[:, :, None], r"\(3, 4, 1\)"),
        (lambda _: None, "NoneType"),
    ],
)
def test_an_answer_that_is_not_logits_is_refused(make, came):
    classifier = classifier_of(Answers(make))
    layer = Layer(name="conv", kinds=frozenset({"conv"}), shape=(4, 16, 16), module="conv")
    with pytest.raises(ModelError, match=rf"one row of logits per image, \(3, classes\); tested gave {came}"):
        trace(classifier, images_of(3), [layer], lambda *_: None)
    with pytest.raises(ModelError):
        look(classifier, images_of(3))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (torch.tensor([0, 1]), r"3 whole numbers, one class from 0 to 5 per image, got \[0, 1\]"),
        (torch.tensor([[0, 1, 2]]), r"got \[\[0, 1, 2\]\]"),
        (torch.tensor([0.0, 1.0, 2.0]), r"got \[0.0, 1.0, 2.0\]"),
        (torch.tensor([True, False, True]), r"got \[True, False, True\]"),
        (3, "got 3"),
        (torch.tensor([0, 1, 6]), r"one class from 0 to 5 per image, got \[0, 1, 6\]"),
        (torch.tensor([0, -1, 5]), r"one class from 0 to 5 per image, got \[0, -1, 5\]"),
    ],
)
def test_classes_that_are_none_are_refused(classes, message):
    """One class for three images would leave two of them without a gradient, unseen."""
    with pytest.raises(BoundsError, match=message):
        raw(classifier_of(seeded(Plain)), images_of(3), classes=classes)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int32, torch.int64])
def test_classes_may_be_of_any_integer_type(kind):
    classifier = classifier_of(seeded(Plain))
    _, explained, _ = trace(classifier, images_of(3), (), lambda *_: None, classes=TARGET.to(kind))
    assert explained.dtype == torch.int64
    assert explained.equal(TARGET)


def test_without_classes_each_images_own_top_class_is_explained():
    classifier, images = classifier_of(seeded(Residual, seed=3)), images_of(8, seed=2)
    logits, explained, seen = trace(classifier, images, classifier.layers((16, 16)), lambda _layer, *pair: pair[1])
    assert explained.equal(classifier(images).argmax(1))
    assert len(explained.unique()) > 1
    assert logits.equal(classifier(images))
    assert not logits.requires_grad
    asked = raw(classifier, images, classes=explained)
    assert all(asked[layer][1].equal(seen[layer]) for layer in seen)


def test_an_empty_batch_and_no_layers_are_allowed():
    classifier = classifier_of(seeded(Residual))
    assert {tuple(shown[1].shape)[:1] for shown in raw(classifier, images_of(1)[:0]).values()} == {(0,)}
    logits, _, seen = trace(classifier, images_of(2), (), lambda *_: None)
    assert (tuple(logits.shape), seen) == ((2, CLASSES), {})


def test_a_probability_is_explained_by_its_own_gradient():
    network, images = seeded(Residual).double(), images_of(3)
    activations = network.stem(images.double())
    leaf = activations.detach().requires_grad_()
    logits = network.head(torch.tanh(network.hidden(network.pool(network.blocks(leaf.clone())).flatten(1))))
    wanted = torch.autograd.grad(logits.softmax(1)[torch.arange(3), TARGET].sum(), leaf)[0]
    (shown,) = raw(classifier_of(network), images, "stem", classes=TARGET, score="prob").values()
    torch.testing.assert_close(shown[1], wanted)


def test_the_gradient_of_a_sure_probability_vanishes():
    network = seeded(Plain)
    network.head.weight.data *= 1e7
    shown = raw(classifier_of(network), images_of(3), score="prob")
    assert all((gradient == 0).all() for _, gradient in shown.values())
