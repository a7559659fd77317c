"""One run of the noisecam2023 study: examples and their maps, verdicts, and the deviation of one layer."""

from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from gazeshift.manifest import UndefinedMaps
from gazeshift.runs.deviation_rows import layer_entry
from gazeshift.runs.run import Run, accuracy
from gazeshift.runs.store import Cell, CellResult
from gazeshift.studies.noisecam2023.examples import NoisecamPlan
from gazeshift.studies.noisecam2023.manifest import NoisecamManifest
from gazeshift.studies.noisecam2023.rows import behaviour_cell, combination, seeds_cell
from gazeshift.studies.noisecam2023.settings import Noisecam2023
from gazeshift.studies.noisecam2023.verdicts import parts, write_verdicts

TABLES = ("rows", "images", "seeds", "measured", "pictures")


def run(settings: Noisecam2023, out: Path, **how: Any) -> Path:
    """Do what is missing of the study, join its tables and write its manifest; `how` as of `Run`."""
    work = Run("noisecam2023", 2, settings, out, **how)
    plan = NoisecamPlan(work)
    work.open()
    opened = plan.opened
    (probe,) = plan.named(plan.detector.layers(plan.known))
    cells = work.cells("seeds")
    notes = work.do(cells, partial(_seeds, plan), what="seeds")
    for table in TABLES:
        work.table(cells, table)
    part_of = parts(work.source.ids, settings.calibration, settings.seed)
    write_verdicts(work.store.folder, plan.all, part_of, opened.shown_strength)
    ids = _tested(work.store.folder, part_of, settings.behaviour_images)
    more = work.cells("behaviour", ids=ids, size=min(4, settings.batch_size), first=len(cells))
    seen = work.do(more, partial(_behaviour, plan), main="behaviour", what="test examples under noise")
    work.table(more, "behaviour")
    return work.finish(
        [*notes, *(note.beside() for note in seen)],
        NoisecamManifest,
        preflight=accuracy(work.source, notes),
        layers=[layer_entry(layer) for layer in opened.layers],
        attacks=[{"name": settings.attack, "settings": vars(plan.made)}],
        examples=sum(note.examples for note in notes),
        parts={name: sum(part == name for part in part_of.values()) for name in ("calibration", "test")},
        noise_layers=plan.places,
        main=combination(plan.main),
        detectors={"noisecam_dbscan": vars(plan.main), "behaviour_deviation": vars(plan.detector)},
        probe=probe,
        behaviour_examples=len(ids),
        undefined=UndefinedMaps.merged(entry for note in notes for entry in note.undefined),
        poles=sum(note.poles for note in notes),
    )


def _seeds(plan: NoisecamPlan, cell: Cell) -> CellResult:
    """Examples, their maps, and what the clusters measure."""
    with plan.work.reading(cell) as images:
        result = seeds_cell(plan, cell.number * plan.settings.batch_size, images.batch)
    return images.noted(result)


def _behaviour(plan: NoisecamPlan, cell: Cell) -> CellResult:
    """The deviation of one layer under noise."""
    with plan.work.reading(cell) as images:
        result = behaviour_cell(plan, images.batch)
    return images.noted(result)


def _tested(folder: Path, part_of: dict[str, str], most: int | None) -> tuple[str, ...]:
    """The first test images whose class the attack changed, in the order of the source."""
    seeds = pq.read_table(folder / "seeds.parquet", columns=["image"], filters=pc.field("switched"))
    found = [image for image in seeds["image"].to_pylist() if part_of[image] == "test"]
    return tuple(found[:most])
