"""Asks a detector about images, and says what it answers."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from scipy.stats import binomtest, ks_2samp

from gazeshift.calibrated import CalibratedDetector, open_guarded
from gazeshift.cli._judge_settings import JudgeSettings
from gazeshift.cli._reasons import draw_reasons
from gazeshift.cli._study import left_out, none_usable
from gazeshift.data import PictureReader, open_source, printable
from gazeshift.models import Classifier
from gazeshift.pipeline import judge, moved_most
from gazeshift.records import Batch, Finite, Skipped, Verdict, VerdictDict
from gazeshift.runs.settings import Progress
from gazeshift.seeds import generator_for
from gazeshift.summaries import finite

MAX_REASONS = 3  # said of each image
DOUBT = 0.01  # chance of so many alarms, or of scores so different, below which a promise no longer fits


@dataclass(frozen=True, kw_only=True)
class DetectionJob:
    """A detector, its model and images to be judged."""

    deployed: CalibratedDetector
    classifier: Classifier
    reader: PictureReader
    seed: int | None
    size: int
    progress: Progress

    @classmethod
    def of(
        cls, images: list[str], asked: JudgeSettings, *, seed: int | None, progress: Progress, limit: int | None = None
    ) -> "DetectionJob":
        """The detector and the images that a command names.

        Raises:
            DataError: there are no such images, or the folder holds no detector.
            SettingsError: the detector is another model's.
        """
        source = open_source(images if len(images) > 1 else images[0], labelled=False)
        source = source if limit is None else source.take(limit, seed or 0)
        deployed, classifier = open_guarded(
            asked.detector, model=asked.model, weights=asked.weights, device=asked.device
        )
        return cls(
            deployed=deployed,
            classifier=classifier,
            reader=PictureReader(source, classifier.preprocessing, asked.pixels),
            seed=seed,
            size=asked.batch_size,
            progress=progress,
        )

    def verdicts(self) -> Iterator[tuple[Batch, Verdict | None]]:
        """Batch by batch; none of a batch whose images cannot be read."""
        done = 0
        for batch in self.reader.batches(self.size):
            done += len(batch.ids) + len(batch.skipped)
            draws = None if self.seed is None else [generator_for(self.seed, "view", name) for name in batch.ids]
            found = judge(self.classifier, batch.images, self.deployed, generator=draws) if batch.ids else None
            yield batch, found
            self.progress(done, len(self.reader.source), "images")

    @property
    def notes(self) -> list[str]:
        """Sentences on what was left out, and on pixels that were changed; once the images were judged."""
        return [*self.reader.source.notes, *([self.reader.summary] if self.reader.summary else [])]


def describe(folder: Path) -> list[str]:
    """What a detector promises, in a few lines."""
    deployed = CalibratedDetector.load(folder)
    learned, calibrated = len(deployed.fitted_on), len(deployed.calibrated_on)
    sets = deployed.facts.get("sets") or {}
    also = f" and {sum(one['examples'] for one in sets.values())} examples of {', '.join(sets)}" if sets else ""
    return [
        f"{deployed.name} for {deployed.model['name']}: learned from {learned} clean images{also}, "
        f"calibrated on {calibrated} others.",
        f"At most {deployed.false_alarms:.1%} of fresh clean images like these score above {deployed.threshold:.4g}.",
        *left_out(folder, "manifest"),
        str(folder),
    ]


def score_lines(job: DetectionJob, *, as_json: bool, maps: Path | None) -> tuple[list[str], list[str]]:
    """One line for each image, in text or JSON; and notes on all of them.

    Raises:
        DataError: none of the images can be used.
    """
    lines = [_skipped(skip, as_json=as_json) for skip in job.reader.source.skipped]
    skipped = list(job.reader.source.skipped)
    for batch, verdict in job.verdicts():
        skipped += batch.skipped
        lines += [_skipped(skip, as_json=as_json) for skip in batch.skipped]
        if verdict is None:
            continue
        for at, name in enumerate(batch.ids):
            entry, drawn = _entry(job, verdict, at, name), dict[str, str | None]()
            if maps is not None:
                file = maps / f"{len(lines):04d}-{Path(name).stem}.png"
                drawn["maps"] = draw_reasons(job.classifier, verdict, at, MAX_REASONS, file)
            lines.append(json.dumps({**entry, **drawn}) if as_json else _sentence(entry))
    if len(skipped) == len(lines):
        raise none_usable(len(lines), "", skipped)
    return lines, [f"note: {note}" for note in job.notes]


def check_drift(job: DetectionJob, images: str) -> tuple[list[str], bool]:
    """Whether so many alarms, and such scores, are to be expected from the images that the promise rests on.

    Raises:
        DataError: none of the images can be used.
    """
    found: list[tuple[torch.Tensor, torch.Tensor]] = []  # and not the verdicts, which hold every image
    skipped: list[Skipped] = list(job.reader.source.skipped)
    for batch, verdict in job.verdicts():
        skipped += batch.skipped
        found += [(verdict.is_attack, verdict.suspicion)] if verdict else []
    if not found:
        raise none_usable(len(job.reader.source), f" of {images}", skipped)
    alarms, suspicion = (torch.cat(column) for column in zip(*found, strict=True))
    scores = suspicion.cpu().numpy()
    rate, n, count = job.deployed.false_alarms, len(alarms), int(alarms.sum())
    chance = binomtest(count, n, rate, alternative="greater").pvalue
    moved = ks_2samp(scores, np.asarray(job.deployed.scores)).pvalue
    fits = chance >= DOUBT and moved >= DOUBT
    lines = [
        *(f"skipped {printable(skip.id)}: {skip.reason}" for skip in skipped),
        *(f"note: {note}" for note in job.notes),
        f"{count} of {n} clean images are called attacks, {count / n:.1%}; {rate:.1%} is promised "
        f"(chance of so many or more: {chance:.2g}).",
        f"Chance of scores as different from those it was calibrated on: {moved:.2g} (Kolmogorov-Smirnov).",
        "The promise still fits." if fits else _advice(chance < DOUBT),
    ]
    return lines, fits


def _advice(more: bool) -> str:
    what = "More alarms than promised" if more else "The scores are others than at calibration"
    return f"{what}: the promise does not fit these images. Calibrate on some of them: gazeshift detect calibrate."


class MovedLayer(TypedDict):
    """A view and a layer, and their part in the suspicion."""

    view: str
    layer: str
    part: Finite


class ScoredImage(VerdictDict):
    """What is said of one image: the keys of HTTP's answer, and the old names of two for one minor version."""

    file: str
    resized_from: list[int] | None
    sha256: str | None
    prediction: str
    resized: str | None
    most_moved: list[MovedLayer]


def _entry(job: DetectionJob, verdict: Verdict, at: int, name: str) -> ScoredImage:
    found = verdict.as_dict(at)
    return {
        "file": name,
        **found,
        "resized_from": job.reader.resized_from(name),
        "sha256": job.reader.sha256(name),
        "prediction": found["name"],
        "resized": job.reader.resized(name),
        "most_moved": [
            {"view": view, "layer": layer, "part": finite(part)}
            for part, view, layer in moved_most(verdict, at)[:MAX_REASONS]
        ],
    }


def _skipped(skip: Skipped, *, as_json: bool) -> str:
    if as_json:
        return json.dumps({"file": skip.id, "error": skip.reason})
    return f"skipped {printable(skip.id)}: {skip.reason}"


def _sentence(entry: ScoredImage) -> str:
    word = "ATTACK" if entry["is_attack"] else "clean"
    why = ", ".join(f"{one['layer']} under {one['view']}" for one in entry["most_moved"])
    confidence, suspicion, threshold, p_value = (
        float("nan") if number is None else number
        for number in (entry["confidence"], entry["suspicion"], entry["threshold"], entry["p_value"])
    )
    return (
        f"{printable(entry['file'])}: {word}; {entry['name']} ({confidence:.1%}), suspicion "
        f"{suspicion:.3g} (threshold {threshold:.3g}, p = {p_value:.2g})"
        + (f"; most moved: {why}" if entry["is_attack"] and why else "")
    )
