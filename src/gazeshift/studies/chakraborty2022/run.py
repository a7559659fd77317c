"""One run of the study of Chakraborty et al. 2022: features, heads, attacks, galleries; for each kind of picture."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.utils.data import TensorDataset

from gazeshift.data import ImageSource, replace_file
from gazeshift.errors import DataError
from gazeshift.manifest import CheckEntry, ImagesEntry
from gazeshift.models import Classifier, Pixels, Preprocessing, load, select
from gazeshift.records import Batch, Layer
from gazeshift.runs.examples import SetSource, fitted
from gazeshift.runs.open import check_first, first_images
from gazeshift.runs.reopen import Reopened
from gazeshift.runs.run import Run
from gazeshift.runs.store import Cell, CellResult, fingerprint
from gazeshift.runs.training import History, Schedule
from gazeshift.studies.chakraborty2022.collection import draw_classes, open_collection, shuffled
from gazeshift.studies.chakraborty2022.heads import (
    epoch_rows,
    examples,
    feature_model,
    feature_rows,
    headed,
    split,
    train_head,
)
from gazeshift.studies.chakraborty2022.manifest import ChakrabortyManifest, ConditionEntry, HeadEntry, SplitEntry
from gazeshift.studies.chakraborty2022.pictures import GalleryPictures, choose, shown
from gazeshift.studies.chakraborty2022.rows import UNIT, Attacks, ChakrabortyNotes, HeadedModel
from gazeshift.studies.chakraborty2022.settings import Chakraborty2022
from gazeshift.studies.chakraborty2022.summary import accuracies, cost_of, split_table, unrelated

PIECE = 32  # images whose features a killed run computes again


def run(settings: Chakraborty2022, out: Path, **how: Any) -> Path:
    """Do what is missing, and write the manifest; `how` as of `Run`."""
    study = ChakrabortyCells(settings, out, **how)
    for name, body in study.bodies.items():
        if name != settings.attacked:
            check_first(body, study.unlabelled, min(4, settings.batch_size))
    study.run.open()
    for name in study.sources:
        study.condition(name)
    return study.finish()


class ChakrabortyCells(Reopened):
    """A run of the study, with what its settings name.

    Args:
        settings: of the study.
        out: its folder.
        how: as of `Run`.
    """

    def __init__(self, settings: Chakraborty2022, out: Path, **how: Any) -> None:
        self.recipe, self.settings = (ChakrabortyCells, (settings, out)), settings
        self.bodies = _bodies(settings)
        first = self.bodies[settings.attacked]
        whole = open_collection(
            settings.images, labels=settings.labels, class_names=first.class_names, wnids=first.wnids
        )
        self.collection = draw_classes(
            whole, classes=settings.class_count, images=settings.images_per_class, seed=settings.seed
        )
        self.parts = split(self.collection, settings.seed)
        self.sources = {"raw": self.collection.source}
        if self.collection.aligned is not None:
            self.sources["aligned"] = self.collection.aligned
        source = self.collection.source
        self.unlabelled = replace(source, labels=(None,) * len(source))  # the bodies know other classes
        self.run = Run("chakraborty2022", 1, settings, out, classifier=first, source=source, **how)
        self.run.first = first_images(first, self.unlabelled, min(16, settings.batch_size))
        self.cells: list[Cell] = []
        self.notes: list[ChakrabortyNotes] = []
        self.conditions: dict[str, ConditionEntry] = {}
        self.trained: dict[str, dict[str, tuple[HeadedModel, History]]] = {}

    @cached_property
    def last(self) -> dict[str, Layer]:
        """Each body's last layer."""
        return {name: last_layer(body, self.run.first.images) for name, body in self.bodies.items()}

    def condition(self, condition: str) -> None:
        """Everything about one kind of picture but the gallery."""
        work = self.run
        work.source = self.sources[condition]
        for name in self.bodies:
            cells, compute = (
                self._feature_cells(condition, name),
                partial(self.features, condition=condition, name=name),
            )
            self.notes += work.do(cells, compute, main="features", what=f"images, {name}", notes=ChakrabortyNotes)
        trained = self.heads(condition)
        cells = work.cells("attack", ids=self._tested(work.source), condition=condition, heads=self._cards(condition))
        compute = partial(self.attack, condition=condition)
        self.notes += work.do(cells, compute, what="test images", notes=ChakrabortyNotes)
        self.cells += cells
        heads = {name: head_entry(seen, history) for name, (seen, history) in trained.items()}
        self.conditions[condition] = ConditionEntry(tested=sum(len(cell.ids) for cell in cells), heads=heads)

    def finish(self) -> Path:
        """Join the tables, draw the gallery, and write the manifest."""
        work, settings, found = self.run, self.settings, self.collection
        source, aligned = found.source, found.aligned
        work.table(self.cells)
        work.table(self.cells, "maps")
        condition = [*self.conditions][-1]  # aligned faces where there are some, as in the paper
        gallery = self._gallery(condition)
        compute = partial(self.draw, condition=condition)
        what = "images of the gallery"
        self.notes += work.do(gallery, compute, main="gallery", what=what, notes=ChakrabortyNotes)
        work.table(gallery, "gallery")
        trained = [
            (condition, name, history) for condition, own in self.trained.items() for name, (_, history) in own.items()
        ]
        self._write("unrelated", unrelated(pq.read_table(work.store.folder / "maps.parquet"), work.size))
        self._write(
            "training",
            pa.concat_tables([epoch_rows(history, condition=kind, model=name) for kind, name, history in trained]),
        )
        self._write("split", split_table(found, self.parts))
        models = self.attacks(condition).models
        work.source, work.classifier = source, models[settings.attacked].classifier
        unread = {skip.id: skip for note in self.notes for skip in note.skipped}  # every model's cells note it
        return work.finish(
            self.notes,
            ChakrabortyManifest,
            unit=UNIT[settings.range],
            cost=cost_of(models, self.notes, work.first.images),
            models=self._cards(condition),
            conditions=self.conditions,
            class_names=found.names,
            parts=SplitEntry(**Counter(self.parts.values())),
            without_landmarks=() if aligned is None else aligned.skipped,
            images=ImagesEntry(
                source=source.name,
                kind=source.kind,
                asked=len(source) + len(source.skipped),
                used=len(source) - len(unread),
                labels="given",
                skipped=(*source.skipped, *unread.values()),
            ),
            preflight=[
                *accuracies(self.conditions),
                *(
                    CheckEntry(check="checkpoint", level="note", detail=f"{name}, {kind}: {note}")
                    for kind, name, history in trained
                    for note in history.notes
                ),
            ],
            attacked=settings.attacked,
            levels=settings.levels,
        )

    def _write(self, name: str, table: pa.Table) -> None:
        path = self.run.store.folder / f"{name}.parquet"
        replace_file(path, partial(pq.write_table, table, compression="zstd"))

    def features(self, cell: Cell, *, condition: str, name: str) -> CellResult:
        """A cell of images as a body sees them."""
        model = feature_model(self.bodies[name], self.last[name])
        with self.run.reading(cell, classifier=model, source=self.sources[condition]) as images:
            table = feature_rows(model, images.batch)
        notes = ChakrabortyNotes(by_model={name: (len(images.batch.ids), 0)})
        return images.noted(CellResult({"features": table}, notes))

    def attack(self, cell: Cell, *, condition: str) -> CellResult:
        """A cell of test images, attacked and shown to every model."""
        return self._read(cell, condition, self.attacks(condition).fill)

    def draw(self, cell: Cell, *, condition: str) -> CellResult:
        """An image of the gallery."""
        return self._read(cell, condition, GalleryPictures(self.attacks(condition)).fill)

    def _read(self, cell: Cell, condition: str, fill: Callable[[Batch], CellResult]) -> CellResult:
        """Images as the attacked model takes them."""
        reader = self.attacks(condition).models[self.settings.attacked].classifier
        with self.run.reading(cell, classifier=reader, source=self.sources[condition]) as images:
            result = fill(images.batch)
        return images.noted(result)

    def attacks(self, condition: str) -> Attacks:
        """Every model with its head, and how it is attacked."""
        return Attacks(condition, {name: seen for name, (seen, _) in self.heads(condition).items()}, self.settings)

    def heads(self, condition: str) -> dict[str, tuple[HeadedModel, History]]:
        """Every body with the head trained on its features, or read back if that is done."""
        if condition not in self.trained:
            self.trained[condition] = {
                name: self._head(condition, place, name) for place, name in enumerate(self.bodies)
            }
        return self.trained[condition]

    def _feature_cells(self, condition: str, name: str) -> list[Cell]:
        source, place = self.sources[condition], [*self.bodies].index(name)
        return self.run.cells(
            "features",
            ids=source.ids,
            size=PIECE,
            first=place * -(-len(source) // PIECE),
            condition=condition,
            body=self.bodies[name].card(),
            layer=self.last[name].name,
        )

    def _head(self, condition: str, place: int, name: str) -> tuple[HeadedModel, History]:
        work, settings, source = self.run, self.settings, self.sources[condition]
        cells = self._feature_cells(condition, name)
        schedule = Schedule(epochs=settings.epochs, learning_rate=settings.learning_rate, seed=settings.seed)
        identity = fingerprint([[cell.key for cell in cells], self.parts, source.labels, str(schedule)])
        slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[-60:]
        head, history = train_head(
            self._examples(cells, source),
            classes=len(self.collection.names),
            dropout=settings.dropout,
            schedule=schedule,
            batch_size=settings.train_batch,
            checkpoint=work.store.folder / "heads" / f"{condition}-{place}-{slug}.safetensors",
            identity=identity,
            progress=work.progress,
        )
        body = self.bodies[name]
        made = headed(body, self.last[name], head, self.collection.names)
        images = fitted(work.first.images, body.size, "resize")
        return HeadedModel(classifier=made, last=last_layer(made, images)), history

    def _examples(self, cells: Sequence[Cell], source: ImageSource) -> dict[str, TensorDataset]:
        """Features to train on and to choose the epoch by, read back from their cells."""
        store = self.run.store
        table = pa.concat_tables([pq.read_table(store.place(cell, "features")) for cell in cells])
        labels = {own: int(label or 0) for own, label in zip(source.ids, source.labels, strict=True)}
        return {part: examples(table, labels, self.parts, part) for part in ("train", "val")}

    def _tested(self, source: ImageSource | SetSource) -> list[str]:
        """Ids of the test images to attack: the same ones for every kind of picture."""
        ids = sorted(own for own, part in self.parts.items() if part == "test")
        if self.settings.limit is not None:
            ids = sorted(shuffled(ids, self.settings.seed, "limit")[: self.settings.limit])
        known = set(source.ids)
        tested = [own for own in ids if own in known]
        if len(tested) < 2:
            raise DataError(f"{source.name} leaves {len(tested)} of {len(ids)} test images; at least two are needed.")
        return tested

    def _gallery(self, condition: str) -> list[Cell]:
        """A cell for each test image that is shown."""
        rows = pq.read_table(self.run.store.folder / "rows.parquet")
        ids = choose(rows, condition, self.settings.attacked, self.settings.gallery)
        heads = self._cards(condition)
        return [
            self.run.cell("gallery", ids=(own,), number=at, condition=condition, heads=heads)
            for at, own in enumerate(ids)
        ]

    def _cards(self, condition: str) -> Mapping[str, object]:
        return {name: seen.classifier.card() for name, (seen, _) in self.heads(condition).items()}


def head_entry(seen: HeadedModel, history: History) -> HeadEntry:
    """What the manifest says of a head: how it was trained, and where its model's maps are drawn."""
    return HeadEntry(
        weights_sha256=seen.classifier.weights_sha256,
        layer=shown(seen.last.name),
        layer_names=tuple(map(shown, seen.last.names)),
        epochs=len(history.epochs),
        kept=history.kept + 1,
        validation_accuracy=history.epochs[history.kept]["score"],
    )


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
