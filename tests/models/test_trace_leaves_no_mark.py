"""A look leaves nothing behind: no hook, no gradient, no changed flag, no kept tensor; after an exception too."""

import copy
import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gazeshift.cams import draw
from gazeshift.errors import ModelError
from gazeshift.models import Classifier, select, trace
from gazeshift.pipeline import look
from gazeshift.records import Layer
from gazeshift.registry import build
from helpers.networks import Branches, Plain, Rebuilt, Residual, Shared, classifier_of, hooks_on, images_of, raw, seeded

CAMS = ("cam", "grad_cam", "grad_cam_pp", "layer_cam", "noise_cam")


@contextmanager
def no_collector() -> Iterator[None]:
    """What is gone within is gone because nothing refers to it, and not because the collector came by."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class BreaksInForward(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        if len(maps) == 3:
            raise ArithmeticError("three images")
        return maps


class BreaksInBackward(torch.autograd.Function):
    @staticmethod
    def forward(_context: Any, maps: Tensor) -> Tensor:
        return maps.clone()

    @staticmethod
    def backward(_context: Any, _gradient: Tensor) -> Tensor:
        raise ArithmeticError("the way back")


class Broken(nn.Module):
    """A network that fails after its first layer, on the way forward or back."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.inner, self.where, self.breaks = Residual(), where, BreaksInForward()
        if where == "forward":
            self.inner.blocks.insert(1, self.breaks)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.inner.blocks(self.inner.stem(images))
        if self.where == "backward" and len(images) == 3:
            maps = BreaksInBackward.apply(maps)
        return self.inner.head(torch.tanh(self.inner.hidden(self.inner.pool(maps).flatten(1))))


@pytest.mark.parametrize("where", ["forward", "backward", "draw"])
def test_no_hook_survives_an_exception_and_the_next_look_is_right(where):
    classifier = classifier_of(seeded(lambda: Broken(where)))
    wanted, drawn, kept = raw(classifier, images_of(2)), [], []
    chosen = classifier.layers((16, 16))

    def breaking(layer: Layer, activations: Tensor, _gradients: Tensor) -> None:
        drawn.append(layer.name)
        kept.append(weakref.ref(activations.untyped_storage()))
        if where == "draw" and len(drawn) == 2:
            raise ArithmeticError("in a map")

    with no_collector():
        with pytest.raises(ModelError if where == "forward" else ArithmeticError) as raised:
            trace(classifier, images_of(3), chosen, breaking)
        del raised
        assert hooks_on(classifier) == 0
        assert not [reference for reference in kept if reference() is not None]
    assert all(weight.grad is None and not weight.requires_grad for weight in classifier.parameters())
    again = raw(classifier, images_of(2))
    assert all(
        torch.equal(one, other) for layer in wanted for one, other in zip(again[layer], wanted[layer], strict=True)
    )


@pytest.mark.parametrize("make", [Plain, Residual, Shared])
def test_no_hook_survives_a_look(make):
    classifier = classifier_of(seeded(make))
    look(classifier, images_of(2), layers="*", cams=CAMS)
    assert hooks_on(classifier) == 0
    assert torch.overrides._len_torch_function_stack() == 0


def test_no_hook_survives_a_refusal():
    classifier = classifier_of(seeded(Branches))
    for layers in ("aside", "nowhere"):
        with pytest.raises((ValueError, KeyError)):
            look(classifier, images_of(2), layers=layers)
        assert hooks_on(classifier) == 0


def left_as_found(network: nn.Module, before: dict[str, Any]) -> None:
    after = state(network)
    assert after.keys() == before.keys()
    for name, value in before.items():
        assert torch.equal(after[name], value) if isinstance(value, Tensor) else after[name] == value, name


def state(network: nn.Module) -> dict[str, Any]:
    """Everything of a network that a look could change."""
    found: dict[str, Any] = {f"training {name}": part.training for name, part in network.named_modules()}
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        found |= {
            f"value {name}": tensor.detach().clone(),
            f"asks {name}": tensor.requires_grad,
            f"id {name}": id(tensor),
        }
        found[f"gradient {name}"] = None if tensor.grad is None else tensor.grad.clone()
        found[f"version {name}"] = tensor._version
    return found | {"hooks": hooks_on(network)}


def test_the_users_own_network_stays_exactly_as_it_was():
    """In the middle of a training: mixed modes, mixed frozen weights, gradients of the last step, somebody's hooks."""
    network, calls = seeded(Residual).train(), []
    network.blocks[0].bn1.eval()
    network.stem[0].requires_grad_(requires_grad=False)
    network(images_of(3)).square().sum().backward()
    network.blocks[1].register_forward_hook(lambda *_: calls.append(1))
    before, threads, chance = state(network), torch.get_num_threads(), torch.get_rng_state()
    assert {*{key: before[key] for key in before if "training" in key}.values()} == {True, False}
    classifier = classifier_of(network)
    look(classifier, images_of(2), layers="*", cams=CAMS)
    with pytest.raises(KeyError):
        look(classifier, images_of(2), layers="nowhere")
    left_as_found(network, before)
    assert torch.get_num_threads() == threads
    assert torch.get_rng_state().equal(chance)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    assert not any(part.training for part in classifier.modules())


def test_the_classifier_itself_stays_as_it_was():
    classifier, images = classifier_of(seeded(Residual)), images_of(2)
    before, kept, digest = state(classifier), images.clone(), classifier.weights_sha256
    first = look(classifier, images, layers="*", cams=CAMS)
    left_as_found(classifier, before)
    assert torch.equal(images, kept)
    assert not images.requires_grad
    second = look(Classifier(copy.deepcopy(classifier.module), name="again", own=True), images, layers="*", cams=CAMS)
    assert second.logits.equal(first.logits)
    assert digest == classifier_of(seeded(Residual)).weights_sha256


def test_a_classifier_cannot_be_set_to_train():
    with pytest.raises(ModelError, match="frozen in eval mode"):
        classifier_of(seeded(Plain)).train()


class Backwards(TorchDispatchMode):
    """Counts the convolutions' backward passes, and those that computed a gradient of weights."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = self.weights = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.aten.convolution_backward.default:
            self.convolutions += 1
            self.weights += any(args[-1][1:])
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("asks", [False, True])
def test_parameter_gradients_are_never_computed(asks):
    """Also if somebody set the weights to ask for them."""
    classifier, fired = classifier_of(seeded(Residual)), []
    wanted = raw(classifier, images_of(2))
    classifier.module.requires_grad_(requires_grad=asks)
    for weight in classifier.parameters() if asks else ():
        weight.register_post_accumulate_grad_hook(fired.append)
    with Backwards() as backwards:
        found = raw(classifier, images_of(2))
    assert (backwards.convolutions, backwards.weights) == (4, 0)
    assert not fired
    assert all(weight.grad is None and weight.requires_grad == asks for weight in classifier.parameters())
    assert all(
        torch.equal(one, other) for layer in wanted for one, other in zip(found[layer], wanted[layer], strict=True)
    )


def test_nothing_is_computed_below_the_first_layer_asked_for():
    classifier = classifier_of(seeded(Residual))
    for layers, convolutions in (("blocks.1", 0), ("blocks.0", 2), ("stem", 4)):
        with Backwards() as backwards:
            raw(classifier, images_of(2), layers)
        assert backwards.convolutions == convolutions


def test_one_forward_and_one_backward_for_everything():
    classifier = classifier_of(seeded(Residual))
    classifier.layers((16, 16))
    with classifier.counting() as passes:
        look(classifier, images_of(5), layers="*", cams=CAMS)
    assert (passes.forwards, passes.backwards) == (5, 5)


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize(
    "make", [Plain, lambda: Plain("function"), lambda: Plain("in-place method"), Residual, Shared, Rebuilt]
)
def test_no_activation_or_gradient_outlives_its_layer(make, asks):
    """When a layer is drawn, those above it are gone from memory; afterwards all are, without the collector's help.

    Only a gradient that also goes around a block, on to a layer below, lives until it arrives there.
    """
    classifier = classifier_of(seeded(make))
    classifier.module.requires_grad_(requires_grad=asks)
    chosen = classifier.layers((16, 16))
    kept: dict[tuple[str, str], weakref.ref] = {}

    def alive() -> set[tuple[str, str]]:
        return {name for name, reference in kept.items() if reference() is not None}

    def noting(layer: Layer, activations: Tensor, gradients: Tensor) -> set[tuple[str, str]]:
        before = alive()
        kept["activations", layer.name] = weakref.ref(activations.untyped_storage())
        kept["gradient", layer.name] = weakref.ref(gradients.untyped_storage())
        return before

    with no_collector():
        drawn = trace(classifier, images_of(2), chosen, noting)[2]
        assert len(kept) == 2 * len(chosen)
        around = {("gradient", "blocks.0.bn2"), ("gradient", "blocks.1.bn2")}
        assert not set().union(*drawn.values()) - around
        assert not alive()


def test_maps_do_not_keep_their_layer_alive():
    classifier, kept = classifier_of(seeded(Residual)), []
    with no_collector():
        cams = {name: build("cams", name) for name in CAMS}

        def watched(layer: Layer, *seen: Tensor) -> Any:
            kept.extend(weakref.ref(tensor.untyped_storage()) for tensor in seen)
            return draw(cams, layer, *seen)

        chosen = select(classifier.layers((16, 16)), "trunk", "tested")
        found = trace(classifier, images_of(2), chosen, watched)
        assert len(found[2]) == 3
        assert not [reference for reference in kept if reference() is not None]
