"""The scorecard of detectors on EfficientNet-Lite, end to end: split, sets, fitting, calibration, evaluation.

Images are GAZESHIFT_DATA/imagenet700, split once by image: 400 to develop and fit on, 150 to calibrate on, 150 to test
on. Everything is made in one folder, and what is there already is kept: a killed run goes on. The sets of the
development images teach the supervised detectors; those of the test images are what all are tested on.
"""

import shlex
from pathlib import Path

from bench._detect_sets import CHEAP, COSTLY, imagenet700, made, split

DETECTORS = {  # name on the scorecard, and its spec
    "stability": "stability",
    "stability_fast": "stability:shifts=2",
    "feature_squeezing": "feature_squeezing",
    "mahalanobis": "mahalanobis",
    "confidence": "confidence",
    "energy": "confidence:by=energy",
    "noisecam_dbscan": "noisecam_dbscan",
    "binary": "binary",
}
LEARNS = {  # from which adversarial sets as well
    "stability": tuple(CHEAP | COSTLY),
    "binary": ("pgd-4", "fgsm-4"),  # few, because each family that is left out is another training
}


def main(out: Path, models: list[str], names: list[str]) -> None:
    """Make whatever is missing, and print the findings and where the report is.

    Args:
        out: folder.
        models: to detect attacks on; the same split and the same settings for every one.
        names: of the detectors; empty for all.
    """
    for model in models or ["efficientnet_lite0"]:
        _measured(out, model, names)


def split_and_sets(out: Path, model: str) -> tuple[dict[str, Path], dict[str, dict[str, Path]]]:
    """Folders of the parts' images, and of the sets of the development and test parts."""
    parts = split(imagenet700(), out / "parts")
    return parts, {part: made(parts, out / "sets" / model, part, model) for part in ("dev", "test")}


def _measured(out: Path, model: str, names: list[str]) -> None:
    parts, sets = split_and_sets(out, model)
    base = ["--model", model, "--device", "cpu"]
    ready = []
    for name in names or DETECTORS:
        fitted, folder = out / model / "fitted" / name, out / model / "detectors" / name
        chosen = {one: folder for one, folder in sets["dev"].items() if one in LEARNS.get(name, ())}
        learned = set_flags(chosen) if chosen else []
        gazeshift(
            "detect", "fit", "--detector", DETECTORS[name], *image_flags(parts["dev"]), *learned, *base, out=fitted
        )
        gazeshift("detect", "calibrate", "--detector", str(fitted), *image_flags(parts["cal"]), *base, out=folder)
        ready.append(f"{name}={folder}")
    scorecard = ["--detector", ",".join(ready), *set_flags(sets["test"]), "--noise-like", "pgd-2"]
    gazeshift("detect", "evaluate", *scorecard, *image_flags(parts["test"]), *base, out=out / model / "scorecard")


def image_flags(part: Path) -> list[str]:
    """Flags that name images and labels."""
    return ["--images", str(part / "images"), "--labels", str(part / "labels.csv")]


def set_flags(folders: dict[str, Path]) -> list[str]:
    """Flags that name sets."""
    return ["--set", ",".join(f"{name}={folder}" for name, folder in folders.items())]


def gazeshift(*arguments: str, out: Path) -> None:
    """Run a command as a user would, in this process."""
    from gazeshift import cli

    print("gazeshift " + shlex.join([*arguments, "--out", str(out)]), flush=True)
    try:
        cli.main([*arguments, "--out", str(out)])
    except SystemExit as ended:
        if ended.code:
            raise
