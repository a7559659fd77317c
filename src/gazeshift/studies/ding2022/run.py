"""One run of the study of Ding et al. 2022: for each set what is seen, changed, trained and shown; joined."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gazeshift.data import replace_file
from gazeshift.errors import DataError
from gazeshift.manifest import ImagesEntry
from gazeshift.records import Layer
from gazeshift.runs.adversarial_set.run import AttackRun
from gazeshift.runs.adversarial_set.settings import SetSettings
from gazeshift.runs.deviation_rows import layer_entry
from gazeshift.runs.examples import SetSource, open_pairs
from gazeshift.runs.reopen import Reopened
from gazeshift.runs.run import Run, accuracy
from gazeshift.runs.store import Cell, CellResult, fingerprint
from gazeshift.studies.ding2022.feature_maps import Ranking, averaged, ranked_layers, ranking
from gazeshift.studies.ding2022.pictures import PAIRS, gallery_cell
from gazeshift.studies.ding2022.plan import Collected, SetPlan, baseline_check, identity, set_summary, slug, unlabelled
from gazeshift.studies.ding2022.rows import OpenedSet, change_cell, last_layer, seen_cell
from gazeshift.studies.ding2022.settings import Ding2022
from gazeshift.studies.ding2022.training_data import forget, shuffled, split, write_pixels
from gazeshift.studies.ding2022.training_stages import TrainingNotes, Trainings, checkpoint

TABLES = ("rows", "seen", "histograms", "gallery", "training", "detector", "scores", "maps2")
SHARED = ("images", "labels", "limit", "model", "weights", "input_size", "classes", "seed", "device", "batch_size")


def run(settings: Ding2022, out: Path, **how: Any) -> Path:
    """Do what is missing of the study, join its tables and write its manifest; `how` as of `Run`."""
    given = {name: open_pairs(place, settings) for name, place in settings.folders.items()}
    for source in given.values():
        _check(source)
    work = begin(settings, out, **how)
    for source in given.values():
        source.examples.check_model(work.classifier)
    work.open()
    layers, _ = _layers(work)
    done = Collected()
    for name, place in (settings.folders or _made(work)).items():
        one = OneSet(work, name, place)
        _check(one.source)
        work.source = one.source
        _one_set(work, one, done)
    return _finished(work, layers, done)


def begin(settings: Ding2022, out: Path, **how: Any) -> Run[Ding2022]:
    """The run, over the first of its sets if there are several."""
    first = next(iter(settings.folders.values()), None)
    source = None if first is None else open_pairs(first, settings)
    return Run("ding2022", 1, settings, out, source=source, recipe=(begin, (settings, out)), **how)


def _layers(work: Run[Ding2022]) -> tuple[dict[str, Layer], Layer]:
    """Those whose maps are ranked, and the one where `cam` is defined."""
    last = last_layer(work.classifier, work.first.images.to(work.classifier.device))
    return ranked_layers(work.classifier, work.size, work.settings.layers), last


class OneSet(Reopened):
    """A set of the study, opened for the cells that it is looked at, changed, shown and trained on in.

    Args:
        work: the run.
        name: of the set.
        place: its folder.
    """

    def __init__(self, work: Run[Ding2022], name: str, place: Path) -> None:
        self.recipe, self.work, self.name = (OneSet, (work, name, place)), work, name
        self.source = open_pairs(place, work.settings).for_channels(work.classifier.channels)
        self.scratch = work.store.folder / "scratch"

    @cached_property
    def opened(self) -> OpenedSet:
        """With the model and the layers."""
        layers, last = _layers(self.work)
        return OpenedSet(
            settings=self.work.settings,
            name=self.name,
            source=self.source,
            classifier=self.work.classifier,
            layers=layers,
            last=last,
            size=self.work.size,
        )

    @property
    def pixels(self) -> Path:
        """The file that trainings read."""
        return self.scratch / f"{slug(self.name)}-{self.source.examples.identity[:20]}.npy"

    def compute(self, cell: Cell, *, fill: Callable[..., CellResult], given: tuple[Any, ...] = ()) -> CellResult:
        """A cell of images: `fill` is called with the set, what is `given`, and the batch."""
        opened = self.opened
        with self.work.reading(cell, source=self.source) as images:
            result = fill(opened, *given, images.batch)
        return images.noted(result)

    def adversarial(self, cell: Cell, plan: SetPlan) -> CellResult:
        """Adversarial training of one size."""
        return self._trainings(plan).adversarial(cell, plan.parts)

    def detector(self, cell: Cell, plan: SetPlan) -> CellResult:
        """The detector, or its control."""
        return self._trainings(plan).detector(cell, plan.halves, plan.shown)

    def _trainings(self, plan: SetPlan) -> Trainings:
        return Trainings(
            settings=self.work.settings,
            name=self.name,
            classifier=self.work.classifier,
            pixels=lambda: write_pixels(self.pixels, self.source, plan.labels),
            checkpoints=self.scratch,
            progress=self.work.progress,
        )


def _check(source: SetSource) -> None:
    """Refuse a set that is too small, or lacks clean images."""
    if len(source) < 2:
        raise DataError(f"this study needs at least 2 examples, and {source.name} has {len(source)}. Use another set.")
    source.pairs(source.ids[:1])


def _made(work: Run[Ding2022]) -> dict[str, Path]:
    """Folder of the set that the settings name, or of sets made now in the study's folder."""
    settings = work.settings
    if isinstance(work.source, SetSource) and settings.set is not None:
        attack = work.source.examples.manifest.get("attack") or {}
        return {str(attack.get("name") or "set"): settings.set}
    wanted = SetSettings(
        **{name: getattr(settings, name) for name in SHARED}, epsilon=settings.epsilon, health_images=0
    )
    how: dict[str, Any] = {"command": work.command, "progress": work.progress, "executor": work.executor}
    places = {spec: work.store.folder / "sets" / slug(spec) for spec in settings.attack}
    return {spec: AttackRun(spec, wanted, place, **how).run() for spec, place in places.items()}


def _one_set(work: Run[Ding2022], one: OneSet, done: Collected) -> None:
    """Everything about one set."""
    opened = one.opened
    about: dict[str, Any] = {"set": identity(opened)}
    cells = _cells(work, done, "seen", about)
    done.asked += len(one.source)
    notes = work.do(cells, partial(one.compute, fill=seen_cell), main="seen", what=f"pairs, {one.name}")
    done.seen += notes
    maps = averaged(_joined(work, cells, "sums"), one.name)
    done.maps.append(maps)
    plan = _plan(opened, _joined(work, cells, "seen").to_pylist(), ranking(maps, work.settings.top))
    most, about = plan.found.most, about | {"most": plan.found.most, "least": plan.found.least}
    changes = _cells(work, done, "rows", about, ids=plan.chosen)
    change = partial(one.compute, fill=change_cell, given=(plan.found,))
    notes += work.do(changes, change, main="rows", what=f"images changed, {one.name}")
    gallery = _cells(work, done, "gallery", about, ids=plan.shown)
    draw = partial(one.compute, fill=gallery_cell, given=(most[:PAIRS],))
    notes += work.do(gallery, draw, main="gallery", what=f"images of the gallery, {one.name}")
    done.notes += notes
    _train(work, one, done, plan)
    done.sets.append(set_summary(opened, plan))


def _plan(opened: OpenedSet, seen: Sequence[Mapping[str, Any]], found: Ranking) -> SetPlan:
    """Who is painted, shown, trained on and held out."""
    settings, ids = opened.settings, [row["image"] for row in seen]
    fooled = [row["image"] for row in seen if row["success"]]
    mixed = shuffled(ids, settings.seed, "detector")
    halves = mixed[: len(ids) // 2], mixed[len(ids) // 2 :]
    chosen = tuple(sorted(shuffled(fooled, settings.seed, "examples")[: settings.examples]))
    unseen = [own for own in fooled if own in set(halves[1])]
    return SetPlan(
        seen=seen,
        found=found,
        chosen=chosen,
        shown=tuple((unseen or chosen)[: settings.gallery]),
        parts=split(ids, settings.seed, settings.sizes, settings.validation),
        halves=halves,
    )


def _train(work: Run[Ding2022], one: OneSet, done: Collected, plan: SetPlan) -> None:
    """Adversarial training at every size, and the detector with its control."""
    settings, parts = work.settings, plan.parts
    about = {"set": identity(one.opened), "labels": fingerprint(plan.labels)}
    sizes = parts.sizes if settings.epochs else ()
    kinds = ("attacked", "gaussian")[: 1 + settings.control] if settings.detector_epochs else ()
    learned = [
        _cell(work, done, "training", about | {"size": size, "train": parts.train[:size], "held": parts.held})
        for size in sizes
    ]
    judged = [
        _cell(work, done, "detector", about | {"trained_on": kind, "halves": plan.halves, "shown": plan.shown})
        for kind in kinds
    ]
    notes = work.do(
        learned,
        partial(one.adversarial, plan=plan),
        main="training",
        what=f"trainings, {one.name}",
        notes=TrainingNotes,
    )
    notes += work.do(
        judged, partial(one.detector, plan=plan), main="detector", what=f"detectors, {one.name}", notes=TrainingNotes
    )
    done.said += [f"{one.name}: {said}" for note in notes for said in note.checkpoints]
    done.training_seconds += sum(note.training_seconds for note in notes)
    forget(one.pixels, *(checkpoint(one.scratch, cell) for cell in [*learned, *judged]))


def _cells(
    work: Run[Ding2022], done: Collected, stage: str, about: Mapping[str, Any], *, ids: Sequence[str] | None = None
) -> list[Cell]:
    """Cells over images of the present set, after those of the sets before."""
    first = len(done.cells.get(stage, ()))
    made = work.cells(stage, ids=ids, first=first, **about)
    done.cells.setdefault(stage, []).extend(made)
    return made


def _cell(work: Run[Ding2022], done: Collected, stage: str, about: Mapping[str, Any]) -> Cell:
    before = done.cells.setdefault(stage, [])
    before.append(work.cell(stage, number=len(before), **about))
    return before[-1]


def _joined(work: Run[Ding2022], cells: Sequence[Cell], name: str) -> pa.Table:
    places = [work.store.place(cell, name) for cell in cells]
    return pa.concat_tables([pq.read_table(place) for place in places if place.is_file()])


def _finished(work: Run[Ding2022], layers: Mapping[str, Layer], done: Collected) -> Path:
    """Join the tables and write the manifest."""
    stages = {table: done.cells.get(table, []) for table in TABLES}
    stages |= {"histograms": stages["seen"], "scores": stages["detector"], "maps2": stages["detector"]}
    for table, cells in stages.items():
        work.table(cells, table)
    place = work.store.folder / "maps.parquet"
    replace_file(place, lambda path: pq.write_table(pa.concat_tables(done.maps), path, compression="zstd"))
    images = ImagesEntry(
        source=", ".join(one["source"] for one in done.sets),
        kind=work.source.kind,
        asked=done.asked,
        used=sum(note.used for note in done.seen),
        labels="given" if work.source.has_labels else "predicted",
        skipped=tuple(skip for note in done.seen for skip in note.skipped),
        notes=work.source.notes,
    )
    return work.finish(
        done.notes,
        images=images,
        preflight=(*accuracy(work.source, done.seen), *baseline_check(done.sets)),
        layers=[layer_entry(layer).model_copy(update={"shown": name}) for name, layer in layers.items()],
        sets=done.sets,
        training_seconds=round(done.training_seconds, 3),
        notes=[*done.said, *unlabelled(done.sets)],
    )
