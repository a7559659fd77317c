"""One run of the renkhoff2022 study: examples and their maps, then coverage curves."""

from functools import cached_property
from pathlib import Path
from typing import Any

from gazeshift.manifest import UndefinedMaps
from gazeshift.models import select
from gazeshift.registry import build
from gazeshift.runs.deviation_rows import DeviationInputs, layer_entry
from gazeshift.runs.notes import CellNotes
from gazeshift.runs.open import open_attack
from gazeshift.runs.parts import measure_entry, open_measures
from gazeshift.runs.reopen import Reopened
from gazeshift.runs.run import Run, accuracy
from gazeshift.runs.store import Cell, CellResult
from gazeshift.studies.renkhoff2022.coverage import coverage_cell, write_curves
from gazeshift.studies.renkhoff2022.rows import SeedExamples, seeds_cell
from gazeshift.studies.renkhoff2022.settings import Renkhoff2022
from gazeshift.transforms.strength import Strengths

CAM = "grad_cam"
STEP_UNKNOWN = (
    "The released code scales the last step of DLFuzz alone. A set's examples, and those of other attacks, do not tell "
    "their last step: the whole perturbation was scaled."
)


def run(settings: Renkhoff2022, out: Path, **how: Any) -> Path:
    """Do what is missing of the study, join its tables and write its manifest; `how` as of `Run`."""
    work = Run("renkhoff2022", 2, settings, out, **how)
    study = RenkhoffCells(work)
    work.open()
    cells = work.cells("seeds")
    notes = work.do(cells, study.seeds, what="seeds")
    for table in ("rows", "images", "gallery", "seeds"):
        work.table(cells, table)
    covered = _coverage(work, study, len(cells))
    unknown = study.examples.last_step and not study.examples.has_last_step
    return work.finish(
        [*notes, *covered],
        preflight=accuracy(work.source, notes),
        layers=[layer_entry(layer) for layer in study.opened.layers],
        cams=[CAM],
        measures=[measure_entry(name, measure) for name, measure in study.measures.items()],
        attacks=[{"name": settings.attack, "settings": vars(study.made)}],
        arithmetic={"coefficients": study.strengths.coefficients, "bases": study.strengths.bases},
        examples=sum(note.examples for note in notes),
        undefined=UndefinedMaps.merged(entry for note in notes for entry in note.undefined),
        poles=sum(note.poles for note in notes),
        notes=[STEP_UNKNOWN] * unknown,
    )


class RenkhoffCells(Reopened):
    """What the cells need, opened from the settings.

    Args:
        work: the run.
    """

    def __init__(self, work: Run[Renkhoff2022]) -> None:
        self.recipe, self.work, settings = (RenkhoffCells, (work,)), work, work.settings
        self.made = open_attack(settings.attack, None)
        self.measures = open_measures(["cosine" if settings.space == "raw" else f"cosine:space={settings.space}"])
        self.strengths = Strengths(
            values=settings.strengths, arithmetic=settings.arithmetic, eight_bit=settings.eight_bit
        )
        self.examples = SeedExamples(
            spec=settings.attack, made=self.made, source=work.source, last_step=settings.arithmetic == "released"
        )

    @cached_property
    def opened(self) -> DeviationInputs:
        """Model, layers and measures."""
        settings, classifier = self.work.settings, self.work.classifier
        return DeviationInputs(
            settings,
            classifier,
            {settings.attack: self.made},
            {CAM: build("cams", CAM)},
            self.strengths,
            select(classifier.layers(self.work.size), settings.layers, classifier.name),
            measures=self.measures,
        )

    def seeds(self, cell: Cell) -> CellResult:
        """Examples and their maps."""
        settings, opened = self.work.settings, self.opened
        first = cell.number * settings.batch_size
        with self.work.reading(cell) as images:
            result = seeds_cell(opened, self.examples, settings.gallery, first, images.batch)
        return images.noted(result)

    def coverage(self, cell: Cell) -> CellResult:
        """Coverage curves."""
        work = self.work
        with work.reading(cell) as images:
            result = coverage_cell(work.classifier, self.made, self.strengths.values, work.settings.seed, images.batch)
        return images.noted(result)


def _coverage(work: Run[Renkhoff2022], study: RenkhoffCells, first: int) -> list[CellNotes]:
    """The coverage curves' cells and tables; notes that count no image twice."""
    ids = work.source.ids[: work.settings.coverage_seeds]
    if not ids:
        return []
    cells = work.cells("coverage", ids=ids, first=first)
    notes = work.do(cells, study.coverage, main="coverage", what="seeds of the coverage curves")
    table = work.table(cells, "coverage")
    if table is not None:
        write_curves(table)
    return [note.beside() for note in notes]
