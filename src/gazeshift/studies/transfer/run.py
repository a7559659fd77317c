"""One run of the transfer study: opens the models, fills the cells that are missing, joins and sums them up."""

from pathlib import Path
from typing import Any

from gazeshift.manifest import CheckEntry
from gazeshift.models import Classifier, load, sped_up
from gazeshift.runs.notes import CellNotes
from gazeshift.runs.open import check_first, open_attack
from gazeshift.runs.reopen import Reopened
from gazeshift.runs.run import Run
from gazeshift.runs.store import Cell, CellResult
from gazeshift.studies.transfer.manifest import TransferManifest
from gazeshift.studies.transfer.rows import Show
from gazeshift.studies.transfer.settings import Transfer
from gazeshift.studies.transfer.summary import write_table


def run(settings: Transfer, out: Path, **how: Any) -> Path:
    """Do what is missing of the study; `how` as of `Run`. Images are read anew for each source, at its size."""
    work = Run("transfer", 1, settings, out, **how)
    study = TransferCells(work)
    attacked = list(dict.fromkeys((settings.model, *settings.sources)))
    size = min(16, settings.batch_size)
    others = {name: check_first(study.models[name], work.source, size) for name in attacked[1:]}
    work.open()
    cards = {name: model.card() for name, model in study.models.items()}
    step = -(-len(work.source) // settings.batch_size)  # cells of one source
    cells = [
        cell for at, name in enumerate(attacked) for cell in work.cells(first=at * step, source=name, models=cards)
    ]
    notes = work.do(cells, study.compute, notes=TransferNotes)
    work.table(cells)
    write_table(work.store.folder, [*study.attacks], [*cards])
    return work.finish(
        [note if note.source == settings.model else note.beside() for note in notes],
        TransferManifest,
        preflight=[CheckEntry(**vars(finding), model=name) for name, found in others.items() for finding in found],
        models=cards,
        sources=attacked,
        attacks=[{"name": name, "settings": vars(made)} for name, made in study.attacks.items()],
    )


class TransferNotes(CellNotes):
    """Notes of a cell, and the model that is attacked in it."""

    source: str


class TransferCells(Reopened):
    """What the cells need, opened from the settings: models are opened once and kept.

    Args:
        work: the run.
    """

    def __init__(self, work: Run[Transfer]) -> None:
        self.recipe, self.work, settings = (TransferCells, (work,)), work, work.settings
        self.attacks = {spec: open_attack(spec, settings.epsilon) for spec in settings.attack}
        self.models = _models(settings, work.classifier)

    def compute(self, cell: Cell) -> CellResult:
        """One cell: images attacked on one model, and shown to all."""
        source = cell.inputs["source"]
        show = Show(source, self.models, self.attacks, self.work.settings)
        with self.work.reading(cell, classifier=self.models[source]) as images:
            table, right = show.rows(images.batch)
        return images.noted(CellResult({"rows": table}, TransferNotes(source=source, right=right)))


def _models(settings: Transfer, first: Classifier) -> dict[str, Classifier]:
    """Every model by name: first the one that the settings name, then those that are attacked too, then victims."""
    others = dict.fromkeys((*settings.sources, *settings.victims))
    found = {
        name: sped_up(load(name, device=settings.device), **settings.speed) for name in others if name != settings.model
    }
    return {settings.model: first} | found
