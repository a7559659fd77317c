"""One run of the deviation study: attacks, strengths and maps opened, cells filled, tables joined."""

from functools import cached_property
from pathlib import Path
from typing import Any

from gazeshift.manifest import UndefinedMaps
from gazeshift.models import select
from gazeshift.runs.deviation_rows import DeviationCell, DeviationInputs, layer_entry
from gazeshift.runs.open import open_attack
from gazeshift.runs.parts import measure_entry, open_cams, open_measures
from gazeshift.runs.reopen import Reopened
from gazeshift.runs.run import Run, accuracy
from gazeshift.runs.store import Cell, CellResult
from gazeshift.studies.deviation.settings import Deviation
from gazeshift.transforms.strength import Strengths


def run(settings: Deviation, out: Path, **how: Any) -> Path:
    """Do what is missing of the study, join its tables and write its manifest; `how` as of `Run`."""
    work = Run("deviation", 2, settings, out, **how)
    study = DeviationCells(work)
    work.open()
    cells = work.cells()
    notes = work.do(cells, study.compute)
    for table in ("rows", "images", "gallery"):
        work.table(cells, table)
    return work.finish(
        notes,
        preflight=accuracy(work.source, notes),
        layers=[layer_entry(layer) for layer in study.opened.layers],
        cams=list(study.cams),
        measures=[measure_entry(name, measure) for name, measure in study.measures.items()],
        attacks=[{"name": name, "settings": vars(made)} for name, made in study.attacks.items()],
        undefined=UndefinedMaps.merged(entry for note in notes for entry in note.undefined),
        poles=sum(note.poles for note in notes),
    )


class DeviationCells(Reopened):
    """What the cells need, opened from the settings.

    Args:
        work: the run.
    """

    def __init__(self, work: Run[Deviation]) -> None:
        self.recipe, self.work, settings = (DeviationCells, (work,)), work, work.settings
        self.attacks = {spec: open_attack(spec, settings.epsilon) for spec in settings.attack}
        self.cams = open_cams(settings.cams)
        self.measures = open_measures(settings.measures)
        self.strengths = Strengths(values=settings.strengths)

    @cached_property
    def opened(self) -> DeviationInputs:
        """With the layers, for images of this size."""
        settings, classifier = self.work.settings, self.work.classifier
        layers = select(classifier.layers(self.work.size), settings.layers, classifier.name)
        return DeviationInputs(
            settings, classifier, self.attacks, self.cams, self.strengths, layers, measures=self.measures
        )

    def compute(self, cell: Cell) -> CellResult:
        """One cell."""
        settings, opened = self.work.settings, self.opened
        with self.work.reading(cell) as images:
            # Twice as many images as the gallery needs, so that the report can prefer fooled ones.
            left = max(0, 2 * settings.gallery - cell.number * settings.batch_size)
            rows = DeviationCell(opened, images.batch, range(min(len(images.batch.ids), left)))
            if images.batch.ids:
                rows.fill()
        return images.noted(CellResult(rows.tables(), rows.notes(right=rows.right)))
