"""Detectors for benches, tests and the package, made without the studies' machinery."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from gazeshift.calibrated import CalibratedDetector
from gazeshift.detectors import Detector
from gazeshift.models import Classifier


def deployed(
    classifier: Classifier,
    name: str,
    detector: Detector,
    benign: Float[Tensor, "n f"],
    fresh: Float[Tensor, "m f"],
    *,
    side: int,
    false_alarms: float = 0.05,
    fitted_on: Sequence[str] = (),
    calibrated_on: Sequence[str] = (),
    **facts: Any,
) -> CalibratedDetector:
    """A detector learned from what was measured of clean images, and calibrated on what was measured of others.

    Args:
        classifier: that it guards.
        name: of the detector.
        detector: not yet fitted.
        benign: measured of the images to learn from.
        fresh: measured of those to calibrate on.
        side: of the images, in pixels.
        false_alarms: promised.
        fitted_on: fingerprints of the ones.
        calibrated_on: fingerprints of the others.
        facts: more that its file tells.
    """
    fitted = detector.fit(benign)
    return CalibratedDetector(
        name=name,
        detector=fitted,
        model=classifier.card(),
        layers=tuple(detector.layers(classifier.layers((side, side)))),
        scores=fitted.score(fresh).double(),
        false_alarms=false_alarms,
        fitted_on=tuple(fitted_on),
        calibrated_on=tuple(calibrated_on),
        facts={"weights": None, "input_size": None} | facts,
    )
