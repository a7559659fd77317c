"""Mahalanobis: distances by hand, Ledoit & Wolf's formula in NumPy, SciPy's distance, and pytorch-ood's detector."""

import math
from dataclasses import replace

import numpy as np
import pytest
import pytorch_ood.detector as theirs
import torch
from scipy.spatial.distance import mahalanobis
from sklearn.linear_model import LogisticRegression

from gazeshift.detectors.mahalanobis import Mahalanobis
from gazeshift.errors import BoundsError, SettingsError
from gazeshift.pipeline import detector_inputs, look
from gazeshift.seeds import generator_for
from helpers.networks import Plain, classifier_of, images_of, seeded


def measured(features, *, predicted=None, widths=None):
    """Features as the detector measures them: class, layers, channels of each, then the features."""
    features = torch.as_tensor(features, dtype=torch.float64)
    n, widths = len(features), widths or [features.shape[1]]
    predicted = torch.zeros(n) if predicted is None else torch.as_tensor(predicted)
    head = torch.tensor([len(widths), *widths], dtype=torch.float64).expand(n, -1)
    return torch.cat([predicted.double()[:, None], head, features], 1)


def drawn(n, k, name="features"):
    mixing = torch.randn((k, k), generator=generator_for(0, "mixing"), dtype=torch.float64)
    return torch.randn((n, k), generator=generator_for(0, name), dtype=torch.float64) @ mixing + 1


def shrunk(centred):
    """Ledoit & Wolf 2004, lemmas 3.2 to 3.5, for data whose mean is zero."""
    n, k = centred.shape
    sample = centred.T @ centred / n
    middle = np.trace(sample) / k
    distance = ((sample - middle * np.eye(k)) ** 2).sum() / k
    scatter = sum(((np.outer(row, row) - sample) ** 2).sum() / k for row in centred) / n**2
    share = min(scatter, distance) / distance
    return share * middle * np.eye(k) + (1 - share) * sample


def test_a_distance_by_hand():
    detector = Mahalanobis(
        means=torch.tensor([[1.0, 0.0], [9.0, 9.0]]).double(),
        precisions={"0": torch.tensor([[2.0, 1], [1, 4]]).double()},
    )
    # from (1, 0): (2, 1) -> 2 * 4 + 2 * 2 * 1 + 4 * 1 = 16; from (9, 9): (-6, -8) -> 72 + 96 + 256 = 424
    assert detector.score(measured([[3.0, 1.0]])).item() == 16


def test_one_mean_and_a_shrunk_covariance():
    benign, others = drawn(30, 40), drawn(6, 40, "others")
    centre = benign.numpy().mean(0)
    inverse = np.linalg.inv(shrunk(benign.numpy() - centre))
    expected = [mahalanobis(row, centre, inverse) ** 2 for row in others.numpy()]
    found = Mahalanobis().fit(measured(benign)).distances(measured(others))
    np.testing.assert_allclose(found[:, 0].numpy(), expected, rtol=1e-8)


def test_a_mean_for_each_class_with_enough_images_and_one_for_the_rest():
    benign, others = drawn(41, 3), drawn(6, 3, "others")
    predicted = torch.tensor([7] * 20 + [3] * 17 + [1] * 2 + [0] * 2)
    groups = [benign[:20].numpy(), benign[20:37].numpy(), benign[37:].numpy()]
    inverse = np.linalg.inv(shrunk(np.concatenate([one - one.mean(0) for one in groups])))
    expected = [min(mahalanobis(row, one.mean(0), inverse) ** 2 for one in groups) for row in others.numpy()]
    learned = Mahalanobis(per_class=10).fit(measured(benign, predicted=predicted))
    np.testing.assert_allclose(learned.distances(measured(others))[:, 0].numpy(), expected, rtol=1e-8)


def test_agrees_with_pytorch_ood_where_shrinking_does_little():
    benign, others = drawn(20000, 4), drawn(50, 4, "others")
    predicted = torch.arange(20000) % 3
    benign[:, 0] += 5 * predicted
    other = theirs.Mahalanobis(None).fit_features(benign.float(), predicted)
    expected = 2 * 20000 * other.predict_features(others.float())  # theirs: half, and a sum in place of a covariance
    found = Mahalanobis(per_class=10).fit(measured(benign, predicted=predicted)).distances(measured(others))[:, 0]
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0)


def test_several_layers_add_up_in_clean_images_standard_deviations():
    benign, fresh = drawn(4000, 5), drawn(4000, 5, "fresh")
    benign[:, 2:] *= 1000  # another unit at the second layer changes nothing
    fresh[:, 2:] *= 1000
    learned = Mahalanobis(at="trunk").fit(measured(benign, widths=[2, 3]))
    distances = learned.distances(measured(fresh, widths=[2, 3]))
    np.testing.assert_allclose(distances.mean(0), [2, 3], rtol=0.1)  # chi-squared with as many degrees as channels
    scores = learned.score(measured(fresh, widths=[2, 3]))
    assert abs(scores.mean().item()) < 0.1
    expected = (distances[:, 0] - 2) / math.sqrt(4) + (distances[:, 1] - 3) / math.sqrt(6)
    torch.testing.assert_close(scores, expected, rtol=0.1, atol=0.15)


def test_clean_images_are_not_taken_to_be_nearer_than_fresh_ones():
    benign, fresh = drawn(60, 40), drawn(500, 40, "fresh")
    learned = Mahalanobis().fit(measured(benign))
    inside, outside = (learned.score(measured(one)).mean().item() for one in (benign, fresh))
    assert inside < -0.8  # of the covariance's own images
    assert abs(outside) < 0.4


def test_adversarial_images_weigh_the_layers():
    benign, attacked = torch.randn((300, 5), generator=generator_for(0, "own")).double().split([200, 100])
    attacked[:, 2:] += 3  # seen at the second layer alone
    benign, attacked = (measured(one, widths=[2, 3]) for one in (benign, attacked))
    learned = Mahalanobis(at="trunk").fit(benign, attacked)
    low, high = learned.slopes[:2] * torch.tensor([2.0, math.sqrt(6)]).double()
    assert high > 5 * abs(low)
    held = torch.empty(200, 2).double()
    for fold in range(5):
        without = benign[[at for at in range(200) if at % 5 != fold]]
        held[fold::5] = Mahalanobis(at="trunk").fit(without).distances(benign[fold::5])
    both = (torch.cat([held, learned.distances(attacked)]) - held.mean(0)) / held.std(0)
    oracle = LogisticRegression(class_weight="balanced", max_iter=2000).fit(both, [0] * 200 + [1] * 100)
    np.testing.assert_allclose(learned.score(attacked).numpy(), oracle.decision_function(both)[200:], rtol=1e-6)


def test_measures_the_means_of_the_layers_that_it_names():
    classifier, images = classifier_of(seeded(Plain)), images_of(3)
    found = Mahalanobis(at="convs").measure(detector_inputs(classifier, images, Mahalanobis(at="convs"), generator=[]))
    seen = look(classifier, images, layers="convs", cams=("grad_cam",))
    assert found[:, 0].tolist() == seen.predicted.tolist()
    assert found[0, 1:5].tolist() == [3, 6, 8, 10]
    torch.testing.assert_close(found[:, 5:11].float(), seen.traces[seen.layers[0]].activation)
    known = classifier.layers((16, 16))
    assert Mahalanobis().layers(known) == (seen.layers[-1],)


def test_channels_that_never_speak_do_no_harm():
    learned = Mahalanobis().fit(measured(torch.zeros(12, 3)))
    assert learned.score(measured([[0.0, 0, 0]])).tolist() == [0]


def test_the_order_of_learned_tensors_does_not_matter():
    values = measured(drawn(30, 15), widths=[1] * 15)
    learned = Mahalanobis(at="trunk").fit(values)
    mixed = replace(learned, precisions=dict(sorted(learned.precisions.items())))  # "1", "10", "11", "2"...
    assert torch.equal(mixed.score(values), learned.score(values))


def test_refusals():
    with pytest.raises(BoundsError, match="mahalanobis learns from at least 10 clean images, got 9"):
        Mahalanobis().fit(measured(drawn(9, 2)))
    with pytest.raises(BoundsError, match="adversarial images too, got none"):
        Mahalanobis().fit(measured(drawn(10, 2)), measured(drawn(10, 2))[:0])
    with pytest.raises(SettingsError, match="fit it first"):
        Mahalanobis().score(measured(drawn(2, 2)))
    with pytest.raises(BoundsError, match="per_class"):
        Mahalanobis(per_class=-1)
