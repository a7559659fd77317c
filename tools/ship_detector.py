"""Make the detector that ships with the package, from clean images alone: learned from 400, calibrated on 150 others.

Run it again when stability's defaults change: ``python tools/ship_detector.py``. It takes some minutes. The images are
those of GAZESHIFT_DATA/imagenet700, split as ``python -m bench detection`` splits them, so that its test part stays
unseen. What is written names no place of the machine it was made on.
"""

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "src" / "gazeshift" / "detectors" / "shipped"
ABOUT = "imagenet700, parts dev (400 images, to learn from) and cal (150, to calibrate on)"
CHUNK = 8


def main() -> None:
    """Measure, fit, calibrate, write."""
    sys.path.insert(0, str(ROOT))
    from bench._detect_sets import imagenet700, split

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--detector", default="stability")
    parser.add_argument("--false-alarms", type=float, default=0.05)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        parts = split(imagenet700(), Path(folder))
        print(ship(parts["dev"], parts["cal"], asked.model, asked.detector, asked.false_alarms))


def ship(dev: Path, cal: Path, model: str, spec: str, false_alarms: float) -> Path:
    """Write the detector of a model; the folder it is in."""
    from bench._fitted import deployed

    from gazeshift.models import load
    from gazeshift.registry import build, parse

    classifier, detector = load(model, device="cpu"), build("detectors", spec)
    (benign, fitted_on), (fresh, calibrated_on) = (
        measured(classifier, detector, part / "images") for part in (dev, cal)
    )
    made = deployed(
        classifier,
        parse(spec)[0],
        detector,
        benign,
        fresh,
        side=classifier.input_size,
        false_alarms=false_alarms,
        fitted_on=fitted_on,
        images=ABOUT,
        sets={},
        seed=0,
        model=model,
        command="python tools/ship_detector.py",
    )
    made.calibrated(made.scores, calibrated_on).save(HOME / model)
    return HOME / model


def measured(classifier, detector, folder: Path):
    """What the detector measures of the images in a folder, as 8-bit files hold them, and their fingerprints."""
    import torch

    from gazeshift.calibrated import fingerprints
    from gazeshift.data import open_source
    from gazeshift.pipeline import detector_inputs
    from gazeshift.seeds import generator_for
    from gazeshift.transforms.bit_depth import BitDepth

    rows, prints, done = [], [], 0
    for batch in open_source(folder).batches(CHUNK, classifier.preprocessing):
        images = BitDepth(bits=8)(batch.images)
        draws = [generator_for(0, "view", name) for name in batch.ids]
        rows.append(detector.measure(detector_inputs(classifier, images, detector, generator=draws)))
        prints += fingerprints(images)
        done += len(images)
        print(f"\r{done} images of {folder.parent.name}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return torch.cat(rows), tuple(prints)


if __name__ == "__main__":
    main()
