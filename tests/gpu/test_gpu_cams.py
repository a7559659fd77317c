"""The laws of CAMs and traces again, on a CUDA device."""

import gc
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gazeshift import registry
from gazeshift.cams import draw
from gazeshift.errors import BoundsError
from gazeshift.models import trace
from gazeshift.pipeline import attack, compare, look
from gazeshift.records import Evidence, Layer
from helpers.networks import (
    CLASSES,
    Linear,
    Plain,
    Rebuilt,
    Residual,
    Shared,
    captured,
    classifier_of,
    hooks_on,
    images_of,
    raw,
    seeded,
)
from helpers.slow_cams import slow_cam, slow_poles

DEVICE = "cuda"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

NAMES = registry.names("cams")
NETWORKS = {
    "plain": Plain,
    "function": lambda: Plain("function"),
    "in-place method": lambda: Plain("in-place method"),
    "residual": Residual,
    "shared": Shared,
    "linear": Linear,
    "rebuilt": Rebuilt,
}
TARGET = torch.tensor([4, 0, 2])
every_network = pytest.mark.parametrize("network", NETWORKS)
every_norm = pytest.mark.parametrize("norm", ["none", "positive", "all"])


def on_device(network: str, dtype: torch.dtype = torch.float64):
    return classifier_of(seeded(NETWORKS[network]).to(dtype)).to(DEVICE)


def looked(classifier, images: Tensor, **settings) -> Evidence:
    return look(classifier, images, **{"layers": "*", "cams": NAMES, "target": TARGET[: len(images)]} | settings)


def alike(found: Tensor, wanted: Tensor, tolerance: float = 1e-9) -> None:
    """Equal within the tolerance of each map's largest value; undefined at the same places."""
    found, wanted = found.cpu(), wanted.cpu()
    assert (found.isnan() == wanted.isnan()).all()
    for one, other in zip(found.nan_to_num(), wanted.nan_to_num(), strict=True):
        assert (one - other).abs().max() <= tolerance * other.abs().max() + 1e-15


def same(found: Evidence, wanted: Evidence, tolerance: float = 1e-9) -> None:
    assert found.layers == wanted.layers
    for layer in wanted.layers:
        for cam in wanted.cams:
            alike(found.maps(layer, cam), wanted.maps(layer, cam), tolerance)
        assert found.traces[layer].poles.tolist() == wanted.traces[layer].poles.tolist()


@every_network
def test_as_on_the_cpu(network):
    found = looked(on_device(network), images_of(3))
    same(found, looked(classifier_of(seeded(NETWORKS[network]).double()), images_of(3)))
    for kept in found.traces.values():
        assert {maps.device.type for maps in kept.maps.values()} | {kept.poles.device.type} == {DEVICE}


@every_norm
@pytest.mark.parametrize("make", [Residual, Linear])
def test_as_slow_numpy(make, norm):
    calls = (
        {"blocks.0": ("blocks.0", 1), "blocks.1": ("blocks.1", 1)} if make is Residual else {"second": ("second", 1)}
    )
    network = seeded(make)
    seen = captured(network, images_of(3), TARGET.tolist(), list(calls.values()))
    classifier = classifier_of(network.double()).to(DEVICE)
    cams = [f"{cam}:alpha_norm={norm}" for cam in ("grad_cam_pp", "noise_cam")]
    evidence = looked(classifier, images_of(3), layers=list(calls), cams=[*cams, "grad_cam", "layer_cam"])
    for layer, call in calls.items():
        for cam in evidence.cams:
            alike(evidence.maps(layer, cam), torch.from_numpy(slow_cam(cam.partition(":")[0], *seen[call], norm)), 1e-8)
        assert evidence.traces[layer].poles.tolist() == slow_poles(*seen[call]).tolist()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(3, 64, 28, 28), (5, 7, 3, 2), (0, 4, 2, 2), (2, 2048, 7, 7)])
def test_float32_arithmetic(name, shape):
    generator = torch.Generator().manual_seed(0)
    activations, gradients = torch.randn((2, *shape), generator=generator)
    activations[:, ::2] = activations[:, ::2].abs()
    layer = Layer(name="layer", kinds=frozenset(), shape=shape[1:], module="layer")
    cams = {name: registry.build("cams", name)}
    found = draw(cams, layer, activations.to(DEVICE), gradients.to(DEVICE)).maps[name]
    assert (found.dtype, found.device.type, tuple(found.shape)) == (torch.float32, DEVICE, (shape[0], *shape[2:]))
    if len(found) and name != "cam":
        wanted = slow_cam(
            name, np.asarray(activations), np.asarray(gradients), getattr(cams[name], "alpha_norm", "none")
        )
        alike(found.double(), torch.from_numpy(wanted), 1e-5)


def test_a_constant_positive_gradient_gives_a_noise_cam_that_is_exactly_blank():
    evidence = look(
        on_device("plain", torch.float32), images_of(CLASSES), cams="noise_cam", target=torch.arange(CLASSES)
    )
    assert (evidence.maps("relus.2", "noise_cam") == 0).all()


@every_network
def test_a_batch_equals_one_by_one_and_all_layers_at_once_equal_one_at_a_time(network):
    classifier, images = on_device(network), images_of(3)
    together = looked(classifier, images)
    alone = [looked(classifier, images[at : at + 1], target=TARGET[at : at + 1]) for at in range(3)]
    for layer in together.layers:
        for cam in NAMES:
            alike(torch.cat([one.maps(layer, cam) for one in alone]), together.maps(layer, cam))
            alike(looked(classifier, images, layers=layer, cams=cam).maps(layer, cam), together.maps(layer, cam))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_within_a_mode(mode):
    wanted = looked(on_device("residual"), images_of(3))
    with mode():
        inside = on_device("residual")
        same(looked(inside, images_of(3).to(DEVICE), target=TARGET.to(DEVICE)), wanted)
    same(looked(inside, images_of(3)), wanted)
    assert attack(inside, images_of(3), by="fgsm").success.device.type == DEVICE


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("how", ["autocast", "network"])
def test_half_precision_is_for_the_network_and_not_for_the_maps(dtype, how):
    classifier = on_device("residual", torch.float32 if how == "autocast" else dtype)
    classifier.layers((16, 16))
    with torch.autocast(DEVICE, dtype, enabled=how == "autocast"):
        found = looked(classifier, images_of(3))
        pairs = raw(classifier, images_of(3), classes=TARGET)
    assert found.logits.dtype == dtype
    cams = {cam: registry.build("cams", cam) for cam in NAMES}
    for layer, pair in pairs.items():
        again = draw(cams, found.traces[layer].layer, *pair)
        for cam in NAMES:
            assert found.maps(layer, cam).dtype == torch.float32
            alike(found.maps(layer, cam), again.maps[cam], 1e-5)


def test_weights_that_ask_for_gradients_change_nothing_and_get_none():
    classifier = on_device("residual")
    wanted = looked(classifier, images_of(3))
    classifier.module.requires_grad_()
    same(looked(classifier, images_of(3)), wanted)
    assert all(weight.grad is None for weight in classifier.parameters())


def test_no_hook_survives_an_exception_and_its_kind_is_kept():
    classifier = on_device("residual")
    wanted = looked(classifier, images_of(3))

    def fails(*_: object) -> None:
        raise ArithmeticError("in a map")

    with pytest.raises(ArithmeticError, match="in a map"):
        trace(classifier, images_of(2).to(DEVICE), classifier.layers((16, 16)), fails)
    assert hooks_on(classifier) == 0
    same(looked(classifier, images_of(3)), wanted)


@pytest.mark.parametrize("index", [-1, CLASSES, 1000])
def test_a_target_out_of_range_is_refused_before_it_can_break_the_device(index):
    classifier = on_device("residual")
    with pytest.raises(BoundsError, match="classes from 0 to 5"):
        look(classifier, images_of(2), target=torch.tensor([0, index], device=DEVICE))
    assert looked(classifier, images_of(3)).logits.isfinite().all()


def test_threads_may_look_through_one_classifier_at_once():
    classifier = on_device("residual")
    layers = ["*", "stem", "blocks.0", "blocks.1", "blocks.0.relu", "blocks.1.bn2"]
    wanted = [looked(classifier, images_of(3, seed=at), layers=asked) for at, asked in enumerate(layers)]

    def looks(at: int) -> Evidence:
        return [looked(classifier, images_of(3, seed=at), layers=layers[at]) for _ in range(5)][-1]

    with ThreadPoolExecutor(len(layers)) as pool:
        for found, known in zip(pool.map(looks, range(len(layers))), wanted, strict=True):
            same(found, known)
    assert hooks_on(classifier) == 0


class Deep(nn.Module):
    """Many layers of one size, so that what is kept shows in the memory."""

    def __init__(self) -> None:
        super().__init__()
        steps = [step for _ in range(12) for step in (nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(inplace=True))]
        self.steps, self.head = nn.Sequential(nn.Conv2d(3, 16, 1), *steps), nn.Linear(16, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.steps(images).mean((2, 3)))


def test_memory_falls_layer_by_layer_and_comes_back():
    classifier = classifier_of(seeded(Deep)).to(DEVICE)
    images = images_of(8, 64).to(DEVICE)
    layers, allocated = classifier.layers((64, 64)), []
    trace(classifier, images, layers, lambda *_: None)  # what the device keeps once and for all
    gc.collect()
    gc.disable()
    try:
        before = torch.cuda.memory_allocated()
        drawn = trace(classifier, images, layers, lambda *_: allocated.append(torch.cuda.memory_allocated()))
        del drawn
        left = torch.cuda.memory_allocated() - before
    finally:
        gc.enable()
    size = 8 * 16 * 64 * 64 * 4
    assert len(allocated) == 13
    assert allocated[0] - allocated[-1] > 8 * size
    assert all(after < previous for previous, after in pairwise(allocated[1:]))
    assert left < size / 100


def test_compare_and_pictures_take_what_lies_on_the_device():
    classifier = on_device("residual", torch.float32)
    clean, changed = (looked(classifier, images_of(3, seed=seed)) for seed in (1, 2))
    assert compare(clean, changed, cams=["grad_cam"]).table().device.type == DEVICE
    torch.testing.assert_close(compare(clean, clean, cams=["grad_cam"]).table().cpu(), torch.ones(len(clean.layers), 3))
    assert clean._repr_png_().startswith(b"\x89PNG")
