"""NoiseCAM's clusters: DBSCAN against scikit-learn, every way to binarise by hand, and what is learned."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays
from skimage.filters import threshold_otsu
from sklearn.cluster import DBSCAN

from gazeshift.detectors._clusters import count_clusters
from gazeshift.detectors._marking import above_otsu, above_share, above_spread
from gazeshift.detectors.noisecam_dbscan import NoisecamDbscan
from gazeshift.errors import BoundsError, SettingsError, UnknownNameError
from gazeshift.pipeline import detector_inputs, look
from gazeshift.records import DetectorInput, Layer
from helpers.evidence import evidence
from helpers.networks import Plain, classifier_of, images_of, seeded

SHAPES = some.tuples(some.integers(1, 14), some.integers(1, 14))


def oracle(marked, min_samples=3):
    points = np.argwhere(marked)
    return len({*DBSCAN(eps=2, min_samples=min_samples).fit_predict(points)} - {-1}) if len(points) else 0


@settings(max_examples=300, deadline=None)
@given(arrays(bool, SHAPES), some.integers(1, 6))
def test_clusters_are_those_of_scikit_learn(marked, min_samples):
    assert count_clusters(marked, min_samples) == oracle(marked, min_samples)


def test_clusters_of_smooth_maps_are_those_of_scikit_learn():
    values = torch.nn.functional.avg_pool2d(torch.rand(1, 1, 66, 66, generator=torch.Generator().manual_seed(0)), 3, 1)
    for share in (0.4, 0.5, 0.6):
        marked = values[0, 0].numpy() > share
        assert count_clusters(marked) == oracle(marked) > 1 or share == 0.4


def spots(count, size=40):
    """A map with `count` triples of pixels, far from each other."""
    found = torch.zeros(1, size, size)
    for at in range(count):
        found[0, 4 + 8 * (at // 4), 4 + 8 * (at % 4) : 7 + 8 * (at % 4)] = 1.0
    return found


def seen(maps, **words):
    return DetectorInput(own=evidence(maps, **words))


def noise(maps, **words):
    return seen({"noise_cam:alpha_norm=positive": maps}, **words)


def score(detector, found):
    return detector.score(detector.measure(found))


def fitted(detector, benign):
    return detector.fit(torch.cat([detector.measure(found) for found in benign]))


def test_three_pixels_are_a_cluster_and_two_are_none():
    for row, clusters in (([1, 1, 1, 0], 1), ([1, 0, 1, 1], 1), ([1, 1, 0, 0], 0), ([0, 0, 0, 0], 0)):
        assert count_clusters(np.array([row], dtype=bool)) == clusters


@pytest.mark.parametrize(("triples", "is_attack"), [(0, False), (3, False), (4, True)])
def test_more_than_three_clusters_are_an_attack(triples, is_attack):
    detector = NoisecamDbscan()
    clusters = score(detector, noise(spots(triples)))
    assert clusters.tolist() == [triples]
    assert detector.judge(clusters.numpy()).tolist() == [is_attack]


def test_a_saturated_map_is_one_cluster_and_a_constant_one_has_no_range():
    full = torch.ones(1, 12, 12)
    assert score(NoisecamDbscan(binarise="positive"), noise(full)).tolist() == [1]
    assert score(NoisecamDbscan(), noise(full)).tolist() == [0]


def test_single_pixels_become_clusters_at_the_images_size():
    found = torch.zeros(1, 20, 20)
    found[0, 5::10, 5::10] = 1.0
    native, wide = (score(NoisecamDbscan(grid=grid), noise(found, size=(40, 40))) for grid in ("native", "input"))
    assert native.tolist() == [0]
    assert wide.tolist() == [4]


def test_the_factor_stands_before_grad_cam_pp_and_not_before_layer_cam():
    pp, own = spots(4), 1.5 * spots(4)
    maps = {"grad_cam_pp:alpha_norm=all": pp, "layer_cam": own}
    logits = torch.tensor([[0.5, 0.1]])
    chance = float(logits.double().softmax(1)[0, 0])
    for factor, wanted in (("logit", np.exp(0.5)), ("prob", np.exp(chance))):
        detector = NoisecamDbscan(alpha_norm="all", factor=factor)
        raw = detector.raw(evidence(maps, logits=logits))
        np.testing.assert_allclose(raw, np.maximum(wanted * pp.numpy() - own.numpy(), 0), atol=1e-7)


def test_without_a_factor_the_map_is_grad_cam_pp_minus_layer_cam():
    classifier, images = classifier_of(seeded(Plain)), images_of()
    for norm in ("none", "positive", "all"):
        names = [f"noise_cam:alpha_norm={norm}", f"grad_cam_pp:alpha_norm={norm}", "layer_cam"]
        (found,) = look(classifier, images, layers="convs.1", cams=names).traces.values()
        direct, pp, own = (found.maps[name].double() for name in names)
        torch.testing.assert_close(direct, pp - own, atol=1e-5 * float(pp.abs().max()), rtol=1e-4)


def constant(gradient):
    """What the CAMs make of constant gradients: a trace through a network that only averages."""
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )
    head = torch.nn.Linear(4, 2)
    head.weight.data.fill_(gradient)
    return classifier_of(torch.nn.Sequential(*network, head).eval())


def test_gradients_below_zero_and_constant_gradients_give_a_blank_map():
    images = images_of()
    for gradient, norms in ((-1.0, ("none", "positive", "all")), (1.0, ("positive",))):
        for norm in norms:
            detector = NoisecamDbscan(alpha_norm=norm)
            found = detector_inputs(constant(gradient), images, detector, generator=torch.Generator())
            assert not detector.raw(found.own).any()
            assert score(detector, found).tolist() == [0] * 4
    literal = NoisecamDbscan(alpha_norm="none")
    found = detector_inputs(constant(1.0), images, literal, generator=torch.Generator())
    assert found.own.maps(*found.own.layers, *literal.cams).any()


def test_otsu_is_that_of_scikit_image():
    values = torch.rand(30, 30, generator=torch.Generator().manual_seed(3)).numpy().astype(np.float64) ** 3
    np.testing.assert_array_equal(above_otsu(values), values > threshold_otsu(values))


def test_shares_and_spreads_by_hand():
    values = np.array([[0.0, 1.0, 2.0, 4.0]])
    assert above_share(values, 0.5).tolist() == [[False, False, False, True]]
    assert above_spread(values, 1.0).tolist() == [[False, False, False, True]]  # mean 1.75, deviation 1.48
    assert above_spread(values, 0.0).tolist() == [[False, False, True, True]]


def test_the_gate_is_learned_from_maxima_and_shuts_out_what_is_below():
    benign = [noise(peak * spots(4)) for peak in np.linspace(0.1, 1.0, 20)]
    detector = fitted(NoisecamDbscan(), benign)
    assert detector.gate == pytest.approx(np.quantile(np.linspace(0.1, 1.0, 20), 0.95))
    assert score(detector, noise(0.9 * spots(5))).tolist() == [0]
    assert score(detector, noise(1.1 * spots(5))).tolist() == [5]
    assert NoisecamDbscan().gate == 0, "fitting makes a new detector"


def test_the_level_is_the_smallest_from_which_on_few_benign_images_alarm():
    benign = [noise(peak * spots(4)) for peak in np.linspace(0.3, 1.0, 20)]
    detector = fitted(NoisecamDbscan(binarise="absolute"), benign)
    assert detector.level == 1.0  # at 0.71, nine of twenty have four clusters above it
    assert score(detector, noise(0.9 * spots(5))).tolist() == [0]
    assert score(detector, noise(1.5 * spots(5))).tolist() == [5]


@pytest.mark.parametrize("binarise", ["gate", "otsu", "mean_plus_k_std", "positive", "absolute"])
def test_a_score_is_what_was_measured(binarise):
    generator = torch.Generator().manual_seed(1)
    maps = torch.nn.functional.avg_pool2d(torch.rand(6, 30, 30, generator=generator), 5, 1) ** 3
    found = noise(maps * torch.logspace(-1, 1, 6)[:, None, None])
    detector = fitted(NoisecamDbscan(binarise=binarise), [found])
    share, clusters = detector.counted(detector.measure(found).numpy())
    assert score(detector, found).tolist() == clusters.tolist()
    assert ((share >= 0) & (share <= 1)).all()
    assert clusters.sum() > 0 or binarise == "absolute"


def test_an_undefined_map_has_no_score():
    maps = spots(4)
    maps[0, 0, 0] = float("nan")
    assert score(NoisecamDbscan(), noise(maps)).isnan().all()
    assert fitted(NoisecamDbscan(), [noise(maps), noise(spots(1))]).gate == 1.0


def test_it_looks_at_the_third_convolution():
    layers = [Layer(name=f"c{at}", kinds=frozenset({"conv"}), shape=(1, 8, 8), module="") for at in range(4)]
    assert NoisecamDbscan().layers(layers) == ("c2",)
    assert NoisecamDbscan().layers(layers[:2]) == ("c1",)
    assert NoisecamDbscan(layer="c0").layers(layers) == ("c0",)


def test_what_it_refuses():
    with pytest.raises(UnknownNameError, match=r"no binarise 'otzu'. Did you mean 'otsu'"):
        NoisecamDbscan(binarise="otzu")
    with pytest.raises(SettingsError, match="alpha_norm must be none, positive or all"):
        NoisecamDbscan(alpha_norm="some")
    with pytest.raises(BoundsError, match="tau from 0 to below 1"):
        NoisecamDbscan(tau=1.0)
    with pytest.raises(SettingsError, match="needs a level above 0: fit it"):
        score(NoisecamDbscan(binarise="absolute"), noise(spots(1)))
