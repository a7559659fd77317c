"""One run of the study of Chakraborty et al. 2022: features, heads, attacks, galleries; for each kind of picture."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from gazeshift.data import ImageSource
from gazeshift.errors import DataError
from gazeshift.models import Classifier, Pixels, Preprocessing, load, select
from gazeshift.records import Batch, Finding, Layer
from gazeshift.runs.examples import SetSource, fitted
from gazeshift.runs.open import check_first, first_images
from gazeshift.runs.reopen import Reopened
from gazeshift.runs.run import Run
from gazeshift.runs.store import Cell, CellResult, fingerprint
from gazeshift.runs.training import History, Schedule
from gazeshift.studies.chakraborty2022.collection import draw_classes, open_collection, shuffled
from gazeshift.studies.chakraborty2022.heads import (
    HeadExamples,
    epoch_rows,
    examples,
    feature_model,
    feature_rows,
    headed,
    split,
    train_head,
)
from gazeshift.studies.chakraborty2022.manifest import ManifestBuilder, head_card, split_table, unrelated, write_table
from gazeshift.studies.chakraborty2022.pictures import GalleryPictures, choose
from gazeshift.studies.chakraborty2022.rows import Attacks, ChakrabortyNotes, HeadedModel
from gazeshift.studies.chakraborty2022.settings import Chakraborty2022

PIECE = 32  # images whose features a killed run computes again
UNIT = {"unit": 1.0, "symmetric": 0.5}


def run(settings: Chakraborty2022, out: Path, **how: Any) -> Path:
    """Do what is missing, and write the manifest; `how` as of `Run`."""
    study = ChakrabortyCells(settings, out, **how)
    for name, body in study.bodies.items():
        if name != settings.attacked:
            check_first(body, study.unlabelled, min(4, settings.batch_size))
    study.run.open()
    return study.finish([study.condition(name) for name in study.sources])


@dataclass(frozen=True, kw_only=True)
class ConditionDone:
    """What one condition left.

    Args:
        condition: its name.
        cells: of the attacked test images.
        notes: of all its cells.
        heads: what the manifest says of each head.
        epochs: of the trainings.
    """

    condition: str
    cells: Sequence[Cell]
    notes: Sequence[ChakrabortyNotes]
    heads: Mapping[str, Any]
    epochs: Sequence[pa.Table]


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
        names = {"class_names": first.class_names, "wnids": first.wnids}
        whole = open_collection(settings.images, labels=settings.labels, names=names)
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
        self.findings: list[Finding] = []
        self.trained: dict[str, dict[str, tuple[HeadedModel, History]]] = {}

    @cached_property
    def last(self) -> dict[str, Layer]:
        """Each body's last layer."""
        return {name: last_layer(body, self.run.first.images) for name, body in self.bodies.items()}

    def condition(self, condition: str) -> ConditionDone:
        """Everything about one kind of picture but the gallery."""
        self.run.source = self.sources[condition]
        notes: list[ChakrabortyNotes] = []
        for name in self.bodies:
            compute = partial(self.features, condition=condition, name=name)
            notes += self.run.do(
                self._feature_cells(condition, name),
                compute,
                main="features",
                what=f"images, {name}",
                notes=ChakrabortyNotes,
            )
        trained = self.heads(condition)
        about: dict[str, Any] = {"condition": condition, "heads": _cards(self.attacks(condition).models)}
        cells = self.run.cells("attack", ids=self._tested(self.run.source), **about)
        notes += self.run.do(
            cells, partial(self.attack, condition=condition), what="test images", notes=ChakrabortyNotes
        )
        return ConditionDone(
            condition=condition,
            cells=cells,
            notes=notes,
            heads={name: head_card(seen, history) for name, (seen, history) in trained.items()},
            epochs=[epoch_rows(history, condition=condition, model=name) for name, (_, history) in trained.items()],
        )

    def finish(self, done: Sequence[ConditionDone]) -> Path:
        """Join the tables, draw the gallery, and write the manifest."""
        work, folder = self.run, self.run.store.folder
        cells = [cell for one in done for cell in one.cells]
        work.table(cells)
        work.table(cells, "maps")
        shown_one = done[-1].condition  # aligned faces where there are some, as in the paper
        gallery, notes = self._gallery(shown_one)
        work.table(gallery, "gallery")
        write_table(folder / "unrelated.parquet", unrelated(pq.read_table(folder / "maps.parquet"), work.size))
        write_table(folder / "training.parquet", pa.concat_tables([table for one in done for table in one.epochs]))
        write_table(folder / "split.parquet", split_table(self.collection, self.parts))
        models = self.attacks(shown_one).models
        work.source, work.classifier = self.collection.source, models[self.settings.attacked].classifier
        every = [note for one in done for note in one.notes] + notes
        told = ManifestBuilder(
            found=self.collection, parts=self.parts, models=models, notes=every, findings=tuple(self.findings)
        )
        tested = {one.condition: sum(len(cell.ids) for cell in one.cells) for one in done}
        heads = {one.condition: one.heads for one in done}
        more = told.entries(tested, heads) | {"attacked": self.settings.attacked, "levels": list(self.settings.levels)}
        return work.finish(every, unit=UNIT[self.settings.range], cost=told.cost(work.first.images), **more)

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
        settings = self.settings
        drawn = GalleryPictures(
            attacks=self.attacks(condition),
            layers=settings.layers,
            last_first=settings.layer_order == "last_first",
        )
        return self._read(cell, condition, drawn.fill)

    def _read(self, cell: Cell, condition: str, fill: Callable[[Batch], CellResult]) -> CellResult:
        """Images as the attacked model takes them."""
        reader = self.attacks(condition).models[self.settings.attacked].classifier
        with self.run.reading(cell, classifier=reader, source=self.sources[condition]) as images:
            result = fill(images.batch)
        return images.noted(result)

    def attacks(self, condition: str) -> Attacks:
        """Every model with its head, and how it is attacked."""
        settings = self.settings
        return Attacks(
            condition=condition,
            models={name: seen for name, (seen, _) in self.heads(condition).items()},
            source=settings.attacked,
            levels=settings.levels,
            unit=UNIT[settings.range],
            seed=settings.seed,
        )

    def heads(self, condition: str) -> dict[str, tuple[HeadedModel, History]]:
        """Every body with the head trained on its features, or read back if that is done."""
        if condition not in self.trained:
            self.trained[condition] = {
                name: self._head(condition, place, name) for place, name in enumerate(self.bodies)
            }
        return self.trained[condition]

    def _feature_cells(self, condition: str, name: str) -> list[Cell]:
        source, place = self.sources[condition], [*self.bodies].index(name)
        about: dict[str, Any] = {
            "condition": condition,
            "body": self.bodies[name].card(),
            "layer": self.last[name].name,
        }
        first = place * -(-len(source) // PIECE)
        return self.run.cells("features", ids=source.ids, size=PIECE, first=first, **about)

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
        said = [f"{name}, {condition}: {note}" for note in history.notes]
        self.findings += [Finding(check="checkpoint", level="note", detail=note) for note in said]
        body = self.bodies[name]
        made = headed(body, self.last[name], head, self.collection.names)
        images = fitted(work.first.images, body.size, "resize")
        return HeadedModel(classifier=made, last=last_layer(made, images)), history

    def _examples(self, cells: Sequence[Cell], source: ImageSource) -> dict[str, HeadExamples]:
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

    def _gallery(self, condition: str) -> tuple[list[Cell], list[ChakrabortyNotes]]:
        work, attacks = self.run, self.attacks(condition)
        rows = pq.read_table(work.store.folder / "rows.parquet")
        ids = choose(rows, condition, attacks.source, self.settings.gallery)
        heads = _cards(attacks.models)
        cells = [
            work.cell("gallery", ids=(own,), number=at, condition=condition, heads=heads) for at, own in enumerate(ids)
        ]
        compute = partial(self.draw, condition=condition)
        notes = work.do(cells, compute, main="gallery", what="images of the gallery", notes=ChakrabortyNotes)
        return cells, notes


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


def _cards(models: Mapping[str, HeadedModel]) -> dict[str, Any]:
    return {name: seen.classifier.card() for name, seen in models.items()}
