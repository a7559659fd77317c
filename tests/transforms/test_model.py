"""Masks, scaled filters and painted pixels: by hand, the model bit-equal afterwards, also after an exception."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import gazeshift as gs
from gazeshift.errors import BoundsError, LayerError
from gazeshift.model_edits.mask_maps import MaskMaps
from gazeshift.model_edits.patch_maps import PatchMaps
from gazeshift.model_edits.scale_filters import ScaleFilters, convolution_before
from gazeshift.models import select
from gazeshift.transforms.roi_pixels import RoiPixels, enlarged
from helpers.networks import Plain, Residual, classifier_of, hooks_on, images_of, raw, seeded

HOW = ("module", "in-place", "function", "method", "in-place method", "in-place call")


def model(how: str = "module"):
    return classifier_of(seeded(lambda: Plain(how)))


def named(classifier, name: str):
    (layer,) = select(classifier.layers((16, 16)), name, "tested")
    return layer


@pytest.mark.parametrize("how", HOW)
def test_masked_maps_are_zero_and_the_others_as_before(how):
    classifier, images = model(how), images_of()
    layer = select(classifier.layers((16, 16)), "convs", "tested")[0]
    with MaskMaps()(classifier, {layer: [1, 4]}):
        masked = classifier(images)
    plain, convs, norms = classifier.module, classifier.module.convs, classifier.module.norms
    maps = torch.relu(norms[0](convs[0](images)))
    maps[:, [1, 4]] = 0
    maps = torch.nn.functional.max_pool2d(maps, 2)
    for conv, norm in zip(convs[1:], norms[1:], strict=True):
        maps = torch.relu(norm(conv(maps)))
    assert torch.allclose(masked, plain.head(maps.mean((2, 3))), atol=1e-6)
    assert not torch.equal(masked, classifier(images))


@pytest.mark.parametrize("how", HOW)
def test_maps_are_masked_in_every_pass(how):
    classifier, images = model(how), images_of()
    with MaskMaps()(classifier, {select(classifier.layers((16, 16)), "convs", "tested")[0]: [1, 4]}):
        first, second = classifier(images), classifier(images)
    assert torch.equal(first, second)


def test_other_threads_see_the_model_as_it_is():
    classifier, images = model(), images_of()
    before = classifier(images)
    with MaskMaps()(classifier, {named(classifier, "relus.0"): [1, 4]}), ThreadPoolExecutor(1) as other:
        assert torch.equal(other.submit(classifier, images).result(), before)
        assert not torch.equal(classifier(images), before)


@pytest.mark.parametrize("how", HOW)
def test_a_masked_model_has_the_gradients_of_one_that_multiplies_by_zero(how):
    """Looks and attacks go through the mask, however the activation before it is written."""
    classifier, images = model(how), images_of()
    layers = select(classifier.layers((16, 16)), "convs", "tested")
    with MaskMaps()(classifier, {layers[0]: [1, 4], layers[2]: [0]}):
        seen, live = (gs.look(classifier, images, layers="convs", differentiable=graph) for graph in (False, True))
        asked = images.clone().requires_grad_()
        (found,) = torch.autograd.grad(classifier(asked).square().sum(), asked)
    plain, maps, acts = model().module, images.clone().requires_grad_(), []
    begun = maps
    for at, (conv, norm) in enumerate(zip(plain.convs, plain.norms, strict=True)):
        keep = torch.ones(conv.out_channels)
        keep[{0: [1, 4], 2: [0]}.get(at, [])] = 0
        acts.append(torch.relu(norm(conv(maps))) * keep[:, None, None])
        maps = torch.nn.functional.max_pool2d(acts[-1], 2) if at == 0 else acts[-1]
    logits = plain.head(maps.mean((2, 3)))
    (wanted,) = torch.autograd.grad(logits.square().sum(), begun, retain_graph=True)
    assert torch.allclose(found, wanted, atol=1e-6)
    gradients = torch.autograd.grad(logits.amax(1).sum(), acts)
    for evidence in (seen, live):
        for layer, act, gradient in zip(layers, acts, gradients, strict=True):
            trace = evidence.traces[layer.name]
            assert torch.allclose(trace.activation, act.mean((2, 3)), atol=1e-6)
            assert torch.allclose(trace.gradient, gradient.mean((2, 3)), atol=1e-6)


def by_hand(classifier, images, changed):
    """Logits of the network by hand, each layer's maps passed through `changed(place, maps)`; and those maps."""
    plain, maps, acts = classifier.module, images, []
    for at, (conv, norm) in enumerate(zip(plain.convs, plain.norms, strict=True)):
        acts.append(changed(at, torch.relu(norm(conv(maps)))))
        maps = torch.nn.functional.max_pool2d(acts[-1], 2) if at == 0 else acts[-1]
    return plain.head(maps.mean((2, 3))), acts


@pytest.mark.parametrize("how", HOW)
def test_patched_activations_are_those_of_the_other_image(how):
    classifier, images, others = model(how), images_of(), images_of().flip(0)
    layers = select(classifier.layers((16, 16)), "convs", "tested")
    _, donors = by_hand(classifier, others, lambda _, maps: maps)
    mask = torch.rand(len(images), donors[1].shape[1], 1, 1, generator=torch.Generator().manual_seed(0)) < 0.5
    with PatchMaps()(classifier, {layers[1]: (mask, donors[1])}):
        patched = classifier(images)
        asked = images.clone().requires_grad_()
        (found,) = torch.autograd.grad(classifier(asked).square().sum(), asked)
    ours = images.clone().requires_grad_()
    wanted, _ = by_hand(classifier, ours, lambda at, maps: torch.where(mask, donors[1], maps) if at == 1 else maps)
    assert torch.allclose(patched, wanted, atol=1e-6)
    assert torch.allclose(found, torch.autograd.grad(wanted.square().sum(), ours)[0], atol=1e-6)
    assert not torch.allclose(patched, classifier(images), atol=1e-4)


def test_all_activations_of_another_image_give_its_answer():
    classifier, images, others = model(), images_of(), images_of().flip(0)
    everything = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    for layer in select(classifier.layers((16, 16)), "convs", "tested"):
        donors = raw(classifier, others, layer.names[0], classes=None)
        (maps, _) = donors[layer.name]
        with PatchMaps()(classifier, {layer: (everything, maps)}):
            assert torch.allclose(classifier(images), classifier.module(others), atol=1e-6)


def test_a_patch_of_another_size_is_refused():
    classifier, images = model(), images_of()
    layer = named(classifier, "relus.1")
    with (
        pytest.raises(BoundsError, match=r"a patch of relus\.1 must fit its activations .*, got \(1, 3, 1, 1\)"),
        PatchMaps()(classifier, {layer: (torch.ones(1, 3, 1, 1, dtype=torch.bool), torch.zeros(1, 1, 1, 1))}),
    ):
        classifier(images)
    assert hooks_on(classifier) == 0


@pytest.mark.parametrize("change", ["mask", "filters"])
def test_the_model_is_bit_equal_afterwards_even_after_an_exception(change):
    classifier, images = model(), images_of()
    before, weights = classifier(images), {k: v.clone() for k, v in classifier.state_dict().items()}
    layer = named(classifier, "relus.1")
    made = MaskMaps()(classifier, {layer: [0]}) if change == "mask" else ScaleFilters()(classifier, {"convs.1": [0, 3]})

    def broken():
        with made:
            assert not torch.equal(classifier(images), before)
            raise RuntimeError("in between")

    with pytest.raises(RuntimeError, match="in between"):
        broken()
    assert torch.equal(classifier(images), before)
    assert all(torch.equal(value, weights[name]) for name, value in classifier.state_dict().items())
    assert hooks_on(classifier) == 0


def test_a_scaled_filter_goes_through_its_norm():
    """gamma (1.8 z - mean) / std + beta, not 1.8 times what it was."""
    classifier, images = model(), images_of()
    conv, norm = classifier.module.convs[0], classifier.module.norms[0]
    z = conv(images)
    wanted = norm.weight[2] * (1.8 * z[:, 2] - norm.running_mean[2]) / (norm.running_var[2] + norm.eps).sqrt()
    with ScaleFilters(factor=1.8)(classifier, {"convs.0": [2]}):
        found, _ = raw(classifier, images, "norms.0", classes=None)["relus.0"]
    assert torch.allclose(found[:, 2], torch.relu(wanted + norm.bias[2]), atol=1e-5)
    plain, _ = raw(classifier, images, "norms.0", classes=None)["relus.0"]
    assert torch.equal(found[:, [0, 1, 3, 4, 5]], plain[:, [0, 1, 3, 4, 5]])


def test_the_hash_of_the_weights_is_that_of_the_moment():
    """A hash that was remembered inside would call the same model another one for ever after."""
    classifier, fresh = model(), model()
    with ScaleFilters()(classifier, {"convs.1": [2]}):
        scaled = classifier.weights_sha256
    assert scaled != fresh.weights_sha256
    assert classifier.weights_sha256 == fresh.weights_sha256
    with ScaleFilters()(classifier, {"convs.1": [2]}):
        assert classifier.weights_sha256 == scaled


def test_scaling_by_one_changes_no_bit():
    classifier, images = model(), images_of()
    before = classifier(images)
    with ScaleFilters(factor=1)(classifier, {"convs.0": [0, 1], "convs.2": [9]}):
        assert torch.equal(classifier(images), before)


def test_the_convolution_of_a_blocks_output_is_the_last_of_its_branch():
    classifier = classifier_of(seeded(Residual))
    layers = classifier.layers((16, 16))
    assert convolution_before(classifier, named(classifier, "blocks.0"), layers) == "blocks.0.conv2"
    assert convolution_before(classifier, named(classifier, "stem.0"), layers) == "stem.0"
    resnet = gs.load("torchvision:resnet50", weights="random")
    layers = resnet.layers((64, 64))
    for alias, conv in (
        ("activation_1", "conv1"),
        ("activation_41", "layer4.0.conv1"),
        ("activation_42", "layer4.0.conv2"),
        ("activation_43", "layer4.0.conv3"),
        ("activation_35", "layer3.4.conv1"),
    ):
        (layer,) = select(layers, alias, "resnet50")
        assert convolution_before(resnet, layer, layers) == conv


def test_what_is_not_there_is_refused():
    classifier = model()
    with (
        pytest.raises(BoundsError, match=r"count from 0 to 5, got \[6\]"),
        ScaleFilters()(classifier, {"convs.0": [6]}),
    ):
        pass
    with pytest.raises(LayerError, match="has none named 'head'"), ScaleFilters()(classifier, {"head": [0]}):
        pass
    with pytest.raises(BoundsError), MaskMaps()(classifier, {named(classifier, "relus.1"): [8]}):
        pass
    with pytest.raises(BoundsError, match="at least 1 pixel"):
        RoiPixels(count=0)
    with pytest.raises(BoundsError, match="100 pixels cannot be drawn"):
        RoiPixels().region(torch.rand(1, 2, 2), (8, 8))


def generators(count: int = 2):
    return [gs.generator_for(0, str(at)) for at in range(count)]


def test_exactly_so_many_pixels_change_and_the_same_in_both_images():
    brush, maps = RoiPixels(count=100, level=0.5), torch.rand((2, 7, 7), generator=generators(1)[0])
    clean, attacked = images_of(2, 32, 1) * 0.8 + 0.1, images_of(2, 32, 2) * 0.8 + 0.1
    region = brush.region(maps, (32, 32))
    places = brush.positions(region, generator=generators())
    for value in (0, 127 / 255, 200 / 255, 1):
        masks = [(brush(images, places, value) != images).any(1) for images in (clean, attacked)]
        assert masks[0].sum((1, 2)).tolist() == [100, 100]
        assert torch.equal(masks[0], masks[1])
        assert not (masks[0] & ~region).any()
        painted = brush(clean, places, value)
        assert (painted.movedim(1, -1)[masks[0]] == torch.tensor(value)).all()
    outside = brush.positions(~region, generator=generators())
    assert not region.flatten(1).gather(1, outside).any()
    assert all(len(set(row)) == 100 for row in outside.tolist())


def test_a_small_region_gives_way_to_the_highest_pixels():
    maps = torch.zeros(1, 8, 8)
    maps[0, 2, 3] = 1.0
    region = RoiPixels(count=30, level=0.9).region(maps, (32, 32))
    values = enlarged(maps, (32, 32))[0].numpy()
    assert int(region.sum()) == 30
    assert values[region[0]].min() >= np.sort(values.ravel())[-30]


def test_no_maps_have_no_regions():
    brush, none = RoiPixels(count=30), torch.zeros(0, 8, 8)
    region = brush.region(none, (32, 32))
    assert region.shape == (0, 32, 32)
    assert brush.positions(region, generator=[]).shape == (0, 30)
    with pytest.raises(BoundsError, match="30 pixels cannot be drawn from an image of 5 x 5"):
        brush.region(none, (5, 5))


def test_a_map_is_enlarged_between_its_own_extremes():
    maps = torch.tensor([[[-3.0, -1.0], [1.0, 5.0]], [[2.0, 2.0], [2.0, 2.0]]])
    found = enlarged(maps, (2, 2))
    assert torch.allclose(found[0], torch.tensor([[0, 0.25], [0.5, 1.0]]))
    assert not found[1].any()
