"""One run of the renkhoff2022 study: examples and their maps, then coverage curves; joined and told of."""

from functools import partial
from pathlib import Path
from typing import Any

from gazeshift.interventions.strength import Strengths
from gazeshift.measures.cosine import Cosine
from gazeshift.models import select
from gazeshift.registry import build
from gazeshift.runs.deviation_rows import Opened, layer_card, merged
from gazeshift.runs.open import open_attack
from gazeshift.runs.run import Run, accuracy, all_of
from gazeshift.runs.settings import Progress
from gazeshift.studies.renkhoff2022.coverage import coverage_cell, write_curves
from gazeshift.studies.renkhoff2022.rows import Examples, seeds_cell
from gazeshift.studies.renkhoff2022.settings import Renkhoff2022

CAM = "grad_cam"
STEP_UNKNOWN = (
    "The released code scales the last step of DLFuzz alone. A set's examples, and those of other attacks, do not tell "
    "their last step: the whole perturbation was scaled."
)


def run(settings: Renkhoff2022, out: Path, command: str, progress: Progress) -> Path:
    """Do what is missing of the study, join its tables and write its manifest."""
    made = open_attack(settings.attack, None)
    strengths = Strengths(values=settings.strengths, arithmetic=settings.arithmetic, eight_bit=settings.eight_bit)
    work = Run("renkhoff2022", 1, settings, out, command=command, progress=progress)
    opened = _opened(settings, work, made, strengths)
    examples = Examples(
        spec=settings.attack, made=made, source=work.source, last_step=settings.arithmetic == "released"
    )
    cells = work.cells("seeds")
    notes = work.do(
        cells,
        lambda cell: work.batch(
            cell, partial(seeds_cell, opened, examples, settings.gallery, cell.number * settings.batch_size)
        ),
        what="seeds",
    )
    for table in ("rows", "images", "gallery", "seeds"):
        work.table(cells, table)
    covered = _coverage(settings, work, made, strengths, len(cells))
    return work.finish(
        [*notes, *covered],
        preflight=accuracy(work.source, notes),
        layers=[layer_card(layer) for layer in opened.layers],
        cams=[CAM],
        attacks=[{"name": settings.attack, "settings": vars(made)}],
        arithmetic={"coefficients": strengths.coefficients, "bases": strengths.bases},
        examples=sum(note["examples"] for note in notes),
        undefined=merged(all_of(notes, "undefined")),
        poles=sum(note["poles"] for note in notes),
        notes=[STEP_UNKNOWN] if examples.last_step and not examples.has_last_step else [],
    )


def _opened(settings: Renkhoff2022, work: Run, made: Any, strengths: Strengths) -> Opened:
    """Model, layers and measures ready for the cells; checked on the first images."""
    images = work.open().images
    layers = select(work.classifier.layers((images.shape[2], images.shape[3])), settings.layers, work.classifier.name)
    return Opened(
        settings,
        work.classifier,
        {settings.attack: made},
        {CAM: build("cams", CAM)},
        strengths,
        layers,
        alike=Cosine(space=settings.space),
        structure=False,
    )


def _coverage(settings: Renkhoff2022, work: Run, made: Any, strengths: Strengths, first: int) -> list[dict[str, Any]]:
    """The coverage curves' cells and tables; notes that count no image twice."""
    ids = work.source.ids[: settings.coverage_seeds]
    if not ids:
        return []
    cells = work.cells("coverage", ids=ids, first=first)
    fill = partial(coverage_cell, work.classifier, made, strengths.values, settings.seed)
    notes = work.do(cells, lambda cell: work.batch(cell, fill), main="coverage", what="seeds of the coverage curves")
    table = work.table(cells, "coverage")
    if table is not None:
        write_curves(table)
    return [{**note, "used": 0, "skipped": []} for note in notes]
