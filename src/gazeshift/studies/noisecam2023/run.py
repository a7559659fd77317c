"""One run of the noisecam2023 study: examples and their maps, verdicts, and the deviation of one layer."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from gazeshift.detectors.behaviour_deviation import BehaviourDeviation
from gazeshift.detectors.noisecam_dbscan import NoisecamDbscan
from gazeshift.interventions.strength import Strengths
from gazeshift.models import select
from gazeshift.records import Layer
from gazeshift.registry import build
from gazeshift.runs.deviation_rows import Opened, layer_card, merged
from gazeshift.runs.open import open_attack
from gazeshift.runs.run import Run, accuracy, all_of
from gazeshift.runs.settings import Progress
from gazeshift.studies.noisecam2023.examples import Plan
from gazeshift.studies.noisecam2023.rows import behaviour_cell, combination, seeds_cell
from gazeshift.studies.noisecam2023.settings import Noisecam2023
from gazeshift.studies.noisecam2023.verdicts import parts, write_verdicts

CAM = "grad_cam"
TABLES = ("rows", "images", "seeds", "measured", "pictures")


def run(settings: Noisecam2023, out: Path, command: str, progress: Progress) -> Path:
    """Do what is missing of the study, join its tables and write its manifest."""
    made, detector = open_attack(settings.attack, None), _behaviour(settings)
    work = Run("noisecam2023", 1, settings, out, command=command, progress=progress)
    plan, known = _plan(settings, work, made)
    (probe,) = _named(work, known, detector.layers(known))
    cells = work.cells("seeds")
    fill = lambda cell: work.batch(cell, partial(seeds_cell, plan, cell.number * settings.batch_size))  # noqa: E731
    notes = work.do(cells, fill, what="seeds")
    for table in TABLES:
        work.table(cells, table)
    part_of = parts(work.source.ids, settings.calibration, settings.seed)
    if work.leads:
        write_verdicts(work.store.folder, plan.all, part_of, plan.opened.shown_strength)
    ids = _tested(work.store.folder, part_of, settings.behaviour_images)
    seen = _deviate(work, plan, detector, ids, len(cells))
    return work.finish(
        [*notes, *seen],
        preflight=accuracy(work.source, notes),
        layers=[layer_card(layer) for layer in plan.opened.layers],
        attacks=[{"name": settings.attack, "settings": vars(made)}],
        examples=sum(note["examples"] for note in notes),
        parts={name: sum(part == name for part in part_of.values()) for name in ("calibration", "test")},
        noise_layers=plan.places,
        main=combination(plan.main),
        detectors={"noisecam_dbscan": vars(plan.main), "behaviour_deviation": vars(detector)},
        probe=probe,
        behaviour_examples=len(ids),
        undefined=merged(all_of(notes, "undefined")),
        poles=sum(note["poles"] for note in notes),
    )


def _behaviour(settings: Noisecam2023) -> BehaviourDeviation:
    return BehaviourDeviation(
        layer=settings.probe,
        cleaning=settings.cleaning,
        noise_images=settings.noise_images,
        rule=settings.rule,
        alpha=settings.alpha,
    )


def _plan(settings: Noisecam2023, work: Run, made: Any) -> tuple[Plan, tuple[Layer, ...]]:
    """Model, layers and strengths ready for the cells, checked on the first images; and all the model's layers."""
    images = work.open().images
    known = work.classifier.layers((images.shape[2], images.shape[3]))
    convs = [layer.name for layer in known if "conv" in layer.kinds]
    (place,) = _named(work, known, NoisecamDbscan(layer=settings.noise_layer).layers(known))
    places = _named(work, known, settings.noise_layers or convs[1:5] or convs)
    opened = Opened(
        settings,
        work.classifier,
        {settings.attack: made},
        {CAM: build("cams", CAM)},
        Strengths(values=settings.strengths),
        select(known, settings.layers, work.classifier.name),
        structure=False,
    )
    places = tuple(dict.fromkeys((*places, place)))
    source = work.source
    return Plan(
        settings=settings, opened=opened, spec=settings.attack, made=made, source=source, places=places, place=place
    ), known


def _named(work: Run, known: tuple[Layer, ...], wanted: Sequence[str]) -> tuple[str, ...]:
    return tuple(layer.name for layer in select(known, wanted, work.classifier.name))


def _tested(folder: Path, part_of: dict[str, str], most: int | None) -> tuple[str, ...]:
    """The first test images whose class the attack changed, in the order of the source."""
    seeds = pq.read_table(folder / "seeds.parquet", columns=["image", "switched"]).to_pylist()
    found = [row["image"] for row in seeds if row["switched"] and part_of[row["image"]] == "test"]
    return tuple(found[:most])


def _deviate(
    work: Run, plan: Plan, detector: BehaviourDeviation, ids: Sequence[str], first: int
) -> list[dict[str, Any]]:
    """The deviation's cells and table; notes that count no image twice."""
    cells = work.cells("behaviour", ids=ids, size=min(4, plan.settings.batch_size), first=first)
    fill = partial(behaviour_cell, plan, detector)
    what = "test examples under noise"
    notes = work.do(cells, lambda cell: work.batch(cell, fill), main="behaviour", what=what)
    work.table(cells, "behaviour")
    return [{**note, "used": 0, "skipped": []} for note in notes]
