"""The pass that keeps its graph: the same activations and gradients as `trace`, and true gradients of gradients."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gazeshift import models
from gazeshift.errors import BoundsError, LayerError, ModelError
from gazeshift.models._differentiable import live_pass
from gazeshift.seeds import generator_for


class Overwriting(nn.Module):
    """In-place steps as modules and as functions, and a tensor that is written into after it was a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.third = nn.Conv2d(6, 8, 3, stride=2)
        self.head = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        seen = self.act(self.norm(self.first(images)))
        block = self.second(seen)
        block += seen
        block.relu_()
        deep = functional.relu6(self.third(block), inplace=True)
        return self.head(deep.mean((2, 3)))


class Smooth(nn.Module):
    """Twice differentiable everywhere, so that differences of differences say what autograd must say."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.second = nn.Conv2d(4, 5, 3)
        self.head = nn.Linear(5, 3)

    def forward(self, images: Tensor) -> Tensor:
        seen = functional.softplus(self.second(functional.gelu(self.first(images))))
        return self.head(functional.softplus(seen.mean((2, 3))))


def made(kind: type[nn.Module], dtype: torch.dtype = torch.float32) -> models.Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = kind().eval().to(dtype)
    return models.Classifier(network, name=kind.__name__, preprocessing=models.Preprocessing(resize=None, crop=12))


def drawn(n: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand((n, 3, 12, 12), generator=generator_for(0, "live"), dtype=dtype)


def activations_and_gradients(classifier, images, layers, classes, score="logit"):
    """Logits, and every layer's activations and gradients of one class per image, all still in the graph."""
    live = live_pass(classifier, images, layers)
    return live.logits, live.activations, live.gradients(classes, score=score)


@pytest.mark.parametrize("kind", [Overwriting, Smooth])
@pytest.mark.parametrize("score", ["logit", "prob"])
def test_the_same_as_a_trace(kind: type[nn.Module], score: str) -> None:
    classifier, images, classes = made(kind), drawn(3), torch.tensor([0, 2, 1])
    layers = classifier.layers()
    logits, _, traced = models.trace(
        classifier,
        images,
        layers,
        lambda _, activations, gradients: (activations, gradients),
        classes=classes,
        score=score,
    )
    live_logits, activations, gradients = activations_and_gradients(classifier, images, layers, classes, score=score)
    torch.testing.assert_close(live_logits, logits)
    assert list(activations) == list(gradients) == [layer.name for layer in layers]
    assert len(layers) >= 2
    for name, (wanted, wanted_gradient) in traced.items():
        torch.testing.assert_close(activations[name], wanted)
        torch.testing.assert_close(gradients[name], wanted_gradient)
        assert activations[name].requires_grad


def test_the_gradient_of_a_gradient_is_true() -> None:
    """Of sum(gradient^2) by the images, against central differences of first gradients that `trace` gives."""
    classifier, classes = made(Smooth, torch.float64), torch.tensor([1, 2])
    images = drawn(2, torch.float64).requires_grad_()
    layer = classifier.layers()[0]
    _, _, gradients = activations_and_gradients(classifier, images, [layer], classes)
    (found,) = torch.autograd.grad(gradients[layer.name].square().sum(), images)

    def size(shown: Tensor) -> float:
        _, _, traced = models.trace(classifier, shown, [layer], lambda *seen: seen[2], classes=classes)
        return float(traced[layer.name].square().sum())

    for place in [(0, 0, 4, 5), (0, 2, 0, 11), (1, 1, 7, 7)]:
        step = torch.zeros_like(images)
        step[place] = 1e-4
        wanted = (size(images.detach() + step) - size(images.detach() - step)) / 2e-4
        assert found[place] == pytest.approx(wanted, rel=1e-5)
    assert found.abs().max() > 0


def test_gradients_of_several_classes_from_one_pass() -> None:
    classifier, images = made(Overwriting), drawn(2)
    layer = classifier.layers()[-1]
    live = live_pass(classifier, images, [layer])
    for classes in (torch.tensor([0, 1]), torch.tensor([3, 3])):
        _, _, wanted = activations_and_gradients(classifier, images, [layer], classes)
        torch.testing.assert_close(live.gradients(classes)[layer.name], wanted[layer.name])


@pytest.mark.parametrize("surroundings", [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_off_and_leaves_the_model_alone(surroundings: type) -> None:
    classifier = made(Overwriting)
    with surroundings():
        images = drawn(2)
        _, _, gradients = activations_and_gradients(classifier, images, classifier.layers(), torch.tensor([0, 1]))
        assert not torch.is_grad_enabled()
    assert all(gradient.abs().sum() > 0 for gradient in gradients.values())
    assert not images.requires_grad
    assert not any(module._forward_hooks for module in classifier.modules())
    assert all(weights.grad is None and not weights.requires_grad for weights in classifier.parameters())


def test_what_cannot_be_is_said() -> None:
    classifier, images, classes = made(Overwriting), drawn(2), torch.tensor([0, 1])
    layer = next(one for one in classifier.layers() if one.module == "act")
    live = live_pass(classifier, images, [layer])
    with pytest.raises(BoundsError, match=r"one class from 0 to 3 per image, got \[0, 4\]"):
        live.gradients(torch.tensor([0, 4]))
    network = classifier.module
    network.forward = lambda images: images.mean((2, 3))
    with pytest.raises(LayerError, match="did not reach layer"):
        live_pass(classifier, images, [layer])
    network.forward = lambda images: network.act(network.first(images)).detach().mean((2, 3)) * images.mean()
    with pytest.raises(LayerError, match="no influence"):
        activations_and_gradients(classifier, images, [layer], classes)
    network.forward = lambda images: images
    with pytest.raises(ModelError, match="one row of logits per image"):
        live_pass(classifier, images, [])
