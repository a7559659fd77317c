"""``gazeshift detect fit|calibrate|score|check|evaluate``."""

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from gazeshift.cli._judge_settings import JudgeSettings
from gazeshift.cli._progress import progress_shown
from gazeshift.cli._study import long_run, write_report
from gazeshift.registry import find, names
from gazeshift.runs.detector.settings import CalibrateSettings, FitSettings
from gazeshift.runs.executors import Scale

EPILOGUE = """Examples:

  gazeshift detect fit --images photos/ --limit 400 --out detector
  gazeshift detect score suspect.png --detector detector
  gazeshift detect check todays-photos/ --detector detector
  gazeshift detect evaluate --detector detector --images others/ --labels others.csv --set sets/pgd --out scorecard"""

app = App(
    name="detect",
    help="Make a detector, promise its rate of false alarms, ask it about images, and test it.",
    help_epilogue=EPILOGUE,
    help_format="plaintext",
    default_parameter=Parameter(negative=""),
)
DRIFTED = 3


@app.command
def fit(
    *,
    settings: Annotated[FitSettings | None, Parameter(name="*", negative="")] = None,
    scale: Annotated[Scale | None, Parameter(name="*")] = None,
    out: Path,
) -> list[str]:
    """Make a detector for a model from clean images, and from adversarial sets if there are any; resumable.

    Clean images alone give a detector that knows no attack. They are split: from some it learns, on the others the
    threshold rests, so that a fresh clean image is called an attack with at most the promised probability.

    Example: gazeshift detect fit --images photos/ --false-alarms 0.05 --out detector

    Args:
        out: folder for the detector; if it holds an unfinished one of the same settings, it goes on.
    """
    from gazeshift.cli._detecting import describe  # torch is not needed for --help
    from gazeshift.runs.detector import run

    settings = settings or FitSettings()
    with long_run(scale, settings.device) as how:
        folder = run.fit(settings, out, **how)
    return describe(folder)


@app.command
def calibrate(
    *,
    settings: Annotated[CalibrateSettings, Parameter(name="*", negative="")],
    scale: Annotated[Scale | None, Parameter(name="*")] = None,
    out: Path,
) -> list[str]:
    """Promise a detector's rate of false alarms anew, on other clean images; resumable.

    Example: gazeshift detect calibrate --detector detector --images todays-photos/ --out detector-2

    Args:
        out: folder for the detector with its new threshold.
    """
    from gazeshift.cli._detecting import describe  # torch is not needed for --help
    from gazeshift.runs.detector import run

    with long_run(scale, settings.device) as how:
        folder = run.recalibrate(settings, out, **how)
    return describe(folder)


@app.command
def score(
    images: Annotated[list[str], Parameter(required=True)],
    /,
    *,
    judge: Annotated[JudgeSettings | None, Parameter(name="*", negative="")] = None,
    json: bool = False,
    maps: Path | None = None,
    seed: int | None = None,
) -> list[str]:
    """Say of each image whether it is adversarial, how sure that is, and which layers and views raised the suspicion.

    Example: gazeshift detect score suspect.png --json

    Args:
        images: files, or a folder of images; here, or at an address (s3://, gs://, https://, hf://).
        json: one JSON object for each image in place of text, with the keys of `POST /v1/judge`. The old names
            `prediction` (now `name`) and `resized` (now `resized_from`) stay for one minor version; the list that was
            called `reasons` is `most_moved`.
        maps: folder for pictures of the layers that moved most: the image's map, the view's, and where they differ.
        seed: repeats the same random views; none draws them anew, which an attacker cannot foresee.
    """
    from gazeshift.cli._detecting import DetectionJob, score_lines  # torch is not needed for --help

    with progress_shown() as progress:
        job = DetectionJob.of(images, judge or JudgeSettings(), seed=seed, progress=progress)
        lines, notes = score_lines(job, as_json=json, maps=maps)
    if not json:
        return [*lines, *notes]
    sys.stderr.writelines(f"{note}\n" for note in notes)  # standard output is one object a line
    return lines


@app.command
def check(
    images: str,
    /,
    *,
    judge: Annotated[JudgeSettings | None, Parameter(name="*", negative="")] = None,
    limit: int | None = None,
    seed: int = 0,
) -> None:
    """Say whether the promised rate of false alarms still fits today's clean images; exit code 3 if it does not.

    Example: gazeshift detect check todays-photos/ --detector detector

    Args:
        images: folder of clean images, here or at an address.
        limit: use this many images, drawn with the seed.
        seed: of the views.
    """
    from gazeshift.cli._detecting import DetectionJob, check_drift  # torch is not needed for --help

    with progress_shown() as progress:
        job = DetectionJob.of([images], judge or JudgeSettings(), seed=seed, progress=progress, limit=limit)
        lines, fits = check_drift(job, images)
    for line in lines:
        print(line)  # noqa: T201
    if not fits:
        sys.exit(DRIFTED)


def _evaluate(scorecard: Any) -> Any:
    def evaluate(
        *,
        settings: Annotated[scorecard, Parameter(name="*", negative="")],
        scale: Annotated[Scale | None, Parameter(name="*")] = None,
        out: Path,
    ) -> list[str]:
        """Write the scorecard of detectors: attacks, benign changes, unseen attacks, intervals; as study scorecard.

        Example: gazeshift detect evaluate --detector detector --images photos/ --labels labels.csv --set sets/pgd
        --out scorecard

        Args:
            out: folder for the tables, the manifest and report.html.
        """
        with long_run(scale, settings.device) as how:
            settings.run(out, **how)
        return write_report(out)

    return evaluate


if "scorecard" in names("studies"):
    app.command(_evaluate(find("studies", "scorecard")))
