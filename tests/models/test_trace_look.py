"""look() and compare(): targets, selectors, evidence, and how far the gaze moved."""

import io
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import Tensor

from gazeshift.cams.noise_cam import NoiseCam
from gazeshift.data import open_source
from gazeshift.errors import BoundsError, SettingsError, UnknownNameError
from gazeshift.measures.cosine import Cosine
from gazeshift.models import load
from gazeshift.pipeline import compare, gaze, look
from gazeshift.records import Evidence
from helpers.networks import CLASSES, Plain, Residual, classifier_of, images_of, raw, seeded

NAMES = tuple(f"class of {index}" for index in range(CLASSES))


@pytest.fixture
def classifier():
    return classifier_of(seeded(Residual, seed=3), class_names=NAMES)


def test_the_predicted_class_is_explained_unless_a_reference_is_given(classifier):
    images, target = images_of(4), torch.tensor([0, 1, 2, 5])
    predicted, reference = look(classifier, images), look(classifier, images, target=target)
    assert (predicted.target, reference.target) == ("predicted", "reference")
    assert predicted.explained.equal(classifier(images).argmax(1))
    assert reference.explained.equal(target)
    assert predicted.predicted.equal(reference.predicted)
    for evidence in (predicted, reference):
        seen = raw(classifier, images, "blocks.1", classes=evidence.explained)["blocks.1"]
        wanted = (seen[1].mean((2, 3), keepdim=True) * seen[0]).sum(1)
        torch.testing.assert_close(evidence.maps("blocks.1"), wanted)
    assert not torch.allclose(predicted.maps("blocks.1"), reference.maps("blocks.1"))


def test_each_image_has_its_own_target(classifier):
    images = images_of(1).expand(CLASSES, -1, -1, -1)
    evidence = look(classifier, images, target=torch.arange(CLASSES))
    for index in range(CLASSES):
        alone = look(classifier, images[:1], target=torch.tensor([index]))
        torch.testing.assert_close(evidence.maps("blocks.0")[index], alone.maps("blocks.0")[0])


def test_evidence_says_what_was_done(classifier):
    images = images_of(3)
    evidence = look(classifier, images, cams="grad_cam,layer_cam", score="prob")
    assert (evidence.score, evidence.model, evidence.class_names) == ("prob", "tested", NAMES)
    assert evidence.layers == ("stem", "blocks.0", "blocks.1")
    assert evidence.cams == ("grad_cam", "layer_cam")
    assert torch.equal(evidence.images, images)
    assert torch.equal(evidence.logits, classifier(images))
    for layer, (channels, height, width) in zip(evidence.layers, [(8, 8, 8)] * 3, strict=True):
        assert evidence.traces[layer].layer.shape == (channels, height, width)
        assert tuple(evidence.maps(layer, "layer_cam").shape) == (3, height, width)
        assert evidence.maps(layer) is evidence.traces[layer].maps["grad_cam"]
        assert evidence.traces[layer].poles.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("trunk", ["stem", "blocks.0", "blocks.1"]),
        ("blocks", ["blocks.0", "blocks.1"]),
        ("convs", ["stem", "blocks.0.relu", "blocks.0.bn2", "blocks.1.relu", "blocks.1.bn2"]),
        ("blocks.1, stem", ["stem", "blocks.1"]),
        (["blocks.1", "stem", "stem.0"], ["stem", "blocks.1"]),
        ("blocks.?", ["blocks.0", "blocks.1"]),
        ("*.bn2", ["blocks.0.bn2", "blocks.1.bn2"]),
        ("blocks.0.conv1", ["blocks.0.relu"]),
        ("blocks.0.relu#1", ["blocks.0.relu"]),
        ("blocks.0.relu#2", ["blocks.0"]),
    ],
)
def test_selectors(classifier, asked, wanted):
    assert list(look(classifier, images_of(1), layers=asked).layers) == wanted


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": "block.1"}, "tested has no layer 'block.1'. Did you mean 'blocks.1'"),
        ({"layers": ["stem", "trunc"]}, "no layer 'trunc'. Did you mean 'trunk'"),
        ({"layers": "x*"}, r"no layer 'x\*'. Known"),
        ({"cams": "gradcam"}, "no cams named 'gradcam'. Did you mean 'grad_cam'"),
        ({"cams": ["grad_cam", "noise_kam"]}, "Did you mean 'noise_cam'"),
    ],
)
def test_a_name_that_is_none_names_the_nearest(classifier, settings, message):
    with pytest.raises(UnknownNameError, match=message):
        look(classifier, images_of(1), **settings)


def test_what_is_asked_must_make_sense(classifier):
    with pytest.raises(SettingsError, match="score must be one of logit, prob, got 'probability'"):
        look(classifier, images_of(1), score="probability")
    with pytest.raises(ValueError, match="at least one name"):
        look(classifier, images_of(1), cams=())
    with pytest.raises(BoundsError, match=r"\[0, 1\], got \[0, 255\]"):
        look(classifier, torch.tensor([0.0, 255.0])[None, None, None].expand(1, 3, 2, 2))
    with pytest.raises(BoundsError, match="whole numbers"):
        look(classifier, images_of(2), target=torch.tensor([1]))


def test_a_cam_may_be_given_with_its_settings(classifier):
    cams = {"theirs": NoiseCam(alpha_norm="all"), "ours": NoiseCam()}
    evidence = look(classifier, images_of(2), cams=cams)
    written = look(classifier, images_of(2), cams=["noise_cam:alpha_norm=all", "noise_cam"])
    assert evidence.cams == ("theirs", "ours")
    for layer in evidence.layers:
        assert torch.equal(evidence.maps(layer, "theirs"), written.maps(layer, "noise_cam:alpha_norm=all"))
        assert torch.equal(evidence.maps(layer, "ours"), written.maps(layer, "noise_cam"))


def test_layers_depend_on_the_size_of_the_images(classifier):
    evidence = look(classifier, images_of(1, 24))
    assert tuple(evidence.maps("blocks.1").shape) == (1, 12, 12)
    assert tuple(look(classifier, images_of(1, 16)).maps("blocks.1").shape) == (1, 8, 8)


def test_the_same_evidence_twice_has_not_moved(classifier):
    cams = ("grad_cam", "grad_cam_pp", "layer_cam", "noise_cam")
    evidence = look(classifier, images_of(4), layers="*", cams=cams)
    moved = compare(evidence, look(classifier, images_of(4), layers="*", cams=cams))
    assert list(moved.values) == [(layer, cam) for layer in evidence.layers for cam in cams]
    for found in moved.values.values():
        assert (found["cosine"] == 1).all()
        assert (found["nissim"] == 0).all()
    assert not moved.switched.any()
    assert all(set(code.tolist()) <= {0, 3} for code in moved.blank.values())


def test_what_was_not_drawn_or_compared_is_named(classifier):
    evidence = look(classifier, images_of(2), cams=("grad_cam", "layer_cam"))
    one = compare(evidence, evidence, measures="cosine", cams="layer_cam")
    assert {cam for _, cam in one.values} == {"layer_cam"}
    with pytest.raises(UnknownNameError, match=r"no CAM 'grad_cm' among what was looked at. Did you mean 'grad_cam'"):
        compare(evidence, evidence, cams="grad_cm")
    with pytest.raises(UnknownNameError, match=r"no layer 'block.1' among what was looked at. Did you mean 'blocks.1'"):
        evidence.maps("block.1")
    with pytest.raises(UnknownNameError, match=r"no CAM 'grad_cam' .* Known: layer_cam"):
        one.table()
    with pytest.raises(UnknownNameError, match=r"no measure 'ssim' .* Known: cosine"):
        one.table("ssim", "layer_cam")


def test_other_images_have_moved_and_may_have_switched(classifier):
    images = images_of(8, seed=2)
    moved = compare(look(classifier, images), look(classifier, images.flip(0)))
    classes = classifier(images).argmax(1)
    assert moved.switched.tolist() == (classes != classes.flip(0)).tolist()
    assert moved.switched.any()
    assert moved.table().shape == (3, 8)
    assert (moved.table() < 1).any()
    assert (moved.table("nissim") > 0).any()


def made_of(maps: Tensor, **changes) -> Evidence:
    """Evidence whose only layer has the given maps."""
    evidence = look(classifier_of(seeded(Plain)), images_of(len(maps)), layers="relus.2")
    (trace,) = evidence.traces.values()
    return replace(evidence, traces={"only": replace(trace, maps={"grad_cam": maps})}, **changes)


def test_channel_means_are_those_of_the_layers_own_tensors():
    classifier, images = classifier_of(seeded(Plain)), images_of(3)
    found = look(classifier, images, layers="relus.2", cams={}).traces["relus.2"]
    kept = []
    handle = classifier.module.relus[2].register_forward_hook(lambda *seen: kept.append(seen[2]))
    images.requires_grad_()
    logits = classifier(images)
    handle.remove()
    (gradient,) = torch.autograd.grad(logits.amax(1).sum(), kept)
    torch.testing.assert_close(found.activation, kept[0].detach().mean((2, 3)))
    torch.testing.assert_close(found.gradient, gradient.mean((2, 3)))
    assert found.maps == {}


def test_blank_and_undefined_maps_are_flagged():
    something, nothing = torch.rand(4, 4) + 0.1, -torch.ones(4, 4)
    undefined = something.masked_fill(torch.eye(4).bool(), torch.nan)
    clean = made_of(torch.stack([something, nothing, something, nothing, undefined, something]))
    changed = made_of(torch.stack([something, something, nothing, nothing, something, undefined]))
    moved = compare(clean, changed)
    assert moved.blank["only", "grad_cam"][:4].tolist() == [0, 1, 2, 3]
    found = moved.values["only", "grad_cam"]
    assert found["cosine"][:4].tolist() == [1, 0, 0, 1]
    assert found["cosine"][4:].isnan().all()
    assert found["nissim"][4:].isnan().all()


def test_maps_are_rectified_and_enlarged_before_they_are_compared():
    maps = torch.tensor([[[-4.0, 0.0], [1.0, 2.0]]])
    enlarged = gaze(maps, (4, 4))
    assert enlarged[0, 0].tolist() == [0, 0, 0, 0]
    assert enlarged[0, :, 0].tolist() == [0, 0.25, 0.75, 1]  # corners not aligned
    assert enlarged.amax() == 2
    moved = compare(made_of(maps), made_of(maps.clamp_min(0)))
    assert moved.values["only", "grad_cam"]["cosine"].tolist() == [1]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_an_undefined_map_stays_so_when_it_is_made_smaller(value):
    """Resizing by 4 reads two pixels out of four, and not this one."""
    maps = torch.ones(2, 16, 16)
    maps[0, 0, 0] = value
    smaller = gaze(maps, (4, 4))
    assert smaller[0].isnan().all()
    assert torch.equal(smaller[1], torch.ones(4, 4))
    assert Cosine().enlarged(maps, maps, (4, 4)).isnan().tolist() == [True, False]
    found = compare(made_of(maps), made_of(maps)).values["only", "grad_cam"]
    assert all(numbers.isnan().tolist() == [True, False] for numbers in found.values())


def test_what_cannot_be_compared_is_refused(classifier):
    clean = look(classifier, images_of(2), cams=["grad_cam", "layer_cam"])
    for other in (
        look(classifier, images_of(3), cams=["grad_cam", "layer_cam"]),
        look(classifier, images_of(2), cams=["grad_cam", "layer_cam"], layers="stem"),
        look(classifier, images_of(2), cams="grad_cam"),
        look(classifier, images_of(2, 24), cams=["grad_cam", "layer_cam"]),
    ):
        with pytest.raises(SettingsError, match="the same images, layers and CAMs twice"):
            compare(clean, other)
    with pytest.raises(UnknownNameError, match=r"Did you mean 'cosine'"):
        compare(clean, clean, measures="cosin")


def test_only_some_cams_may_be_compared(classifier):
    evidence = look(classifier, images_of(2), cams=["grad_cam", "layer_cam"])
    moved = compare(evidence, evidence, cams=["layer_cam"], measures="cosine")
    assert {cam for _, cam in moved.values} == {"layer_cam"}
    assert {name for found in moved.values.values() for name in found} == {"cosine"}


@pytest.mark.parametrize("count", [1, 3, 20])
def test_evidence_shows_itself_as_a_picture(classifier, count):
    evidence = look(classifier, images_of(count), layers="*")
    with Image.open(io.BytesIO(evidence._repr_png_())) as picture:
        picture.load()
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        assert picture.width >= 8 * 160
        assert 8 * 250 > picture.height >= 160 * min(count, 8)  # eight rows at most
        assert len(set(picture.get_flattened_data())) > 100


def test_undefined_maps_and_no_images_show_too(classifier):
    for evidence in (look(classifier, images_of(2), cams="cam"), look(classifier, images_of(1)[:0])):
        with Image.open(io.BytesIO(evidence._repr_png_())) as picture:
            picture.load()


def test_a_real_image_and_a_real_network(data_folder):
    """CAM is defined at the last layer only, and there Grad-CAM is its 49th part."""
    classifier = load("efficientnet_lite0", device="cpu")
    batch = open_source(str(data_folder / "imagenet700")).read(0, 6, classifier.preprocessing)
    evidence = look(classifier, batch.images, layers=["blocks.2.1", "blocks.6.0", "bn2"], cams=["grad_cam", "cam"])
    assert (evidence.predicted == batch.labels).float().mean() >= 0.5
    assert evidence.maps("bn2", "cam").isfinite().all()
    assert evidence.maps("blocks.6.0", "cam").isnan().all()
    torch.testing.assert_close(evidence.maps("bn2"), evidence.maps("bn2", "cam") / 49, rtol=1e-4, atol=1e-4)
    with Image.open(io.BytesIO(evidence._repr_png_())) as picture:
        picture.load()
