"""Every CAM against slow NumPy, on activations and gradients that plain hooks took from three real architectures."""

from collections import OrderedDict
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from gazeshift.cams import draw
from gazeshift.models import Classifier, load
from gazeshift.pipeline import look
from gazeshift.records import Layer
from gazeshift.registry import build
from helpers.networks import Call, captured, classifier_of, images_of, seeded
from helpers.slow_cams import slow_cam, slow_poles

NORMS = ("none", "positive", "all")
CAMS = {
    name: ("cam", "none") if name == "cam" else (name.partition(":")[0], name.rpartition("=")[2] or "none")
    for name in (
        "cam",
        "grad_cam",
        "layer_cam",
        *(f"{cam}:alpha_norm={norm}" for cam in ("grad_cam_pp", "noise_cam") for norm in NORMS),
    )
}
TARGETS = torch.tensor([3, 1])


# For each architecture: the network, the size of the images, and which module call holds the tensor of each
# convolution and of each block (in a network without blocks: of each convolution).
def resnet18() -> tuple[nn.Module, int, dict[str, Call], dict[str, Call]]:
    import torchvision

    convs, trunk = {"conv1": ("relu", 1)}, {"relu": ("relu", 1)}
    for block in (f"layer{stage}.{part}" for stage in (1, 2, 3, 4) for part in (0, 1)):
        convs |= {f"{block}.conv1": (f"{block}.relu", 1), f"{block}.conv2": (f"{block}.bn2", 1)}
        if block[-1] == "0" and block != "layer1.0":
            convs[f"{block}.downsample.0"] = (f"{block}.downsample.1", 1)
        trunk[block] = (block, 1)
    return seeded(lambda: torchvision.models.resnet18(num_classes=10)), 64, convs, trunk


def vgg16() -> tuple[nn.Module, int, dict[str, Call], dict[str, Call]]:
    """Its convolutions, with a small head instead of the usual 120 million weights."""
    from torchvision.models.vgg import cfgs, make_layers

    def make() -> nn.Module:
        head = nn.Sequential(nn.Linear(25088, 32), nn.ReLU(inplace=True), nn.Linear(32, 10))
        parts = {"avgpool": nn.AdaptiveAvgPool2d(7), "flatten": nn.Flatten(), "classifier": head}
        return nn.Sequential(OrderedDict(features=make_layers(cfgs["D"]), **parts))

    places = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    convs = {f"features.{place}": (f"features.{place + 1}", 1) for place in places}
    return seeded(make), 64, convs, convs


def efficientnet_lite0() -> tuple[nn.Module, int, dict[str, Call], dict[str, Call]]:
    depths = (1, 2, 2, 3, 3, 4, 1)
    convs: dict[str, Call] = {"conv_stem": ("bn1", 1), "conv_head": ("bn2", 1)}
    trunk: dict[str, Call] = {"bn1": ("bn1", 1), "bn2": ("bn2", 1)}
    for block in (f"blocks.{stage}.{part}" for stage, depth in enumerate(depths) for part in range(depth)):
        steps = {"conv_dw": "bn1", "conv_pw": "bn2"} if block == "blocks.0.0" else {}
        for conv, norm in (steps or {"conv_pw": "bn1", "conv_dw": "bn2", "conv_pwl": "bn3"}).items():
            convs[f"{block}.{conv}"] = (f"{block}.{norm}", 1)
        trunk[block] = (block, 1)
    return load("efficientnet_lite0", device="cpu").module, 64, convs, trunk


ARCHITECTURES = {"resnet18": resnet18, "vgg16": vgg16, "efficientnet_lite0": efficientnet_lite0}
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


@cache
def prepared(architecture: str) -> tuple[Classifier, torch.Tensor, dict[str, dict[str, Call]], dict]:
    """The network in float64, images, where each layer is, and what plain hooks saw there."""
    network, size, convs, trunk = ARCHITECTURES[architecture]()
    images = images_of(2, size)
    calls = sorted({*convs.values(), *trunk.values()})
    seen = captured(network, images, TARGETS.tolist(), calls)
    return classifier_of(network.double(), own=True), images, {"convs": convs, "trunk": trunk}, seen


def check(found: torch.Tensor, seen: tuple[np.ndarray, np.ndarray], cam: str, dtype: torch.dtype) -> None:
    """Each map lies within 1e-5 of its own largest value, or of what float64 lost in the slow one; NaN where wanted."""
    wanted, maps = slow_cam(CAMS[cam][0], *seen, CAMS[cam][1]), found.numpy()
    assert found.dtype == dtype
    assert (np.isnan(maps) == np.isnan(wanted)).all(), cam
    lost = 1e-12 * np.abs(np.prod(seen, axis=0)).sum(1).max((1, 2))
    error, largest = (np.nan_to_num(np.abs(values)).max((1, 2)) for values in (maps - wanted, wanted))
    assert (error <= 1e-5 * largest + lost).all(), cam


@every_architecture
@pytest.mark.parametrize("selector", ["trunk", "convs"])
def test_a_look_equals_slow_numpy_at_every_layer(architecture, selector):
    classifier, images, places, seen = prepared(architecture)
    evidence = look(classifier, images, layers=selector, cams=list(CAMS), target=TARGETS)
    named = {name: trace for trace in evidence.traces.values() for name in trace.layer.names}
    assert len(evidence.traces) == len({*places[selector].values()})
    for layer, call in places[selector].items():
        for cam in CAMS:
            check(named[layer].maps[cam], seen[call], cam, torch.float64)
        assert (named[layer].poles.numpy() == slow_poles(*seen[call])).all()


@every_architecture
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_float32_sums_lose_nothing_that_shows(architecture, scale):
    """The same activations and gradients in float32, at scores of three sizes."""
    _, _, places, seen = prepared(architecture)
    cams = {cam: build("cams", cam) for cam in CAMS}
    for call in places["trunk"].values():
        activations, gradients = (np.float32(values) for values in seen[call])
        gradients *= np.float32(scale)
        found = draw(cams, anything(activations), torch.from_numpy(activations), torch.from_numpy(gradients))
        for cam in CAMS:
            check(found.maps[cam], (activations, gradients), cam, torch.float32)
        assert (found.poles.numpy() == slow_poles(activations, gradients)).all()


def anything(activations: np.ndarray) -> Layer:
    return Layer(name="layer", kinds=frozenset(), shape=activations.shape[1:], module="layer")
