"""One run of the study of Chakraborty et al. 2022: features, heads, attacks, galleries; for each kind of picture."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from gazeshift.data import ImageSource
from gazeshift.errors import DataError
from gazeshift.models import Classifier, Pixels, Preprocessing, load, select
from gazeshift.records import Batch, Finding, Layer
from gazeshift.runs.examples import fitted
from gazeshift.runs.open import check_first
from gazeshift.runs.run import Run
from gazeshift.runs.settings import Progress
from gazeshift.runs.store import Cell, CellResult, fingerprint
from gazeshift.runs.training import History, Schedule
from gazeshift.studies.chakraborty2022.collection import Collection, draw_classes, open_collection, shuffled
from gazeshift.studies.chakraborty2022.heads import (
    Examples,
    epoch_rows,
    examples,
    feature_model,
    feature_rows,
    headed,
    split,
    train_head,
)
from gazeshift.studies.chakraborty2022.manifest import Told, head_card, split_table, unrelated, write_table
from gazeshift.studies.chakraborty2022.pictures import Pictures, choose
from gazeshift.studies.chakraborty2022.rows import Attacks, Seen
from gazeshift.studies.chakraborty2022.settings import Chakraborty2022

PIECE = 32  # images whose features a killed run computes again
UNIT = {"unit": 1.0, "symmetric": 0.5}


def run(settings: Chakraborty2022, out: Path, command: str, progress: Progress) -> Path:
    """Do what is missing, and write the manifest."""
    opened = _opened(settings)
    source = opened.found.source
    unlabelled = replace(source, labels=(None,) * len(source))  # the bodies know other classes
    work = Run(
        "chakraborty2022",
        1,
        settings,
        out,
        command=command,
        progress=progress,
        classifier=opened.bodies[settings.attacked],
        source=unlabelled,
    )
    for name, body in opened.bodies.items():
        if name != settings.attacked:
            check_first(body, unlabelled, min(4, settings.batch_size))
    work.open()
    whole = _Work(opened, work)
    return whole.finish([whole.condition(name, given) for name, given in whole.sources.items()])


def _opened(settings: Chakraborty2022) -> "Opened":
    bodies = _bodies(settings)
    first = bodies[settings.attacked]
    names = {"class_names": first.class_names, "wnids": first.wnids}
    found = open_collection(settings.images, labels=settings.labels, names=names)
    found = draw_classes(found, classes=settings.class_count, images=settings.images_per_class, seed=settings.seed)
    return Opened(settings=settings, found=found, parts=split(found, settings.seed), bodies=bodies)


@dataclass(frozen=True, kw_only=True)
class Done:
    """What one condition left.

    Args:
        attacks: its name, and its models with their heads.
        cells: of the attacked test images.
        notes: of all its cells.
        heads: what the manifest says of each head.
        epochs: of the trainings.
    """

    attacks: Attacks
    cells: Sequence[Cell]
    notes: Sequence[Mapping[str, Any]]
    heads: Mapping[str, Any]
    epochs: Sequence[pa.Table]


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What the settings name, opened.

    Args:
        settings: of the study.
        found: the pictures drawn.
        parts: of each picture, by its id.
        bodies: the models as they came, by name.
    """

    settings: Chakraborty2022
    found: Collection
    parts: Mapping[str, str]
    bodies: Mapping[str, Classifier]


class _Work:
    """A run of the study while it goes on."""

    def __init__(self, opened: Opened, run: Run) -> None:
        self.settings, self.found, self.parts = opened.settings, opened.found, opened.parts
        self.bodies, self.run = opened.bodies, run
        self.sources = {"raw": self.found.source}
        if self.found.aligned is not None:
            self.sources["aligned"] = self.found.aligned
        self.last = {name: last_layer(body, run.first.images) for name, body in self.bodies.items()}
        self.findings: list[Finding] = []

    def condition(self, condition: str, source: ImageSource) -> Done:
        """Everything about one kind of picture but the gallery."""
        self.run.source = source
        notes: list[Mapping[str, Any]] = []
        models, heads, epochs = {}, {}, []
        for place, name in enumerate(self.bodies):
            cells = self._features(condition, place, name)
            notes += self.run.do(cells, partial(self._featured, name), main="features", what=f"images, {name}")
            models[name], history = self._head(condition, place, name, cells)
            epochs.append(epoch_rows(history, condition=condition, model=name))
            heads[name] = head_card(models[name], history)
        attacks = Attacks(
            condition=condition,
            models=models,
            source=self.settings.attacked,
            levels=self.settings.levels,
            unit=UNIT[self.settings.range],
            seed=self.settings.seed,
        )
        about: dict[str, Any] = {"condition": condition, "heads": _cards(models)}
        cells = self.run.cells("attack", ids=self._tested(source), **about)
        reader = models[self.settings.attacked].classifier
        notes += self.run.do(cells, lambda cell: self.run.batch(cell, attacks.fill, reader), what="test images")
        return Done(attacks=attacks, cells=cells, notes=notes, heads=heads, epochs=epochs)

    def finish(self, done: Sequence[Done]) -> Path:
        """Join the tables, draw the gallery, and write the manifest."""
        work, folder = self.run, self.run.store.folder
        cells = [cell for one in done for cell in one.cells]
        work.table(cells)
        work.table(cells, "maps")
        shown_one = done[-1]  # aligned faces where there are some, as in the paper
        gallery, notes = self._gallery(shown_one)
        work.table(gallery, "gallery")
        size = (work.first.images.shape[2], work.first.images.shape[3])
        write_table(folder / "unrelated.parquet", unrelated(pq.read_table(folder / "maps.parquet"), size))
        write_table(folder / "training.parquet", pa.concat_tables([table for one in done for table in one.epochs]))
        write_table(folder / "split.parquet", split_table(self.found, self.parts))
        work.source = self.found.source
        work.classifier = shown_one.attacks.models[self.settings.attacked].classifier
        every = [note for one in done for note in one.notes] + notes
        models = shown_one.attacks.models
        told = Told(found=self.found, parts=self.parts, models=models, notes=every, findings=tuple(self.findings))
        tested = {one.attacks.condition: sum(len(cell.ids) for cell in one.cells) for one in done}
        heads = {one.attacks.condition: one.heads for one in done}
        more = told.entries(tested, heads) | {"attacked": self.settings.attacked, "levels": list(self.settings.levels)}
        return work.finish(every, unit=UNIT[self.settings.range], cost=told.cost(work.first.images), **more)

    def _features(self, condition: str, place: int, name: str) -> list[Cell]:
        count = -(-len(self.run.source) // PIECE)
        card, layer = self.bodies[name].card(), self.last[name].name
        about: dict[str, Any] = {"condition": condition, "body": card, "layer": layer}
        return self.run.cells("features", size=PIECE, first=place * count, **about)

    def _featured(self, name: str, cell: Cell) -> CellResult:
        model = feature_model(self.bodies[name], self.last[name])

        def fill(batch: Batch) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
            return {"features": feature_rows(model, batch)}, {"by_model": {name: [len(batch.ids), 0]}}

        return self.run.batch(cell, fill, model)

    def _head(self, condition: str, place: int, name: str, cells: Sequence[Cell]) -> tuple[Seen, History]:
        """A model with the head trained on its features."""
        work, settings = self.run, self.settings
        schedule = Schedule(epochs=settings.epochs, learning_rate=settings.learning_rate, seed=settings.seed)
        identity = fingerprint([[cell.key for cell in cells], self.parts, work.source.labels, str(schedule)])
        slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[-60:]
        head, history = train_head(
            self._examples(cells),
            classes=len(self.found.names),
            dropout=settings.dropout,
            schedule=schedule,
            batch_size=settings.train_batch,
            checkpoint=work.store.folder / "heads" / f"{condition}-{place}-{slug}.safetensors",
            identity=identity,
            progress=work.progress,
        )
        said = [f"{name}, {condition}: {note}" for note in history.notes]
        self.findings += [Finding(check="checkpoint", level="note", detail=note) for note in said]
        body = self.bodies[name]
        made = headed(body, self.last[name], head, self.found.names)
        images = fitted(work.first.images, body.size, "resize")
        return Seen(classifier=made, last=last_layer(made, images)), history

    def _examples(self, cells: Sequence[Cell]) -> dict[str, Examples]:
        """Features to train on and to choose the epoch by, read back from their cells."""
        source, store = self.run.source, self.run.store
        table = pa.concat_tables([pq.read_table(store.place(cell, "features")) for cell in cells])
        labels = {own: int(label or 0) for own, label in zip(source.ids, source.labels, strict=True)}
        return {part: examples(table, labels, self.parts, part) for part in ("train", "val")}

    def _tested(self, source: ImageSource) -> list[str]:
        """Ids of the test images to attack: the same ones for every kind of picture."""
        ids = sorted(own for own, part in self.parts.items() if part == "test")
        if self.settings.limit is not None:
            ids = sorted(shuffled(ids, self.settings.seed, "limit")[: self.settings.limit])
        known = set(source.ids)
        tested = [own for own in ids if own in known]
        if len(tested) < 2:
            raise DataError(f"{source.name} leaves {len(tested)} of {len(ids)} test images; at least two are needed.")
        return tested

    def _gallery(self, one: Done) -> tuple[list[Cell], list[Mapping[str, Any]]]:
        work, settings, attacks = self.run, self.settings, one.attacks
        rows = pq.read_table(work.store.folder / "rows.parquet")
        ids = choose(rows, attacks.condition, attacks.source, settings.gallery)
        drawn = Pictures(attacks=attacks, layers=settings.layers, last_first=settings.layer_order == "last_first")
        heads = _cards(attacks.models)
        cells = [
            work.cell("gallery", ids=(own,), number=at, condition=attacks.condition, heads=heads)
            for at, own in enumerate(ids)
        ]
        reader = attacks.models[attacks.source].classifier
        notes = work.do(
            cells, lambda cell: work.batch(cell, drawn.fill, reader), main="gallery", what="images of the gallery"
        )
        return cells, list(notes)


def _bodies(settings: Chakraborty2022) -> dict[str, Classifier]:
    """Every model by name, all shown images of one size unless each is to have its own."""
    found = {}
    for place, name in enumerate(settings.chosen):
        size = None if settings.native else settings.input_size
        body = load(name, weights=settings.weights_of(place), device=settings.device, input_size=size)
        if size is not None:
            body.preprocessing = _common(body.preprocessing, size)
        found[name] = body
    return found


def _common(own: Preprocessing, size: Pixels) -> Preprocessing:
    """The largest part about the centre, at this size, for every model alike; each keeps its normalisation."""
    return replace(own, resize=size, crop=size, interpolation="bicubic", fit="cover")


def last_layer(classifier: Classifier, images: torch.Tensor) -> Layer:
    """The last block, or convolution outside all blocks, for images of this size."""
    layers = classifier.layers((images.shape[2], images.shape[3]))
    return select(layers, "trunk", classifier.name)[-1]


def _cards(models: Mapping[str, Seen]) -> dict[str, Any]:
    return {name: seen.classifier.card() for name, seen in models.items()}
