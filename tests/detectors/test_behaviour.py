"""Behaviour deviation: a slow version of the paper's five steps, its thresholds by hand, and what needs no noise."""

import numpy as np
import pytest
import torch
import torchvision
from sklearn.decomposition import PCA
from torch import nn

from gazeshift.detectors._null import NullDistribution, threshold
from gazeshift.detectors.behaviour_deviation import BehaviourDeviation
from gazeshift.errors import BoundsError, SettingsError, UnknownNameError
from gazeshift.pipeline import detector_inputs, look
from gazeshift.records import Layer
from gazeshift.seeds import generator_for
from helpers.networks import Plain, classifier_of, images_of, seeded


def generators(n=4):
    return [generator_for(0, "views", str(at)) for at in range(n)]


def enlarged(raw):
    wide = torch.nn.functional.interpolate(raw.double().clamp_min(0)[None, None], (16, 16), mode="bilinear")
    return wide.numpy().ravel()


def plain_steps(classifier, image, generator, *, count, target, layer):
    """The five steps for one image, as the paper has them, with scikit-learn's PCA."""
    cleaned = np.empty((3, 16, 16))
    for colour in range(3):
        found = PCA(0.99, svd_solver="full").fit(image[colour].double().numpy())
        cleaned[colour] = found.inverse_transform(found.transform(image[colour].double().numpy()))
    residual = image.double().numpy() - cleaned
    noisy = []
    for _ in range(count):
        draw = torch.randn((3, 16, 16), generator=generator).double().numpy()
        noisy.append(np.clip(cleaned + residual.mean() + residual.std() * draw, 0, 1))
    batch = torch.from_numpy(np.stack([image.numpy(), np.clip(cleaned, 0, 1), *noisy])).float()
    maps = look(classifier, batch, layers=layer, target=torch.full((len(batch),), target)).maps(layer)
    own, clean, *others = [enlarged(one) for one in maps]
    cosines = [cosine(one, clean) for one in (own, *others)]
    return cosines[0], np.array(cosines[1:])


def cosine(one, two):
    """Two blank maps are alike, and a blank one is unlike any other."""
    if not one.any() or not two.any():
        return float(not one.any() and not two.any())
    return one @ two / np.sqrt((one @ one) * (two @ two))


def test_the_five_steps():
    classifier, images = classifier_of(seeded(Plain)), images_of()
    detector = BehaviourDeviation(noise_images=25)
    found = detector_inputs(classifier, images, detector, generator=generators(), at_once=7)
    reading = detector.read(found)
    (layer,) = found.own.layers
    for at, generator in enumerate(generators()):
        target = int(found.own.predicted[at])
        similarity, null = plain_steps(classifier, images[at], generator, count=25, target=target, layer=layer)
        assert reading.similarity[at] == pytest.approx(similarity, abs=1e-4)
        np.testing.assert_allclose(reading.null[at], null, atol=1e-4)
        decided = similarity < np.quantile(null, 0.05)
        assert bool(detector.decide(found)[at]) == decided
        assert (float(detector.score(detector.measure(found))[at]) > 0) == decided


def test_views_of_another_class_are_explained_for_the_images_own():
    network, images = seeded(Plain), images_of(12, seed=3)
    with torch.no_grad():
        network.head.bias.sub_(network(images).mean(0))
    detector = BehaviourDeviation(noise_images=20, variance=0.2)
    found = detector_inputs(classifier_of(network), images, detector, generator=generators(12))
    assert any(bool((view.predicted != found.own.predicted).any()) for view in found.views)
    assert all(torch.equal(view.explained, found.own.predicted) for view in found.views)


def read(similarity, null, **settings):
    detector = BehaviourDeviation(noise_images=5, alpha=0.2, **settings)
    values = torch.tensor([null], dtype=torch.float64)
    below = threshold(values, detector.rule, alpha=detector.alpha, k=detector.k, level=detector.level)
    return NullDistribution(similarity=torch.tensor([similarity], dtype=torch.float64), null=values, threshold=below)


def test_thresholds_by_hand():
    null = [0.9, 0.8, 1.0, 0.7, 0.6]
    assert read(0.5, null).threshold.item() == pytest.approx(0.68)  # a fifth of the way: 0.6 + 0.8 * 0.1
    assert read(0.5, null, rule="median").threshold.item() == pytest.approx(0.8)
    assert read(0.5, null, rule="mean_minus_k_std").threshold.item() == pytest.approx(0.8 - 2 * np.std(null))
    assert read(0.5, null, rule="absolute", level=0.4).threshold.item() == 0.4
    assert read(0.65, null).p_value.item() == pytest.approx(2 / 6)
    assert read(0.1, null).p_value.item() == pytest.approx(1 / 6)
    assert read(0.7, null).p_value.item() == pytest.approx(3 / 6), "an equal one counts"
    assert read(0.5, null).z.item() == pytest.approx(0.3 / np.std(null))
    assert read(0.67, null).margin.item() > 0 > read(0.69, null).margin.item()


def test_an_image_of_rank_one_has_no_residual_and_is_benign():
    rows = torch.linspace(-1, 1, 16)
    image = (0.5 + 0.2 * rows[None, :, None] * torch.linspace(0.5, 1, 16)[None, None, :]).expand(1, 3, 16, 16)
    detector = BehaviourDeviation(noise_images=20)
    found = detector_inputs(classifier_of(seeded(Plain)), image, detector, generator=generators(1))
    reading = detector.read(found)
    torch.testing.assert_close(reading.similarity, torch.ones(1, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(reading.null, torch.ones(1, 20, dtype=torch.float64), atol=1e-9, rtol=0)
    assert not detector.decide(found).any()
    assert reading.p_value >= 1 / 21


def test_the_probe_of_vgg16_is_the_papers():
    features = torchvision.models.vgg16(weights=None).features
    network = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 4)).eval()
    layers = classifier_of(network).layers((64, 64))
    (name,) = BehaviourDeviation().layers(layers)
    (layer,) = [layer for layer in layers if layer.name == name]
    assert "block5_conv1" in layer.names


def test_the_probe_of_others_is_the_first_convolution_at_the_coarsest_size():
    sizes = [16, 8, 8, 4, 4]
    layers = [Layer(name=f"c{at}", kinds=frozenset({"conv"}), shape=(1, s, s), module="") for at, s in enumerate(sizes)]
    assert BehaviourDeviation().layers(layers) == ("c3",)


def test_views_are_the_cleaned_image_and_noise_of_the_residuals_size():
    images = images_of(size=64)
    clean, *noisy = BehaviourDeviation(noise_images=30).views(images, generator=generators())
    residual = (images - clean).flatten(1)
    spread = torch.stack([(one - clean).flatten(1).std(1) for one in noisy]).mean(0)
    torch.testing.assert_close(spread, residual.std(1), rtol=0.1, atol=1e-4)
    assert all(one.min() >= 0 and one.max() <= 1 for one in noisy)


def test_what_it_refuses():
    with pytest.raises(UnknownNameError, match="no rule 'mean'"):
        BehaviourDeviation(rule="mean")
    with pytest.raises(BoundsError, match=r"with 10 noise images alpha is from 0.0909"):
        BehaviourDeviation(noise_images=10)
    with pytest.raises(SettingsError, match="rule=absolute needs a level"):
        BehaviourDeviation(rule="absolute")
    detector = BehaviourDeviation()
    found = detector_inputs(
        classifier_of(seeded(Plain)), images_of(), BehaviourDeviation(noise_images=20), generator=generators()
    )
    with pytest.raises(SettingsError, match="compares with 51 views, got 21"):
        detector.score(detector.measure(found))
