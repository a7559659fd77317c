"""Feature squeezing: distances by hand, and the paper's steps in NumPy and SciPy."""

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter
from scipy.special import softmax

from gazeshift.detectors.feature_squeezing import FeatureSqueezing
from gazeshift.errors import BoundsError, SettingsError, UnknownNameError
from gazeshift.pipeline import detector_inputs
from gazeshift.records import DetectorInput
from gazeshift.registry import build
from gazeshift.seeds import generator_for
from helpers.evidence import answers
from helpers.networks import Plain, classifier_of, images_of, seeded


def test_by_hand():
    own, one, two = (answers(torch.tensor([row]).log()) for row in ([6.0, 3.0, 1.0], [5.0, 5.0, 0.01], [1.0, 8.0, 1.0]))
    detector = FeatureSqueezing()
    measured = detector.measure(DetectorInput(own=own, views=(one, two)))
    halves = np.array([500, 500, 1]) / 1001
    first = np.abs(np.array([0.6, 0.3, 0.1]) - halves).sum()
    np.testing.assert_allclose(measured.numpy(), [[first, 1.0]], rtol=1e-6)  # |0.6 - 0.1| + |0.3 - 0.8| + 0
    assert detector.score(measured).item() == pytest.approx(1.0)


def test_the_papers_steps():
    classifier, images = classifier_of(seeded(Plain)), images_of(5)

    def answer(changed):
        with torch.no_grad():
            return softmax(classifier(torch.from_numpy(changed).float()).double().numpy(), axis=1)

    plain = images.numpy()
    levels = np.round(plain * 7) / 7
    smooth = median_filter(plain, size=(1, 1, 3, 3), mode="nearest")
    expected = [np.abs(answer(plain) - answer(other)).sum(1) for other in (levels, smooth)]
    detector = FeatureSqueezing(squeezers=("bit_depth:bits=3", "median:size=3"))
    generator = [generator_for(0, str(at)) for at in range(5)]
    measured = detector.measure(detector_inputs(classifier, images, detector, generator=generator))
    np.testing.assert_allclose(measured.numpy(), np.stack(expected, 1), atol=1e-6)
    np.testing.assert_allclose(detector.score(measured).numpy(), np.maximum(*expected), atol=1e-6)


def test_squeezers_as_they_are_written_on_the_command_line():
    spec = "feature_squeezing:squeezers=bit_depth:bits=4+median:size=5"
    assert build("detectors", spec) == FeatureSqueezing(squeezers=("bit_depth:bits=4", "median:size=5"))
    assert FeatureSqueezing(squeezers="median").squeezers == ("median",)


@pytest.mark.parametrize(
    ("squeezers", "error", "message"),
    [
        ((), BoundsError, "at least one squeezer"),
        (("matched_noise",), SettingsError, "'matched_noise': it makes no image of an image alone"),
        (("mask_maps",), UnknownNameError, "no transforms named 'mask_maps'"),
        (("medain",), UnknownNameError, "Did you mean 'median'"),
        (("median:size=2",), BoundsError, "odd size"),
    ],
)
def test_what_cannot_squeeze_is_refused(squeezers, error, message):
    with pytest.raises(error, match=message):
        FeatureSqueezing(squeezers=squeezers)


def test_other_views_are_refused():
    with pytest.raises(SettingsError, match="2 squeezed versions, got 0"):
        FeatureSqueezing().measure(DetectorInput(own=answers(torch.zeros(1, 2))))
