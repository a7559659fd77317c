"""One run of the patching study: fooled images, and every patch of every layer."""

from functools import cached_property
from pathlib import Path
from typing import Any

from gazeshift.measures.psnr import Psnr
from gazeshift.models import select
from gazeshift.runs.deviation_rows import layer_entry
from gazeshift.runs.examples import attacked_batch
from gazeshift.runs.notes import CellNotes
from gazeshift.runs.open import open_attack
from gazeshift.runs.reopen import Reopened
from gazeshift.runs.run import Run, accuracy
from gazeshift.runs.store import Cell, CellResult
from gazeshift.runs.tables import IMAGES, Rows, add_images
from gazeshift.studies.patching.rows import PATCHES, Patcher
from gazeshift.studies.patching.settings import Patching


def run(settings: Patching, out: Path, **how: Any) -> Path:
    """Do what is missing of the study, join its tables and write its manifest; `how` as of `Run`."""
    work = Run("patching", 1, settings, out, **how)
    study = PatchingCells(work)
    work.open()
    cells = work.cells()
    notes = work.do(cells, study.compute)
    for table in ("rows", "layers", "images"):
        work.table(cells, table)
    return work.finish(
        notes,
        preflight=accuracy(work.source, notes),
        layers=[layer_entry(layer) for layer in study.patcher.layers],
        attacks=[{"name": settings.attack, "settings": vars(study.made)}],
        examples=sum(note.examples for note in notes),
    )


class PatchingCells(Reopened):
    """What the cells need, opened from the settings.

    Args:
        work: the run.
    """

    def __init__(self, work: Run[Patching]) -> None:
        self.recipe, self.work = (PatchingCells, (work,)), work
        self.made = open_attack(work.settings.attack, work.settings.epsilon)

    @cached_property
    def patcher(self) -> Patcher:
        """With the layers, for images of this size."""
        settings, classifier = self.work.settings, self.work.classifier
        return Patcher(
            classifier=classifier,
            layers=select(classifier.layers(self.work.size), settings.layers, classifier.name),
            unit=settings.unit,
            factor=settings.factor,
            batch_size=settings.batch_size,
            seed=settings.seed,
        )

    def compute(self, cell: Cell) -> CellResult:
        """Attack a cell's images, and patch those that are fooled."""
        work, patcher, seen = self.work, self.patcher, Rows(IMAGES)
        with work.reading(cell) as images:
            batch = images.batch
            if not batch.ids:
                return images.noted(CellResult({"rows": PATCHES.empty_table()}))
            found = attacked_batch(
                work.classifier,
                batch,
                self.made,
                spec=work.settings.attack,
                seed=work.settings.seed,
                source=work.source,
            )
            keys = {"attack": work.settings.attack, "epsilon": getattr(self.made, "epsilon", None)}
            psnr = Psnr()(found.clean, found.images)
            add_images(seen, batch.ids, found, work.classifier.class_name, psnr, strength=1.0, kind="attacked", **keys)
            at = found.success.nonzero()[:, 0]
            tables = patcher.tables([batch.ids[place] for place in at.tolist()], found.pick(at))
        notes = CellNotes(right=int(found.clean_correct.sum()), examples=len(at))
        return images.noted(CellResult(tables | {"images": seen.table()}, notes))
