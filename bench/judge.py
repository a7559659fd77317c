"""What judging an image costs, against the forward and backward passes that it must make: one and one a view."""

import json

import torch

from bench._table import show
from bench._timing import clock
from gazeshift.calibrated import CalibratedDetector
from gazeshift.detectors.stability import Stability
from gazeshift.models import Classifier, load
from gazeshift.pipeline import detector_inputs, judge
from gazeshift.seeds import generator_for

BATCH, ROUNDS, MOST = 8, 5, 1.3
SETTINGS = {"default": Stability(), "fast": Stability(shifts=2, others=())}


def main(models: list[str], rounds: int) -> None:
    """Print one table per model: seconds of `judge` and of the bare passes, in turns."""
    for model in models or ["efficientnet_lite0"]:
        classifier = load(model, device="cpu")
        size = classifier.input_size or 224
        images = torch.rand(BATCH, 3, size, size, generator=generator_for(0, "images"))
        rows = []
        for name, detector in SETTINGS.items():
            deployed, passes = _deployed(classifier, detector, images), 1 + len(detector.changes)
            turns = [(_judged(classifier, deployed, images), _bare(classifier, images)) for _ in range(rounds + 1)][1:]
            ratios = sorted(judged / (passes * bare) for judged, bare in turns)
            middle = ratios[len(ratios) // 2]
            rows.append(
                [
                    name,
                    str(passes),
                    f"{middle:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                    "met" if middle <= MOST else "NOT MET",
                ]
            )
        show(
            f"judge() on {model}, {BATCH} images",
            ["stability", "passes", "to so many bare passes", f"at most {MOST}"],
            rows,
        )


def _judged(classifier: Classifier, deployed: CalibratedDetector, images: torch.Tensor) -> float:
    start = clock()
    judge(classifier, images, deployed)
    return clock() - start


def _bare(classifier: Classifier, images: torch.Tensor) -> float:
    start = clock()
    asked = images.clone().requires_grad_()
    torch.autograd.grad(classifier(asked).amax(1).sum(), asked)
    return clock() - start


def _deployed(classifier: Classifier, detector: Stability, images: torch.Tensor) -> CalibratedDetector:
    """Fitted on nothing that matters: only the time is asked for."""
    measured = detector.measure(detector_inputs(classifier, images[:1], detector, generator=generator_for(0, "views")))
    noise = torch.randn(40, measured.shape[1], generator=generator_for(0, "fit"), dtype=torch.float64)
    fitted = detector.fit(measured + noise)
    return CalibratedDetector(
        name="stability",
        detector=fitted,
        model=json.loads(json.dumps(classifier.card(), default=str)),
        layers=detector.layers(classifier.layers((images.shape[2], images.shape[3]))),
        scores=fitted.score(measured + noise),
        false_alarms=0.05,
        fitted_on=(),
        calibrated_on=(),
    )
