"""One run of the transfer study: opens the models, fills the cells that are missing, joins and sums them up."""

from functools import partial
from pathlib import Path
from typing import Any

from gazeshift.models import Classifier, load, sped_up
from gazeshift.records import Batch
from gazeshift.runs.open import check_first, open_attack
from gazeshift.runs.reopen import Reopened
from gazeshift.runs.run import Run, all_of
from gazeshift.runs.store import Cell, CellResult
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
    notes = work.do(cells, study.compute)
    work.table(cells)
    own = [note for note in notes if note["source"] == settings.model]
    manifest = work.manifest(
        notes,
        models=cards,
        sources=attacked,
        attacks=[{"name": name, "settings": vars(made)} for name, made in study.attacks.items()],
    )
    manifest["images"] |= {
        "used": sum(note["used"] for note in own),
        "skipped": [*map(vars, work.source.skipped), *all_of(own, "skipped")],
    }
    manifest["preflight"] += [vars(finding) | {"model": name} for name, found in others.items() for finding in found]
    write_table(work.store.folder, manifest)
    work.store.write_manifest(manifest)
    return work.store.folder


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
        source, settings = cell.inputs["source"], self.work.settings
        show = Show(
            source=source,
            models=self.models,
            attacks=self.attacks,
            fit=settings.fit,
            rms=settings.rms,
            seed=settings.seed,
        )
        return self.work.batch(cell, fill=partial(_filled, show), classifier=self.models[source])


def _models(settings: Transfer, first: Classifier) -> dict[str, Classifier]:
    """Every model by name: first the one that the settings name, then those that are attacked too, then victims."""
    others = dict.fromkeys((*settings.sources, *settings.victims))
    found = {
        name: sped_up(load(name, device=settings.device), **settings.speed) for name in others if name != settings.model
    }
    return {settings.model: first} | found


def _filled(show: Show, batch: Batch) -> tuple[dict[str, Any], dict[str, Any]]:
    """Table and notes of one cell."""
    table, right = show.rows(batch)
    return {"rows": table}, {"source": show.source, "right": right}
