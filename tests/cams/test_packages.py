"""Grad-CAM, Grad-CAM++ and LayerCAM against pytorch-grad-cam and Captum, where their conventions are ours."""

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gazeshift.pipeline import look
from helpers.networks import Plain, Residual, classifier_of, images_of, seeded

TARGET = torch.tensor([1, 0, 4])
LAYERS = {
    "plain": ("relus.0", "relus.1", "relus.2"),
    "residual": ("stem.1", "blocks.0", "blocks.1"),
}


@pytest.fixture(params=LAYERS)
def network(request) -> nn.Module:
    """In float64 and with nothing in place, which hooks of other packages need."""
    make = {"plain": Plain, "residual": lambda: Residual(inplace=False)}[request.param]
    network = seeded(make).double()
    network.layers = LAYERS[request.param]
    return network


def ours(network: nn.Module, cam: str, layer: str) -> Tensor:
    evidence = look(classifier_of(network), images_of(3).double(), layers=layer, cams=cam, target=TARGET)
    (trace,) = evidence.traces.values()
    return trace.maps[cam]


def theirs(network: nn.Module, kind: str, layer: str, scale: float = 1.0) -> Tensor:
    """The raw map of pytorch-grad-cam, before it rectifies, resizes and normalises by min and max + 1e-7."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pytorch_grad_cam

    targets = [lambda logits, index=index: scale * logits[index] for index in TARGET.tolist()]
    images = images_of(3).double().requires_grad_()
    with getattr(pytorch_grad_cam, kind)(network, [network.get_submodule(layer)]) as package:
        logits = package.activations_and_grads(images)
        sum(target(row) for target, row in zip(targets, logits, strict=True)).backward()
        seen = package.activations_and_grads
        activations, gradients = (values[0].detach().numpy() for values in (seen.activations, seen.gradients))
        return torch.from_numpy(np.asarray(package.get_cam_image(images, None, targets, activations, gradients, False)))


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(("cam", "kind"), [("grad_cam", "GradCAM"), ("layer_cam", "LayerCAM")])
def test_as_pytorch_grad_cam(network, place, cam, kind):
    layer = network.layers[place]
    torch.testing.assert_close(ours(network, cam, layer), theirs(network, kind, layer), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_grad_cam_pp_as_pytorch_grad_cam_where_its_epsilon_is_small(network, place):
    """It adds 1e-6 to 2 g^2 + S g^3; a score 10^6 times as large leaves that without weight."""
    layer, scale = network.layers[place], 1e6
    scaled = theirs(network, "GradCAMPlusPlus", layer, scale)
    network.head.weight.data *= scale
    network.head.bias.data *= scale
    torch.testing.assert_close(ours(network, "grad_cam_pp", layer), scaled, rtol=1e-5, atol=1e-9)


def test_why_grad_cam_pp_has_no_epsilon():
    """At the gradients that a network really has, those 1e-6 take away most of the weights."""
    network = seeded(Plain).double()
    network.head.weight.data /= 10
    shrunk, exact = theirs(network, "GradCAMPlusPlus", "relus.0"), ours(network, "grad_cam_pp", "relus.0")
    assert (shrunk.amax((1, 2)) < 0.8 * exact.amax((1, 2))).all()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_as_captum(network, place):
    """It has no LayerCAM; its activations and gradients give one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from captum.attr import LayerGradCam, LayerGradientXActivation

    layer = network.layers[place]
    module, images = network.get_submodule(layer), images_of(3).double().requires_grad_()
    grad_cam = LayerGradCam(network, module).attribute(images, target=TARGET, relu_attributions=True)[:, 0]
    torch.testing.assert_close(ours(network, "grad_cam", layer).relu(), grad_cam.detach(), rtol=1e-9, atol=1e-12)
    products = LayerGradientXActivation(network, module).attribute(images, target=TARGET)
    # Behind a ReLU no activation is negative, so a product's sign is its gradient's.
    layer_cam = products.clamp_min(0).sum(1)
    torch.testing.assert_close(ours(network, "layer_cam", layer), layer_cam.detach(), rtol=1e-9, atol=1e-12)
