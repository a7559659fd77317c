"""The same maps under every circumstance: no_grad, inference mode, autocast, bf16, unfrozen weights, threads."""

import contextlib
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from gazeshift.cams import draw
from gazeshift.models import load, trace
from gazeshift.pipeline import attack, look
from gazeshift.records import Evidence
from gazeshift.registry import build
from helpers.networks import Branches, Plain, Rebuilt, Residual, classifier_of, images_of, raw, seeded

CAMS = ("cam", "grad_cam", "grad_cam_pp", "layer_cam", "noise_cam")
MODES = {
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "enable_grad": torch.enable_grad,
    "no_grad in inference": lambda: nested(torch.inference_mode(), torch.no_grad()),
}


@contextlib.contextmanager
def nested(*contexts: contextlib.AbstractContextManager) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield


def everything(classifier, images: Tensor, **settings) -> Evidence:
    return look(classifier, images, layers="*", cams=CAMS, **settings)


def same(found: Evidence, wanted: Evidence) -> None:
    """To the bit, and of the kind that later steps can differentiate through."""
    assert found.layers == wanted.layers
    assert found.logits.equal(wanted.logits)
    for layer in wanted.layers:
        for cam in CAMS:
            assert not found.maps(layer, cam).is_inference()
            assert not found.maps(layer, cam).requires_grad
            assert torch.equal(found.maps(layer, cam).nan_to_num(), wanted.maps(layer, cam).nan_to_num())


@pytest.mark.parametrize("make", [Residual, lambda: Plain("function"), Rebuilt])
@pytest.mark.parametrize("mode", MODES)
def test_a_look_within_a_mode(mode, make):
    """With images, a target and layers found within it too."""
    wanted = everything(classifier_of(seeded(make)), images_of(3))
    classifier = classifier_of(seeded(make))
    with MODES[mode]():
        same(everything(classifier, images_of(3)), wanted)
        found = everything(classifier, images_of(3), target=wanted.logits.argmax(1))
        same(found, wanted)
        same(everything(classifier, images_of(3), target=found.predicted, score="logit"), wanted)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("own", [False, True])
def test_a_classifier_made_within_a_mode(mode, own):
    wanted = everything(classifier_of(seeded(Residual)), images_of(3))
    with MODES[mode]():
        inside = classifier_of(seeded(Residual), own=own)
        same(everything(inside, images_of(3)), wanted)
        moved = classifier_of(seeded(Residual)).double().float()
        same(everything(moved, images_of(3)), wanted)
    for classifier in (inside, moved):
        same(everything(classifier, images_of(3)), wanted)
        assert attack(classifier, images_of(3), by="fgsm").success.shape == (3,)


def test_a_model_loaded_in_inference_mode():
    with torch.inference_mode():
        classifier = load("efficientnet_lite0", device="cpu")
        evidence = look(classifier, images_of(1, 64), layers="bn2", cams=CAMS)
    assert evidence.maps("bn2").isfinite().all()


def test_images_and_targets_may_ask_for_gradients_or_come_from_inference_mode():
    classifier = classifier_of(seeded(Residual))
    wanted = everything(classifier, images_of(3))
    with torch.inference_mode():
        images, target = images_of(3), wanted.predicted.clone()
    same(everything(classifier, images, target=target), wanted)
    asking = images_of(3).requires_grad_()
    same(everything(classifier, asking), wanted)
    assert asking.grad is None


@pytest.mark.parametrize("weights", ["all", "first", "last"])
@pytest.mark.parametrize("make", [Residual, Rebuilt, lambda: Rebuilt("not taken", overwrite=True), Branches])
@pytest.mark.parametrize("layers", ["*", "one"])
def test_weights_that_ask_for_gradients_change_nothing(make, weights, layers):
    """Then every tensor has a graph of its own, and the trace must still begin at the layers asked for."""
    names = {"*": "left,right,after" if make is Branches else "*", "one": {Residual: "blocks.0", Branches: "right"}}
    asked = names[layers] if layers == "*" else names["one"].get(make, "second")
    classifier = classifier_of(seeded(make))
    wanted = raw(classifier, images_of(2), asked)
    parameters = list(classifier.module.parameters())
    for weight in {"all": parameters, "first": parameters[:2], "last": parameters[-2:]}[weights]:
        weight.requires_grad_()
    found = raw(classifier, images_of(2), asked)
    assert all(torch.equal(one, two) for layer in wanted for one, two in zip(found[layer], wanted[layer], strict=True))


def test_a_bf16_network():
    """Maps are float32 whatever the network computes in, and the arithmetic is that of the same A and g in float32."""
    exact = everything(classifier_of(seeded(Residual)), images_of(3))
    classifier = classifier_of(seeded(Residual).bfloat16())
    found = everything(classifier, images_of(3), target=exact.predicted)
    assert found.layers == exact.layers
    assert found.logits.dtype == torch.bfloat16
    for layer in exact.layers:
        maps, wanted = found.maps(layer), exact.maps(layer)
        assert maps.dtype == torch.float32
        alike = torch.cosine_similarity(maps.flatten(1), wanted.flatten(1))
        assert (alike > 0.99).all()
    by_hand(classifier, found)


def by_hand(classifier, evidence: Evidence) -> None:
    """Each map is what its CAM makes of the captured activations and gradients, outside any context."""
    for layer, pair in raw(classifier, evidence.images, classes=evidence.explained).items():
        again = draw({cam: build("cams", cam) for cam in CAMS}, evidence.traces[layer].layer, *pair)
        for cam in CAMS:
            assert torch.equal(again.maps[cam].nan_to_num(), evidence.maps(layer, cam).nan_to_num())


@pytest.mark.parametrize("score", ["logit", "prob"])
def test_autocast_is_for_the_network_and_not_for_the_maps(score):
    classifier = classifier_of(seeded(Residual))
    classifier.layers((16, 16))
    with torch.autocast("cpu", torch.bfloat16):
        found = everything(classifier, images_of(3), score=score)
        pairs = raw(classifier, images_of(3), classes=found.explained, score=score)
    assert found.logits.dtype == torch.bfloat16
    for layer, pair in pairs.items():
        again = draw({cam: build("cams", cam) for cam in CAMS}, found.traces[layer].layer, *pair)
        for cam in CAMS:
            assert found.maps(layer, cam).dtype == torch.float32
            assert torch.equal(again.maps[cam].nan_to_num(), found.maps(layer, cam).nan_to_num())


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads change places as often as Python allows."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("make", [Residual, lambda: Rebuilt("not taken", overwrite=True)])
def test_threads_may_look_through_one_classifier_at_once(make):
    """Each at its own images and layers, while one attacks and one looks under no_grad; layers are found meanwhile."""
    names = [layer.name for layer in classifier_of(seeded(make)).layers((16, 16))]
    asked = ["*", *names]
    serial = classifier_of(seeded(make))
    wanted = {layers: raw(serial, images_of(2, seed=at), layers) for at, layers in enumerate(asked)}
    attacked = attack(serial, images_of(2), by="pgd:steps=2,random_start=false").images

    for _ in range(6):
        classifier, together = classifier_of(seeded(make)), threading.Barrier(len(asked) + 1)

        def looks(at: int, classifier=classifier, together=together) -> bool:
            together.wait()
            for _ in range(3):
                with torch.set_grad_enabled(at % 2 == 0):
                    found = raw(classifier, images_of(2, seed=at), asked[at])
                for layer, pair in wanted[asked[at]].items():
                    if not all(torch.equal(one, two) for one, two in zip(found[layer], pair, strict=True)):
                        return False
            return True

        def attacks(classifier=classifier, together=together) -> bool:
            together.wait()
            with classifier.counting() as passes:
                made = attack(classifier, images_of(2), by="pgd:steps=2,random_start=false").images
            return made.equal(attacked) and passes.forwards > 0

        with ThreadPoolExecutor(len(asked) + 1) as pool:
            running = [pool.submit(attacks), *(pool.submit(looks, at) for at in range(len(asked)))]
            assert all(future.result() for future in running)
        assert sum(len(part._forward_hooks) for part in classifier.modules()) == 0


def test_a_thread_that_fails_leaves_the_others_alone():
    classifier, started, failed = classifier_of(seeded(Residual)), threading.Event(), threading.Event()
    wanted = raw(classifier, images_of(2))

    def waits(_layer, *pair: Tensor) -> tuple[Tensor, ...]:
        started.set()
        assert failed.wait(10)
        return tuple(map(torch.clone, pair))

    def fails(*_: object) -> None:
        raise ArithmeticError

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(trace, classifier, images_of(2), classifier.layers((16, 16)), waits)
        assert started.wait(10)
        with pytest.raises(ArithmeticError):
            trace(classifier, images_of(3), classifier.layers((16, 16)), fails)
        failed.set()
        found = running.result()[2]
    assert all(torch.equal(one, two) for layer in wanted for one, two in zip(found[layer], wanted[layer], strict=True))
