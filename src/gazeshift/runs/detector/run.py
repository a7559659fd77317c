"""Makes a detector: measures clean images (and adversarial ones), learns, calibrates; each cell of images kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from gazeshift.calibrated import CalibratedDetector
from gazeshift.data import replace_file
from gazeshift.detectors import calibrate
from gazeshift.errors import BoundsError, DataError
from gazeshift.registry import build, parse
from gazeshift.runs.detector.rows import FeatureExtractor
from gazeshift.runs.detector.settings import CalibrateSettings, FitSettings, named_folders
from gazeshift.runs.examples import SetSource, open_pairs
from gazeshift.runs.notes import CellNotes
from gazeshift.runs.reopen import Reopened
from gazeshift.runs.run import Run, accuracy
from gazeshift.runs.store import Cell, CellResult
from gazeshift.seeds import generator_for

LEARNED, FIT, CALIBRATION = "measured", "fit", "calibration"


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What a detector was made from: the table ``measured.parquet`` of its folder, read.

    Args:
        benign: measured of the clean images that it learned from.
        calibration: of those that its threshold rests on.
        attacked: of adversarial images, by set.
        prints: fingerprints of both parts of the clean images.
    """

    benign: Tensor
    calibration: Tensor
    attacked: Mapping[str, Tensor]
    prints: Mapping[str, tuple[str, ...]]


def read_learned(folder: Path) -> Learned:
    """What the detector in this folder was made from.

    Raises:
        DataError: the folder does not hold it.
    """
    file = folder / f"{LEARNED}.parquet"
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException) as cause:
        raise DataError(f"{file} cannot be read ({cause}). Fit the detector again.") from cause
    sets, parts = (np.array(table[name].to_pylist(), dtype=object) for name in ("set", "part"))
    values = torch.tensor(table["measured"].to_pylist(), dtype=torch.float64)
    prints = np.array(table["print"].to_pylist(), dtype=object)
    clean = {part: (sets == "") & (parts == part) for part in (FIT, CALIBRATION)}
    return Learned(
        benign=values[torch.from_numpy(clean[FIT])],
        calibration=values[torch.from_numpy(clean[CALIBRATION])],
        attacked={name: values[torch.from_numpy(sets == name)] for name in dict.fromkeys(sets[sets != ""])},
        prints={part: tuple(prints[mask]) for part, mask in clean.items()},
    )


class Measuring(Reopened):
    """What measures images for a detector, opened from the settings.

    Args:
        work: the run.
    """

    def __init__(self, work: Run[FitSettings] | Run[CalibrateSettings]) -> None:
        self.recipe, self.work, settings = (Measuring, (work,)), work, work.settings
        self.sets: dict[Path, SetSource] = {}
        detector: Any
        if isinstance(settings, FitSettings):
            detector = build("detectors", settings.detector)
        else:
            detector = CalibratedDetector.load(settings.detector).detector
        self.eyes = FeatureExtractor(classifier=work.classifier, detector=detector, seed=settings.seed)

    def examples(self, folder: Path) -> SetSource:
        """An adversarial set to learn from, whole."""
        if folder not in self.sets:
            found = open_pairs(folder, self.work.settings.model_copy(update={"limit": None}))
            self.sets[folder] = found.shown_to(self.work.classifier)
        return self.sets[folder]

    def clean(self, cell: Cell) -> CellResult:
        """A cell of clean images."""
        with self.work.reading(cell) as images:
            result = self.eyes.clean(images.batch)
        return images.noted(result)

    def attacked(self, cell: Cell, *, label: str, folder: Path) -> CellResult:
        """A cell of a set."""
        examples = self.examples(folder)
        with self.work.reading(cell, source=examples) as images:
            result = self.eyes.attacked(label, examples, images.batch)
        return images.noted(result)


def fit(settings: FitSettings, out: Path, **how: Any) -> Path:
    """Make a detector in the folder `out`; what an earlier run measured there is kept. `how` as of `Run`.

    Raises:
        BoundsError: too few images for the promised rate.
        GazeshiftError: settings, model, images, sets or folder cannot be used.
    """
    work = Run("detector", 1, settings, out, **how)
    measuring = Measuring(work)
    eyes = measuring.eyes
    _check_parts(len(work.source), settings, eyes.detector, "images")
    work.open()
    layers = tuple(eyes.detector.layers(work.classifier.layers(work.size)))
    cells = work.cells("clean")
    notes = work.do(cells, measuring.clean, what="clean images")
    told: dict[str, object] = {}
    for label, folder in named_folders(settings.set).items():
        more, found, told[label] = _measure_set(work, measuring, label, folder, len(cells))
        cells, notes = [*cells, *more], [*notes, *found]
    _write_learned(work, work.table(cells), settings)
    deployed = _deployed(eyes, work, settings, layers, {"sets": told, "command": work.command})
    work.finish(notes, preflight=accuracy(work.source, notes), sets=told, threshold=deployed.threshold)
    deployed.save(work.store.folder)
    return work.store.folder


def _measure_set(
    work: Run[FitSettings], measuring: Measuring, label: str, folder: Path, first: int
) -> tuple[list[Cell], list[CellNotes], dict[str, object]]:
    """Cells, notes and story of a set; its images are not among those that the manifest counts."""
    examples = measuring.examples(folder)
    manifest = examples.examples.manifest
    cells = work.cells("attacked", ids=examples.ids, first=first, set=label, made=manifest)
    notes = work.do(cells, partial(measuring.attacked, label=label, folder=folder), what=f"examples of {label}")
    told: dict[str, object] = {"attack": manifest.get("attack"), "examples": sum(note.examples for note in notes)}
    if not told["examples"]:
        raise DataError(
            f"no example of {folder} fools {work.classifier.name} as an 8-bit image, so that there is nothing to learn "
            "from it. Leave it out, or make one with a larger epsilon."
        )
    return cells, [note.beside() for note in notes], told


def recalibrate(settings: CalibrateSettings, out: Path, **how: Any) -> Path:
    """The same detector in another folder, its promise made anew on other clean images; `how` as of `Run`.

    Raises:
        SettingsError: it learned from some of them, or it belongs to another model.
        GazeshiftError: settings, model, images or folder cannot be used.
    """
    deployed, before = CalibratedDetector.load(settings.detector), read_learned(settings.detector)
    work = Run("calibration", 1, settings, out, **how)
    deployed.check(work.classifier)
    rate = deployed.false_alarms if settings.false_alarms is None else settings.false_alarms
    _check_enough(len(work.source), rate)
    work.open()
    cells = work.cells("clean", detector=deployed.facts)
    notes = work.do(cells, Measuring(work).clean, what="clean images")
    table = _distinct(pq.read_table(str(work.table(cells))))
    scores = deployed.detector.score(torch.tensor(table["measured"].to_pylist(), dtype=torch.float64))
    made = deployed.calibrated(scores, table["print"].to_pylist(), false_alarms=rate)
    earlier = pq.read_table(settings.detector / f"{LEARNED}.parquet")
    kept = earlier.filter(pc.not_equal(earlier["part"], CALIBRATION))
    fresh = table.append_column("part", pa.array([CALIBRATION] * table.num_rows)).select(kept.column_names)
    _write(work.store.folder, pa.concat_tables([kept, fresh.cast(kept.schema)]))
    work.finish(notes, detector=made.name, threshold=made.threshold, learned_from=len(before.benign))
    made.save(work.store.folder)
    return work.store.folder


def _check_parts(n: int, settings: FitSettings, detector: Any, what: str) -> None:
    """Refuse clean images that are too few for one of their parts: to learn from, or to calibrate on.

    Raises:
        BoundsError: says how many there are of that part, and how many images would do.
    """
    share, name = settings.share, parse(settings.detector)[0]
    to_calibrate, to_learn = _needed(settings.false_alarms), getattr(detector, "min_clean", 0)
    kept = round(n * share)
    if kept >= to_calibrate and n - kept >= to_learn:
        return
    first = int(max(n, to_calibrate / share - 2, to_learn / (1 - share) - 2))
    enough = next(m for m in count(first) if round(m * share) >= to_calibrate and m - round(m * share) >= to_learn)
    if kept < to_calibrate:
        raise BoundsError(
            f"a false-alarm rate of {settings.false_alarms:g} needs at least {to_calibrate} calibration images, and "
            f"{share:g} of the {n} {what} are {kept}. Give at least {enough} clean images, or promise a larger rate: "
            "--false-alarms."
        )
    raise BoundsError(
        f"{name} learns from at least {to_learn} clean images, and of the {n} {what} {kept} are for calibration "
        f"(--share {share:g}), which leaves {n - kept}. Give at least {enough} clean images, or a smaller --share."
    )


def _check_enough(n: int, rate: float) -> None:
    needed = _needed(rate)
    if n < needed:
        raise BoundsError(
            f"a false-alarm rate of {rate:g} needs at least {needed} calibration images, and these are {n}. Give more "
            "clean images, or promise a larger rate: --false-alarms."
        )


def _needed(rate: float) -> int:
    """Calibration images without which no threshold keeps the rate: see `calibrate`."""
    return ceil(1 / rate - 1e-9) - 1


def _distinct(table: pa.Table) -> pa.Table:
    """Without images that are there already under another name, in a set or out of it."""
    seen: set[tuple[str, str]] = set()
    keys = list(zip(table["set"].to_pylist(), table["print"].to_pylist(), strict=True))
    fresh = [key not in seen and not seen.add(key) for key in keys]  # type: ignore[func-returns-value]
    return table.filter(pa.array(fresh, type=pa.bool_()))


def _write_learned(work: Run[FitSettings], joined: Path | None, settings: FitSettings) -> None:
    """``measured.parquet``: the joined rows, each with the part that it plays."""
    if joined is None:
        raise DataError(f"none of the images of {work.source.name} can be used.")
    table = _distinct(pq.read_table(joined))
    clean = np.flatnonzero([name == "" for name in table["set"].to_pylist()])
    order = torch.randperm(len(clean), generator=generator_for(settings.seed, "calibration")).numpy()
    part = np.full(table.num_rows, FIT, dtype=object)
    part[clean[order[: round(len(clean) * settings.share)]]] = CALIBRATION
    _write(work.store.folder, table.append_column("part", pa.array(part.tolist())))


def _write(folder: Path, table: pa.Table) -> None:
    replace_file(folder / f"{LEARNED}.parquet", partial(pq.write_table, table, compression="zstd"))


def _named(settings: FitSettings, images: str) -> dict[str, object]:
    """What leads to the model again, and from what the detector was made."""
    return {"images": images, **{key: getattr(settings, key) for key in ("seed", "model", "weights", "input_size")}}


def _deployed(
    eyes: FeatureExtractor,
    work: Run[FitSettings],
    settings: FitSettings,
    layers: tuple[str, ...],
    facts: dict[str, object],
) -> CalibratedDetector:
    learned = read_learned(work.store.folder)
    different = len(learned.benign) + len(learned.calibration)
    _check_parts(different, settings, eyes.detector, "images that can be read and differ")
    attacked = torch.cat(list(learned.attacked.values())) if learned.attacked else None
    fitted = eyes.detector.fit(learned.benign, attacked)
    scores = fitted.score(learned.calibration)
    calibrate(scores, settings.false_alarms)
    return CalibratedDetector(
        name=parse(settings.detector)[0],
        detector=fitted,
        model=work.classifier.card(),
        layers=layers,
        scores=scores.double(),
        false_alarms=settings.false_alarms,
        fitted_on=learned.prints[FIT],
        calibrated_on=learned.prints[CALIBRATION],
        facts=facts | _named(settings, work.source.name),
    )
