"""One run of the transfer study: opens the models, fills the cells that are missing, joins and sums them up."""

from functools import partial
from pathlib import Path
from typing import Any

from gazeshift.models import Classifier, load, sped_up
from gazeshift.records import Batch
from gazeshift.runs.open import check_first, open_attack
from gazeshift.runs.run import Run, all_of
from gazeshift.runs.settings import Progress
from gazeshift.runs.store import Cell, CellResult
from gazeshift.studies.transfer.rows import Show
from gazeshift.studies.transfer.settings import Transfer
from gazeshift.studies.transfer.summary import write_table


def run(settings: Transfer, out: Path, command: str, progress: Progress) -> Path:
    """Do what is missing. Models are opened once and kept; images are read anew for each source, at its size."""
    attacks = {spec: open_attack(spec, settings.epsilon) for spec in settings.attack}
    work = Run("transfer", 1, settings, out, command=command, progress=progress)
    models = _models(settings, work.classifier)
    attacked = list(dict.fromkeys((settings.model, *settings.sources)))
    size = min(16, settings.batch_size)
    others = {name: check_first(models[name], work.source, size)[0] for name in attacked[1:]}
    work.open()
    cards = {name: model.card() for name, model in models.items()}
    step = -(-len(work.source) // settings.batch_size)  # cells of one source
    cells = [
        cell for at, name in enumerate(attacked) for cell in work.cells(first=at * step, source=name, models=cards)
    ]

    def compute(cell: Cell) -> CellResult:
        source = cell.inputs["source"]
        show = Show(
            source=source, models=models, attacks=attacks, fit=settings.fit, rms=settings.rms, seed=settings.seed
        )
        return work.batch(cell, partial(_filled, show), models[source])

    notes = work.do(cells, compute)
    work.table(cells)
    own = [note for note in notes if note["source"] == settings.model]
    manifest = work.manifest(
        notes,
        models=cards,
        sources=attacked,
        attacks=[{"name": name, "settings": vars(made)} for name, made in attacks.items()],
    )
    manifest["images"] |= {
        "used": sum(note["used"] for note in own),
        "skipped": [*map(vars, work.source.skipped), *all_of(own, "skipped")],
    }
    manifest["preflight"] += [vars(finding) | {"model": name} for name, found in others.items() for finding in found]
    write_table(work.store.folder, manifest)
    work.store.write_manifest(manifest)
    return work.store.folder


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
