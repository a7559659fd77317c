"""One run of the study of Ding et al. 2022: for each set what is seen, changed, trained and shown; joined."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gazeshift.data import replace_file
from gazeshift.errors import DataError
from gazeshift.runs.adversarial_set.run import AttackRun
from gazeshift.runs.adversarial_set.settings import SetSettings
from gazeshift.runs.deviation_rows import layer_card
from gazeshift.runs.examples import SetSource, open_pairs
from gazeshift.runs.run import Run, accuracy
from gazeshift.runs.settings import Progress
from gazeshift.runs.store import Cell, fingerprint
from gazeshift.studies.ding2022.feature_maps import Ranking, averaged, ranked_layers, ranking
from gazeshift.studies.ding2022.pictures import PAIRS, gallery_cell
from gazeshift.studies.ding2022.plan import Done, Plan, identity, slug, sound, told, unlabelled
from gazeshift.studies.ding2022.rows import Opened, change_cell, last_layer, seen_cell
from gazeshift.studies.ding2022.settings import Ding2022
from gazeshift.studies.ding2022.training_data import forget, shuffled, split, write_pixels
from gazeshift.studies.ding2022.training_stages import Trainings

TABLES = ("rows", "seen", "histograms", "gallery", "training", "detector", "scores", "maps2")
SHARED = ("images", "labels", "limit", "model", "weights", "input_size", "classes", "seed", "device", "batch_size")


def run(settings: Ding2022, out: Path, command: str, progress: Progress) -> Path:
    """Do what is missing of the study, join its tables and write its manifest."""
    given = {name: open_pairs(place, settings) for name, place in settings.folders.items()}
    for source in given.values():
        _check(source)
    work = Run(
        "ding2022", 1, settings, out, command=command, progress=progress, source=next(iter(given.values()), None)
    )
    for source in given.values():
        source.examples.check_model(work.classifier)
    given = {name: source.for_channels(work.classifier.channels) for name, source in given.items()}
    first = work.open()
    last = last_layer(work.classifier, first.images.to(work.classifier.device))
    size = (first.images.shape[2], first.images.shape[3])
    layers = ranked_layers(work.classifier, size, settings.layers)
    done = Done()
    for name, source in (given or _made(settings, work)).items():
        _check(source)
        work.source = source
        opened = Opened(
            settings=settings,
            name=name,
            source=source,
            classifier=work.classifier,
            layers=layers,
            last=last,
            size=size,
        )
        _one_set(work, opened, done)
    return _finished(work, layers, done)


def _check(source: SetSource) -> None:
    """Refuse a set that is too small, or lacks clean images."""
    if len(source) < 2:
        raise DataError(f"this study needs at least 2 examples, and {source.name} has {len(source)}. Use another set.")
    source.pairs(source.ids[:1])


def _made(settings: Ding2022, work: Run) -> dict[str, SetSource]:
    """The set that the settings name, or sets made now, in the study's folder."""
    if isinstance(work.source, SetSource):
        attack = work.source.examples.manifest.get("attack") or {}
        return {str(attack.get("name") or "set"): work.source}
    shared = {name: getattr(settings, name) for name in SHARED}
    found = {}
    for spec in settings.attack:
        place = work.store.folder / "sets" / slug(spec)
        wanted = SetSettings(**shared, epsilon=settings.epsilon, health_images=0)
        AttackRun(spec, wanted, place, command=work.command, progress=work.progress).run()
        found[spec] = open_pairs(place, settings)
    return found


def _one_set(work: Run, opened: Opened, done: Done) -> None:
    """Everything about one set."""
    about: dict[str, Any] = {"set": identity(opened)}
    cells = _cells(work, done, "seen", about)
    done.asked += len(opened.source)
    done.seen += _batches(work, done, cells, partial(seen_cell, opened), main="seen", what=f"pairs, {opened.name}")
    maps = averaged(_joined(work, cells, "sums"), opened.name)
    done.maps.append(maps)
    plan = _plan(opened, _joined(work, cells, "seen").to_pylist(), ranking(maps, opened.settings.top))
    about |= {"most": plan.found.most, "least": plan.found.least}
    changes = _cells(work, done, "rows", about, ids=plan.chosen)
    fill = partial(change_cell, opened, plan.found)
    _batches(work, done, changes, fill, main="rows", what=f"images changed, {opened.name}")
    gallery = _cells(work, done, "gallery", about, ids=plan.shown)
    fill = partial(gallery_cell, opened, plan.found.most[:PAIRS])
    _batches(work, done, gallery, fill, main="gallery", what=f"images of the gallery, {opened.name}")
    _train(work, opened, done, plan)
    done.sets.append(told(opened, plan))


def _plan(opened: Opened, seen: Sequence[Mapping[str, Any]], found: Ranking) -> Plan:
    """Who is painted, shown, trained on and held out."""
    settings, ids = opened.settings, [row["image"] for row in seen]
    fooled = [row["image"] for row in seen if row["success"]]
    mixed = shuffled(ids, settings.seed, "detector")
    halves = mixed[: len(ids) // 2], mixed[len(ids) // 2 :]
    chosen = tuple(sorted(shuffled(fooled, settings.seed, "examples")[: settings.examples]))
    unseen = [own for own in fooled if own in set(halves[1])]
    return Plan(
        seen=seen,
        found=found,
        chosen=chosen,
        shown=tuple((unseen or chosen)[: settings.gallery]),
        parts=split(ids, settings.seed, settings.sizes, settings.validation),
        halves=halves,
    )


def _train(work: Run, opened: Opened, done: Done, plan: Plan) -> None:
    """Adversarial training at every size, and the detector with its control."""
    settings, parts, name = opened.settings, plan.parts, opened.name
    scratch = work.store.folder / "scratch"
    file = scratch / f"{slug(name)}-{opened.source.examples.identity[:20]}.npy"
    trainings = Trainings(
        settings=settings,
        name=name,
        classifier=work.classifier,
        pixels=lambda: write_pixels(file, opened.source, plan.labels),
        checkpoints=scratch,
        progress=work.progress,
    )
    about = {"set": identity(opened), "labels": fingerprint(plan.labels)}
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
        learned, lambda cell: trainings.adversarial(cell, parts), main="training", what=f"trainings, {name}"
    )
    notes += work.do(
        judged,
        lambda cell: trainings.detector(cell, plan.halves, plan.shown),
        main="detector",
        what=f"detectors, {name}",
    )
    done.said += [f"{name}: {said}" for note in notes for said in note["checkpoints"]]
    done.training_seconds += sum(note["training_seconds"] for note in notes)
    forget(file, *map(trainings.checkpoint, [*learned, *judged]))


def _cells(
    work: Run, done: Done, stage: str, about: Mapping[str, Any], *, ids: Sequence[str] | None = None
) -> list[Cell]:
    """Cells over images of the present set, after those of the sets before."""
    first = len(done.cells.get(stage, ()))
    made = work.cells(stage, ids=ids, first=first, **about)
    done.cells.setdefault(stage, []).extend(made)
    return made


def _cell(work: Run, done: Done, stage: str, about: Mapping[str, Any]) -> Cell:
    before = done.cells.setdefault(stage, [])
    before.append(work.cell(stage, number=len(before), **about))
    return before[-1]


def _batches(work: Run, done: Done, cells: Sequence[Cell], fill: Any, *, main: str, what: str) -> list[dict[str, Any]]:
    notes = work.do(cells, lambda cell: work.batch(cell, fill), main=main, what=what)
    done.notes += notes
    return notes


def _joined(work: Run, cells: Sequence[Cell], name: str) -> pa.Table:
    places = [work.store.place(cell, name) for cell in cells]
    return pa.concat_tables([pq.read_table(place) for place in places if place.is_file()])


def _finished(work: Run, layers: Mapping[str, Any], done: Done) -> Path:
    """Join the tables and write the manifest."""
    stages = {table: done.cells.get(table, []) for table in TABLES}
    stages |= {"histograms": stages["seen"], "scores": stages["detector"], "maps2": stages["detector"]}
    for table, cells in stages.items():
        work.table(cells, table)
    place = work.store.folder / "maps.parquet"
    replace_file(place, lambda path: pq.write_table(pa.concat_tables(done.maps), path, compression="zstd"))
    right, used = sum(note["right"] for note in done.seen), sum(note["used"] for note in done.seen)
    manifest = work.manifest(
        done.notes,
        preflight=(*accuracy(work.source, [{"right": right, "used": used}]), *sound(done.sets)),
        layers=[{"shown": name, **layer_card(layer)} for name, layer in layers.items()],
        sets=done.sets,
        training_seconds=round(done.training_seconds, 3),
        notes=[*done.said, *unlabelled(done.sets)],
    )
    manifest["images"] |= {
        "source": ", ".join(one["source"] for one in done.sets),
        "asked": done.asked,
        "used": used,
        "skipped": [skip for note in done.seen for skip in note["skipped"]],
    }
    work.store.write_manifest(manifest)
    return work.store.folder
