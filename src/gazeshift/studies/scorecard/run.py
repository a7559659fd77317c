"""One run of a scorecard: everything is looked at once, then every detector and every way it could have learned."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from gazeshift.calibrated import CalibratedDetector
from gazeshift.data import replace_file
from gazeshift.detectors import Detector, calibrate, p_values
from gazeshift.errors import DataError, SettingsError
from gazeshift.runs.detector.run import Learned, read_learned
from gazeshift.runs.run import Run, accuracy
from gazeshift.runs.tables import Rows
from gazeshift.studies.scorecard.manifest import DetectorEntry, ScorecardManifest, SetAttackEntry, SetEntry
from gazeshift.studies.scorecard.rows import CLEAN, ScorecardCells
from gazeshift.studies.scorecard.settings import Scorecard

AS_FITTED, BENIGN_ONLY, WITHOUT, ONLY = "as fitted", "clean images only", "without", "only"
ROWS = pa.schema(
    [
        *((name, pa.string()) for name in ("detector", "learned", "from_set", "kind", "condition", "image")),
        *((name, pa.bool_()) for name in ("clean_correct", "success")),
        ("predicted", pa.int32()),
        ("confidence", pa.float32()),
        *((name, pa.float64()) for name in ("suspicion", "p_value")),
        ("is_attack", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Judge:
    """A detector as it is, or as it would be had it learned from less.

    Args:
        name: of the detector on the scorecard.
        learned: ``as fitted``, ``clean images only``, ``without`` an attack or ``only`` from one set.
        of: that attack, or that set; empty otherwise.
        detector: fitted.
        clean: scores of the calibration images.
    """

    name: str
    learned: str
    of: str
    detector: Detector
    clean: Tensor


def run(settings: Scorecard, out: Path, **how: Any) -> Path:
    """Do what is missing of the study, join its tables and write its manifest; `how` as of `Run`."""
    work = Run("scorecard", 1, settings, out, **how)
    study = ScorecardCells(work)
    work.open()
    detectors = [repr(eyes.detector) for eyes in study.eyes]
    noise = None if study.noise is None else study.noise.examples.manifest
    cells = work.cells("clean", detectors=detectors, noise=noise)
    notes = work.do(cells, study.clean, main="seen", what="clean images")
    told = {}
    for name, pairs in study.sets.items():
        made = pairs.examples.manifest
        model = made.get("model")
        more = work.cells("attacked", ids=pairs.ids, first=len(cells), set=name, made=made, detectors=detectors)
        found = work.do(more, partial(study.attacked, name=name), main="seen", what=f"examples of {name}")
        attack = SetAttackEntry.model_validate(made.get("attack") or {})
        told[name] = SetEntry(
            attack=attack,
            family=attack.family,
            model=model and model["name"],
            examples=sum(note.examples for note in found),
            tried=len(pairs),
        )
        cells, notes = [*cells, *more], [*notes, *(note.beside() for note in found)]
    seen = work.table(cells, "seen")
    if seen is None:
        raise DataError(f"none of the images of {work.source.name} can be used.")
    table = pq.read_table(seen)
    _check_fresh(table, study.deployed)
    rows, families = Rows(ROWS), list(dict.fromkeys(entry.family for entry in told.values()))
    for name, folder in study.folders.items():
        mine = table.filter(pa.array(np.array(table["eyes"]) == study.eyes_of[name]))
        for judge in _judges(name, study.deployed[name], read_learned(folder), families):
            _add(rows, judge, mine, study.deployed[name].false_alarms)
    replace_file(work.store.folder / "rows.parquet", partial(pq.write_table, rows.table(), compression="zstd"))
    return work.finish(
        notes,
        ScorecardManifest,
        preflight=accuracy(work.source, notes),
        sets=told,
        detectors={name: _card(name, one) for name, one in study.deployed.items()},
        adaptive=_adaptive(settings.adaptive),
    )


def _judges(name: str, deployed: CalibratedDetector, learned: Learned, families: Sequence[str]) -> Iterator[Judge]:
    """The detector; and if it learned from sets, what it would be without them, without one attack, with one set."""
    yield Judge(name, AS_FITTED, "", deployed.detector, deployed.scores)
    if not learned.attacked:
        return
    taught = {
        one: SetAttackEntry.model_validate(told.get("attack") or {}).family
        for one, told in deployed.facts["sets"].items()
    }
    fit = cache(partial(_refitted, deployed.detector, learned))  # without a set of theirs, families leave out nothing
    with suppress(SettingsError):  # some learn nothing from clean images alone
        yield Judge(name, BENIGN_ONLY, "", *fit(()))
    for family in families:
        others = tuple(one for one in learned.attacked if taught[one] != family)
        if others:
            yield Judge(name, WITHOUT, family, *fit(others))
    for one, values in learned.attacked.items():
        if len(values) > 1:
            yield Judge(name, ONLY, one, *fit((one,)))


def _refitted(detector: Detector, learned: Learned, sets: Sequence[str]) -> tuple[Detector, Tensor]:
    attacked = torch.cat([learned.attacked[name] for name in sets]) if sets else None
    fitted = detector.fit(learned.benign, attacked)
    return fitted, fitted.score(learned.calibration)


def _add(rows: Rows, judge: Judge, seen: pa.Table, rate: float) -> None:
    suspicion = judge.detector.score(torch.tensor(seen["measured"].to_pylist(), dtype=torch.float64))
    kept = ("kind", "condition", "image", "clean_correct", "success", "predicted", "confidence")
    rows.add(
        seen.num_rows,
        detector=judge.name,
        learned=judge.learned,
        from_set=judge.of,
        suspicion=suspicion,
        p_value=p_values(suspicion, judge.clean),
        is_attack=~(suspicion <= calibrate(judge.clean, rate)),
        **{name: seen[name].to_pylist() for name in kept},
    )


def _check_fresh(seen: pa.Table, deployed: Mapping[str, CalibratedDetector]) -> None:
    """Refuse images that a detector knows: its scores of them are lower than of fresh ones."""
    clean = np.array(seen["kind"].to_pylist()) == CLEAN
    prints = set(np.array(seen["print"].to_pylist(), dtype=object)[clean])
    for name, one in deployed.items():
        for what, known in (("fitted", one.fitted_on), ("calibrated", one.calibrated_on)):
            shared = len(prints & set(known))
            if shared:
                raise SettingsError(
                    f"{shared} of these {len(prints)} clean images are among those that detector {name} was {what} on. "
                    "A scorecard needs others."
                )


def _card(name: str, deployed: CalibratedDetector) -> DetectorEntry:
    return DetectorEntry(
        name=name,
        kind=deployed.name,
        learned_from=len(deployed.fitted_on),
        calibrated_on=len(deployed.calibrated_on),
        false_alarms=deployed.false_alarms,
        threshold=deployed.threshold,
        layers=deployed.layers,
        views=tuple(getattr(deployed.detector, "names", ())),
        sets=deployed.facts.get("sets") or {},
    )


def _adaptive(file: Path | None) -> list[Any]:
    if file is None:
        return []
    try:
        return [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as cause:
        raise DataError(f"adaptive results cannot be read from {file} ({cause}).") from cause
