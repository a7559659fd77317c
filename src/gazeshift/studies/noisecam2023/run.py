"""One run of the noisecam2023 study: examples and their maps, verdicts, and the deviation of one layer."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from gazeshift.detectors.behaviour_deviation import BehaviourDeviation
from gazeshift.detectors.noisecam_dbscan import NoisecamDbscan
from gazeshift.manifest import UndefinedMaps
from gazeshift.models import select
from gazeshift.records import Layer
from gazeshift.registry import build
from gazeshift.runs.deviation_rows import DeviationInputs, layer_entry
from gazeshift.runs.notes import CellNotes
from gazeshift.runs.open import open_attack
from gazeshift.runs.reopen import Reopened
from gazeshift.runs.run import Run, accuracy
from gazeshift.runs.store import Cell, CellResult
from gazeshift.studies.noisecam2023.examples import NoisecamPlan
from gazeshift.studies.noisecam2023.manifest import NoisecamManifest
from gazeshift.studies.noisecam2023.rows import behaviour_cell, combination, seeds_cell
from gazeshift.studies.noisecam2023.settings import Noisecam2023
from gazeshift.studies.noisecam2023.verdicts import parts, write_verdicts
from gazeshift.transforms.strength import Strengths

CAM = "grad_cam"
TABLES = ("rows", "images", "seeds", "measured", "pictures")


def run(settings: Noisecam2023, out: Path, **how: Any) -> Path:
    """Do what is missing of the study, join its tables and write its manifest; `how` as of `Run`."""
    work = Run("noisecam2023", 2, settings, out, **how)
    study = NoisecamCells(work)
    work.open()
    plan = study.plan
    (probe,) = study.named(study.detector.layers(study.known))
    cells = work.cells("seeds")
    notes = work.do(cells, study.seeds, what="seeds")
    for table in TABLES:
        work.table(cells, table)
    part_of = parts(work.source.ids, settings.calibration, settings.seed)
    write_verdicts(work.store.folder, plan.all, part_of, plan.opened.shown_strength)
    ids = _tested(work.store.folder, part_of, settings.behaviour_images)
    seen = _deviate(work, study, ids, len(cells))
    return work.finish(
        [*notes, *seen],
        NoisecamManifest,
        preflight=accuracy(work.source, notes),
        layers=[layer_entry(layer) for layer in plan.opened.layers],
        attacks=[{"name": settings.attack, "settings": vars(study.made)}],
        examples=sum(note.examples for note in notes),
        parts={name: sum(part == name for part in part_of.values()) for name in ("calibration", "test")},
        noise_layers=plan.places,
        main=combination(plan.main),
        detectors={"noisecam_dbscan": vars(plan.main), "behaviour_deviation": vars(study.detector)},
        probe=probe,
        behaviour_examples=len(ids),
        undefined=UndefinedMaps.merged(entry for note in notes for entry in note.undefined),
        poles=sum(note.poles for note in notes),
    )


class NoisecamCells(Reopened):
    """What the cells need, opened from the settings.

    Args:
        work: the run.
    """

    def __init__(self, work: Run[Noisecam2023]) -> None:
        self.recipe, self.work = (NoisecamCells, (work,)), work
        self.made, self.detector = open_attack(work.settings.attack, None), _behaviour(work.settings)

    @cached_property
    def known(self) -> tuple[Layer, ...]:
        """All the model's layers."""
        return self.work.classifier.layers(self.work.size)

    def named(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Names of the layers that a selection means."""
        return tuple(layer.name for layer in select(self.known, wanted, self.work.classifier.name))

    @cached_property
    def plan(self) -> NoisecamPlan:
        """Model, layers and strengths."""
        work, settings = self.work, self.work.settings
        convs = [layer.name for layer in self.known if "conv" in layer.kinds]
        (place,) = self.named(NoisecamDbscan(layer=settings.noise_layer).layers(self.known))
        places = self.named(settings.noise_layers or convs[1:5] or convs)
        opened = DeviationInputs(
            settings,
            work.classifier,
            {settings.attack: self.made},
            {CAM: build("cams", CAM)},
            Strengths(values=settings.strengths),
            select(self.known, settings.layers, work.classifier.name),
        )
        return NoisecamPlan(
            settings=settings,
            opened=opened,
            spec=settings.attack,
            made=self.made,
            source=work.source,
            places=tuple(dict.fromkeys((*places, place))),
            place=place,
        )

    def seeds(self, cell: Cell) -> CellResult:
        """Examples, their maps, and what the clusters measure."""
        plan, first = self.plan, cell.number * self.work.settings.batch_size
        with self.work.reading(cell) as images:
            result = seeds_cell(plan, first, images.batch)
        return images.noted(result)

    def behaviour(self, cell: Cell) -> CellResult:
        """The deviation of one layer under noise."""
        plan = self.plan
        with self.work.reading(cell) as images:
            result = behaviour_cell(plan, self.detector, images.batch)
        return images.noted(result)


def _behaviour(settings: Noisecam2023) -> BehaviourDeviation:
    return BehaviourDeviation(
        layer=settings.probe,
        cleaning=settings.cleaning,
        noise_images=settings.noise_images,
        rule=settings.rule,
        alpha=settings.alpha,
    )


def _tested(folder: Path, part_of: dict[str, str], most: int | None) -> tuple[str, ...]:
    """The first test images whose class the attack changed, in the order of the source."""
    seeds = pq.read_table(folder / "seeds.parquet", columns=["image"], filters=pc.field("switched"))
    found = [image for image in seeds["image"].to_pylist() if part_of[image] == "test"]
    return tuple(found[:most])


def _deviate(work: Run[Noisecam2023], study: NoisecamCells, ids: Sequence[str], first: int) -> list[CellNotes]:
    """The deviation's cells and table; notes that count no image twice."""
    cells = work.cells("behaviour", ids=ids, size=min(4, work.settings.batch_size), first=first)
    notes = work.do(cells, study.behaviour, main="behaviour", what="test examples under noise")
    work.table(cells, "behaviour")
    return [note.beside() for note in notes]
