"""The adapter to pytorch-ood: what it hands over, against the methods in NumPy, and what it refuses."""

import importlib
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

from gazeshift.detectors.pytorch_ood import PytorchOod
from gazeshift.errors import MissingPackageError, SettingsError, UnknownNameError
from gazeshift.pipeline import detector_inputs, look
from gazeshift.records import DetectorInput
from gazeshift.registry import build
from gazeshift.seeds import generator_for
from helpers.evidence import answers
from helpers.networks import Plain, classifier_of, images_of, seeded


def drawn(n, k, name="features"):
    return torch.randn((n, k), generator=generator_for(0, name), dtype=torch.float64)


def measured(features, classes=0):
    return torch.cat([torch.as_tensor(classes).double().expand(len(features))[:, None], features], 1)


def test_distance_to_the_third_neighbour_among_unit_vectors():
    benign, others = drawn(40, 6), drawn(5, 6, "others")
    one, two = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (benign.numpy(), others.numpy()))
    expected = np.sort(np.linalg.norm(two[:, None] - one, axis=2), axis=1)[:, 2]
    learned = PytorchOod(name="KNN", settings={"k": 3}).fit(measured(benign))
    np.testing.assert_allclose(learned.score(measured(others)).numpy(), expected, rtol=1e-5)


def test_divergence_from_the_nearest_class_mean():
    benign, others = 3 * drawn(60, 4), 3 * drawn(5, 4, "others")
    known, seen = softmax(benign.numpy(), axis=1), softmax(others.numpy(), axis=1)
    typical = [known[known.argmax(1) == one].mean(0) for one in range(4)]
    expected = np.stack([rel_entr(seen, one).sum(1) for one in typical]).min(0)
    learned = PytorchOod(name="KLMatching").fit(measured(benign, benign.argmax(1)))
    np.testing.assert_allclose(learned.score(measured(others)).numpy(), expected, rtol=1e-4)


def test_classes_are_those_predicted_if_wanted():
    benign, others = drawn(60, 3), drawn(5, 3, "others")
    classes = torch.arange(60) % 2 * 900 + 7  # numbers with gaps
    benign[:, 0] += classes / 100
    groups = [benign[classes == one].numpy() for one in (7, 907)]
    centred = np.concatenate([one - one.mean(0) for one in groups])
    inverse = np.linalg.inv(centred.T @ centred)
    apart = [others.numpy() - one.mean(0) for one in groups]
    expected = np.min([((one @ inverse) * one).sum(1) / 2 for one in apart], axis=0)
    learned = PytorchOod(name="Mahalanobis", by_class=True).fit(measured(benign, classes))
    np.testing.assert_allclose(learned.score(measured(others)).numpy(), expected, rtol=1e-3)
    single = PytorchOod(name="Mahalanobis").fit(measured(benign, classes))
    assert not np.allclose(single.score(measured(others)).numpy(), expected, rtol=0.1)


def test_logits_need_no_fit():
    detector = PytorchOod(name="MaxLogit")
    found = detector.measure(DetectorInput(own=answers(torch.tensor([[1.0, 5.0, 2.0]]))))
    assert found.tolist() == [[1, 1, 5, 2]]
    assert detector.score(found).tolist() == [-5]
    assert detector.fit(found) is detector


def test_features_are_the_means_of_the_layers_that_it_names():
    classifier, images = classifier_of(seeded(Plain)), images_of(3)
    detector = PytorchOod(at="convs")
    found = detector.measure(detector_inputs(classifier, images, detector, generator=[]))
    seen = look(classifier, images, layers="convs")
    assert found.shape == (3, 1 + 6 + 8 + 10)
    torch.testing.assert_close(found[:, 1:7].float(), seen.traces[seen.layers[0]].activation)
    known = classifier.layers((16, 16))
    assert PytorchOod().layers(known) == (seen.layers[-1],)
    assert PytorchOod(name="MaxLogit", at="convs").layers(known) == (seen.layers[-1],)


def test_its_fields_are_all_there_is():
    learned = build("detectors", "pytorch_ood:KNN,k=4,normalize=false").fit(measured(drawn(20, 3)))
    assert learned.settings == {"k": 4, "normalize": False}
    again = PytorchOod(**{one.name: getattr(learned, one.name) for one in fields(learned)})
    others = measured(drawn(5, 3, "others"))
    assert torch.equal(again.score(others), learned.score(others))
    assert not torch.equal(replace(again, settings={"k": 1}).score(others), learned.score(others))


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("pytorch_ood:KNM", UnknownNameError, r"Did you mean 'KNN'"),
        ("pytorch_ood:ViM", UnknownNameError, r"no detector named 'ViM' that works on logits or features alone"),
        ("pytorch_ood:OpenMax", UnknownNameError, r"no detector named 'OpenMax'"),
        ("pytorch_ood:TemperatureScaling", UnknownNameError, r"no detector named 'TemperatureScaling'"),
        ("pytorch_ood:KNN,kay=3", SettingsError, r"has no setting 'kay'. Known: k, normalize"),
        ("pytorch_ood:KNN,encoder=3", SettingsError, r"has no setting 'encoder'"),
    ],
)
def test_what_it_does_not_offer_is_refused(spec, error, message):
    with pytest.raises(error, match=message):
        build("detectors", spec)


def test_too_few_clean_images_or_none():
    with pytest.raises(SettingsError, match=r"cannot be fitted to these 10 clean images: k=50 exceeds"):
        PytorchOod().fit(measured(drawn(10, 3)))
    with pytest.raises(SettingsError, match="knows no clean images yet: fit it first"):
        PytorchOod().score(measured(drawn(10, 3)))


def test_without_the_package(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named '{name}'")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingPackageError, match="pip install pytorch-ood"):
        PytorchOod()
