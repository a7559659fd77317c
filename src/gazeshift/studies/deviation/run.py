"""One run of the deviation study: attacks, strengths and maps opened, cells filled, tables joined."""

from functools import partial
from pathlib import Path
from typing import Any

from gazeshift.interventions.strength import Strengths
from gazeshift.models import select
from gazeshift.records import Batch
from gazeshift.registry import build
from gazeshift.runs.deviation_rows import DeviationCell, Opened, layer_card, merged
from gazeshift.runs.open import open_attack
from gazeshift.runs.run import Run, accuracy, all_of
from gazeshift.runs.settings import Progress
from gazeshift.studies.deviation.settings import Deviation


def run(settings: Deviation, out: Path, command: str, progress: Progress) -> Path:
    """Do what is missing of the study, join its tables and write its manifest."""
    attacks = {spec: open_attack(spec, settings.epsilon) for spec in settings.attack}
    strengths, cams = Strengths(values=settings.strengths), {spec: build("cams", spec) for spec in settings.cams}
    work = Run("deviation", 1, settings, out, command=command, progress=progress)
    first = work.open()
    layers = select(
        work.classifier.layers((first.images.shape[2], first.images.shape[3])), settings.layers, work.classifier.name
    )
    opened = Opened(settings, work.classifier, attacks, cams, strengths, layers)
    cells = work.cells()
    notes = work.do(
        cells,
        lambda cell: work.batch(cell, partial(_filled, opened, settings.gallery, cell.number * settings.batch_size)),
    )
    for table in ("rows", "images", "gallery"):
        work.table(cells, table)
    return work.finish(
        notes,
        preflight=accuracy(work.source, notes),
        layers=[layer_card(layer) for layer in layers],
        cams=list(cams),
        attacks=[{"name": name, "settings": vars(made)} for name, made in attacks.items()],
        undefined=merged(all_of(notes, "undefined")),
        poles=sum(note["poles"] for note in notes),
    )


def _filled(opened: Opened, gallery: int, first: int, batch: Batch) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tables and notes of one cell."""
    # Twice as many images as the gallery needs, so that the report can prefer fooled ones.
    shown = range(min(len(batch.ids), max(0, 2 * gallery - first)))
    cell = DeviationCell(opened, batch, shown)
    if batch.ids:
        cell.fill()
    return cell.finished(), {"undefined": cell.undefined, "poles": cell.poles, "right": cell.right}
