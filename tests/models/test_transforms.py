"""For every tag of timm and torchvision, the tensor of a file is that of the library's own evaluation transform."""

import io
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.models import PretrainedCfg, get_pretrained_cfg

from gazeshift.data import read_image
from gazeshift.models.timm import _preprocessing as from_timm
from gazeshift.models.torchvision import _preprocessing as from_torchvision

SIZES = [(480, 240), (97, 133), (33, 200), (9, 8)]  # width and height; the last is smaller than any crop
CLOSE = 3e-6  # normalised values reach 5 (256 for VGG's raw ones); the libraries round their divisions otherwise


@cache
def timms():
    """What each tag of timm says of its images, from its config alone."""
    names = timm.list_pretrained()
    return {name: resolve_data_config({}, pretrained_cfg=get_pretrained_cfg(name).to_dict()) for name in names}


@cache
def torchvisions():
    """The transform of each of torchvision's weights."""
    zoo = torchvision.models
    weights = [one for name in zoo.list_models(module=zoo) for one in zoo.get_model_weights(name)]
    return {str(one): one.transforms() for one in weights}


def distinct(found, shape):
    """The first tag of each shape, for many tags share theirs."""
    return list({repr(shape(one)): name for name, one in reversed(found.items())}.values())


def shape_of(config):
    """What moves pixels; the mean does so too, as the colour of a border."""
    mean = config["mean"] if config["crop_mode"] == "border" else ()
    return [config[key] for key in ("input_size", "crop_pct", "crop_mode", "interpolation")], mean


def way_of(config):
    _, height, width = config["input_size"]
    return config["crop_mode"], height == width, config["crop_pct"] > 1, config["interpolation"]


@cache
def picture(width, height):
    """A file of noise, in which every pixel that is taken from elsewhere shows."""
    stream = io.BytesIO()
    values = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


def difference(preprocessing, transform, size):
    """The largest one between normalised tensors, in steps of rounding."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    ours = (read_image(picture(*size), preprocessing) - mean) / std
    theirs = transform(Image.open(io.BytesIO(picture(*size))))
    assert ours.shape == theirs.shape
    return ((ours - theirs).abs().max() / max(1, theirs.abs().max() / 5)).item()


def of_timm(config):
    return from_timm(PretrainedCfg(**config), SimpleNamespace(in_chans=3))


def test_timm():
    """Each shape on one of the sizes in turn, and each way of cropping on all of them."""
    tags = [(name, SIZES[turn % len(SIZES)]) for turn, name in enumerate(distinct(timms(), shape_of))]
    tags += [(name, size) for name in distinct(timms(), way_of) for size in SIZES]
    far = {}
    for name, size in tags:
        config = timms()[name]
        far[name, size] = difference(of_timm(config), create_transform(**config), size)
    assert {tag: value for tag, value in far.items() if value > CLOSE} == {}
    assert len(far) > 80


def test_torchvision():
    far = {}
    for turn, name in enumerate(distinct(torchvisions(), repr)):
        size, transform = SIZES[turn % len(SIZES)], torchvisions()[name]
        far[name, size] = difference(from_torchvision(transform), transform, size)
    assert {tag: value for tag, value in far.items() if value > CLOSE} == {}
    assert len(far) > 20


def test_mean_and_deviation_of_every_tag():
    for config in timms().values():
        assert (of_timm(config).mean, of_timm(config).std) == (tuple(config["mean"]), tuple(config["std"]))
    for transform in torchvisions().values():
        seen = from_torchvision(transform)
        assert (seen.mean, seen.std) == (tuple(transform.mean), tuple(transform.std))


def test_all_tags_are_asked():
    assert len(timms()) > 1200
    assert {way[0] for way in map(way_of, timms().values())} == {"center", "squash", "border"}
    assert any(not way[1] for way in map(way_of, timms().values()))  # rectangles
    assert any(way[2] for way in map(way_of, timms().values()))  # crops larger than the picture: black around it
    assert len(torchvisions()) > 100


def test_channels_of_another_number_have_the_mean_of_the_means():
    """As timm's own `resolve_input_data_config` decides for a network of one channel with a mean of three."""
    config = {**timms()["resnet18.a1_in1k"], "input_size": (1, 224, 224)}
    seen = from_timm(PretrainedCfg(**config), SimpleNamespace(in_chans=1))
    assert seen.channels == 1
    assert seen.mean == pytest.approx((0.449,), abs=1e-12)  # (0.485 + 0.456 + 0.406) / 3
    assert read_image(picture(97, 133), seen).shape == (1, 224, 224)
