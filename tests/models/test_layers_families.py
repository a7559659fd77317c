"""Layers of many families: how many of each kind, where the trunk begins and ends, and that all can be traced."""

import pytest
import torch

from gazeshift import look
from gazeshift.models import load, select

FAMILIES = {  # spec: size, convolutions, blocks, trunk, first and last layer of the trunk
    "efficientnet_lite0": (64, 49, 16, 18, "bn1", "bn2"),
    "torchvision:mobilenet_v2": (64, 52, 17, 19, "features.0", "features.18"),
    "torchvision:mobilenet_v3_small": (64, 34, 11, 13, "features.0", "features.12"),  # SE, hardswish
    "torchvision:efficientnet_b0": (64, 49, 16, 18, "features.0", "features.8"),  # SE, SiLU
    "torchvision:efficientnet_v2_s": (64, 110, 40, 42, "features.0", "features.7"),  # blocks of one convolution
    "torchvision:densenet121": (64, 120, 4, 8, "features.relu0", "features.denseblock4"),
    "torchvision:googlenet": (64, 57, 9, 12, "conv1", "inception5b"),
    "torchvision:regnet_y_400mf": (64, 53, 16, 17, "stem", "trunk_output.block4.block4-5"),
    "torchvision:shufflenet_v2_x1_0": (64, 56, 16, 18, "conv1", "conv5"),
    "torchvision:squeezenet1_1": (64, 26, 8, 10, "features.1", "classifier.2"),
    "torchvision:mnasnet1_0": (64, 52, 16, 20, "layers.2", "layers.16"),
    "torchvision:convnext_tiny": (64, 22, 18, 22, "features.0.0", "features.7.2"),  # GELU, channels last inside
    "timm:resnetv2_50": (64, 53, 16, 17, "stem.conv", "stages.3.blocks.2"),  # norm and activation come first
    "timm:convnext_atto": (64, 40, 12, 16, "stem.0", "stages.3.blocks.1"),
    "timm:regnety_002": (64, 44, 13, 14, "stem", "s4.b7"),
    "timm:seresnet18": (64, 20, 8, 9, "act1", "layer4.1"),
    "timm:hrnet_w18_small": (64, 91, 23, 58, "act1", "final_layer"),  # modules that take and give lists
    "timm:darknet53": (64, 52, 23, 29, "stem", "stages.4.blocks.3"),
    "timm:mobilevit_xxs": (64, 35, 10, 12, "stem", "final_conv"),  # convolutions around attention
    "timm:nfnet_l0": (64, 57, 12, 17, "stem.act2", "final_act"),
    "timm:inception_v4": (160, 149, 17, 22, "features.0", "features.21"),
}


@pytest.mark.parametrize("spec", FAMILIES)
def test_family(spec):
    size, convs, blocks, trunk, first, last = FAMILIES[spec]
    classifier = load(spec, weights="random", device="cpu", input_size=size)
    layers = classifier.layers()
    names = [name for layer in layers for name in layer.names]
    assert len(names) == len(set(names))
    assert [len(select(layers, kind, spec)) for kind in ("convs", "blocks", "trunk")] == [convs, blocks, trunk]
    chosen = select(layers, "trunk", spec)
    assert (chosen[0].name, chosen[-1].name) == (first, last)
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    for wanted in ("trunk", "*"):
        evidence = look(classifier, images, layers=wanted)
        assert [trace.maps["grad_cam"].shape for trace in evidence.traces.values()] == [
            (2, *trace.layer.shape[1:]) for trace in evidence.traces.values()
        ]
    assert evidence.layers == tuple(layer.name for layer in layers)


def test_inception_v3():
    """Mixed modules are Keras's mixed0 to mixed10; ``F.relu`` in place of a module is still the layer's end."""
    classifier = load("torchvision:inception_v3", weights="random", device="cpu")
    layers = classifier.layers()
    assert [len(select(layers, kind, "inception")) for kind in ("convs", "blocks", "trunk")] == [94, 11, 16]
    mixed = [select(layers, f"mixed{at}", "inception")[0] for at in range(11)]
    assert [layer.name for layer in mixed] == [
        f"Mixed_{at}" for at in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")
    ]
    assert [mixed[at].shape for at in (0, 3, 8, 10)] == [(256, 35, 35), (768, 17, 17), (1280, 8, 8), (2048, 8, 8)]
    (stem,) = select(layers, "Conv2d_1a_3x3.conv", "inception")
    assert (stem.name, stem.aliases) == ("Conv2d_1a_3x3", ("Conv2d_1a_3x3.conv", "Conv2d_1a_3x3.bn"))
    evidence = look(classifier, torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)), layers="*")
    assert len(evidence.layers) == 107


def test_xception_has_keras_last_activation():
    """The layer that Chakraborty et al. look at, block14_sepconv2_act."""
    layers = load("timm:xception", weights="random", device="cpu").layers()
    (last,) = select(layers, "block14_sepconv2_act", "xception")
    assert (last.name, last.shape) == ("conv4", (2048, 10, 10))
    assert {"act4", "bn4", "conv4.pointwise"} <= set(last.aliases)
    assert select(layers, "block14_sepconv1_act", "xception")[0].name == "conv3"
    assert [len(select(layers, kind, "xception")) for kind in ("convs", "blocks", "trunk")] == [74, 14, 16]
    assert select(layers, "trunk", "xception")[-1] is last


def test_squeeze_and_excitation_is_left_out():
    """Its convolutions work on one pixel, which is no map."""
    layers = load("timm:seresnet18", weights="random", device="cpu").layers((64, 64))
    assert not any(".se" in name for layer in layers for name in layer.names if "fc" in name)
    assert all(layer.shape[1] * layer.shape[2] > 1 for layer in layers)


def test_pre_activation_layers_are_what_the_next_stage_reads():
    layers = load("timm:resnetv2_50", weights="random", device="cpu").layers((64, 64))
    (end,) = select(layers, "stages.0", "resnetv2_50")
    assert end.name == "stages.0.blocks.2"
    assert end.module == "stages.1.blocks.0.norm1.act"
