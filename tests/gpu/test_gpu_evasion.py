"""An attack that knows the detector, and the checks before it, on a CUDA device: detectors score on the CPU."""

import json

import pytest
import torch

from gazeshift.calibrated import CalibratedDetector
from gazeshift.detectors.stability import Stability
from gazeshift.evasion import DefendedModel, evade, evaded
from gazeshift.models import preflight
from gazeshift.pipeline import detector_inputs
from gazeshift.seeds import generator_for
from helpers.networks import Plain, classifier_of, images_of, seeded

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.fixture
def classifier():
    return classifier_of(seeded(Plain)).to("cuda")


@pytest.mark.parametrize("method", ["joint", "orthogonal", "expectation"])
def test_evasion_and_its_verdict_stay_on_the_device(classifier, method):
    images, detector = images_of(24, seed=5), Stability(shifts=1)
    measured = detector.measure(detector_inputs(classifier, images, detector, generator=generator_for(0, "fit")))
    detector = detector.fit(measured)
    deployed = CalibratedDetector(
        name="stability",
        detector=detector,
        model=json.loads(json.dumps(classifier.card())),
        layers=detector.layers(classifier.layers((16, 16))),
        scores=detector.score(measured),
        false_alarms=0.05,
        fitted_on=(),
        calibrated_on=(),
    )
    made = evade(classifier, images[:3], None, deployed, by=f"adaptive:steps=5,method={method}")
    found = evaded(DefendedModel(classifier=classifier, deployed=deployed), made.images, made.labels)
    assert {part.device.type for part in (made.images, found.evaded, found.suspicion)} == {"cuda"}


def test_images_on_the_cpu_pass_the_checks(classifier):
    assert {finding.level for finding in preflight(classifier, images_of(3))} <= {"ok", "note"}
