"""The cells of the two trainings, and what each leaves: epochs, scores, and the detector's maps."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor, nn

from gazeshift.detectors import Normalised, cropped, fresh_detector
from gazeshift.models import Classifier, Preprocessing, select
from gazeshift.pipeline import look
from gazeshift.precision import exact
from gazeshift.runs.notes import CellNotes
from gazeshift.runs.store import Cell, CellResult
from gazeshift.runs.tables import Rows
from gazeshift.runs.training import History, Schedule, Shuffled, train
from gazeshift.studies.ding2022.opened import OpenedSet
from gazeshift.studies.ding2022.pictures import GALLERY, add, answer, map_picture
from gazeshift.studies.ding2022.plan import SetPlan
from gazeshift.studies.ding2022.training_data import (
    TRAINING,
    Pixels,
    accuracies,
    answers,
    noisy,
    resampled,
    write_pixels,
)

KINDS = ("clean", "attacked", "gaussian", "resampled")
DETECTOR = pa.schema(
    [
        *(("set", pa.string()), ("trained_on", pa.string()), ("epoch", pa.int16()), ("loss", pa.float32())),
        *((f"{kind}_accuracy", pa.float64()) for kind in ("clean", "other")),
        *(("train", pa.int32()), ("validation", pa.int32()), ("kept", pa.bool_())),
    ]
)
SCORES = pa.schema(
    [
        *((name, pa.string()) for name in ("set", "trained_on", "image", "kind")),
        ("score", pa.float64()),
    ]
)


class TrainingNotes(CellNotes):
    """Notes of a training: what is to be said of its checkpoints, and its seconds."""

    checkpoints: tuple[str, ...] = ()
    training_seconds: float = 0.0


@dataclass(frozen=True)
class Trainings:
    """The trainings of one set.

    Args:
        one: the set.
        plan: who learns and who judges.
    """

    one: OpenedSet
    plan: SetPlan

    @cached_property
    def pixels(self) -> Pixels:
        """Of the set; written when first asked for."""
        return write_pixels(self.one.pixels, self.one.source, self.plan.labels)

    def adversarial(self, cell: Cell) -> CellResult:
        """The classifier trained on the adversarial examples of the cell; epoch 0 is what it was before."""
        started = time.monotonic()
        settings, pixels, parts = self.one.settings, self.pixels, self.plan.parts
        place, ids = self.one.classifier.device, parts.train[: cell.inputs["size"]]
        network = Normalised(self.one.classifier).eval()
        before = accuracies(network, pixels, parts.held, place)
        sides = [(own, side) for own in ids for side in ((0, 1) if settings.mix_clean else (1,))]

        def read(places: Sequence[int]) -> tuple[Tensor, Tensor]:
            chosen = [sides[at] for at in places]
            images = torch.cat([pixels.read([own], side) for own, side in chosen])
            return images, pixels.classes([own for own, _ in chosen])

        examples = Shuffled(count=len(sides), batch_size=settings.train_batch, load=read)
        history = self._train(
            network,
            examples,
            cell,
            lambda made: accuracies(made, pixels, parts.held, place),
            epochs=settings.epochs,
            learning_rate=settings.learning_rate,
        )
        rows, epochs = Rows(TRAINING), (before, *history.epochs)
        rows.add(
            len(epochs),
            set=self.one.name,
            size=len(ids),
            epoch=range(len(epochs)),
            loss=[epoch.get("loss") for epoch in epochs],
            clean_accuracy=[epoch["clean"] for epoch in epochs],
            attacked_accuracy=[epoch["attacked"] for epoch in epochs],
            validation=len(parts.held),
            kept=[at == history.kept + 1 for at in range(len(epochs))],
        )
        notes = TrainingNotes(checkpoints=history.notes, training_seconds=time.monotonic() - started)
        return CellResult({"training": rows.table()}, notes)

    def detector(self, cell: Cell) -> CellResult:
        """A network that learned to tell clean images from attacked ones, or from noisy ones; what it says of each."""
        started, settings, kind = time.monotonic(), self.one.settings, cell.inputs["trained_on"]
        model = self.one.classifier
        network = fresh_detector(settings.detector, settings.seed, str(model.device), model.channels)
        learn, judge = self.plan.halves

        def read(places: Sequence[int]) -> tuple[Tensor, Tensor]:
            chosen = [(learn[at // 2], at % 2) for at in places]
            images = torch.cat([self._kind(kind if other else "clean", [own]) for own, other in chosen])
            return images, torch.tensor([other for _, other in chosen])

        def evaluate(made: nn.Module) -> dict[str, float]:
            said = {one: self._scores(made, one, judge) > 0.5 for one in ("clean", kind)}
            right = float((~said["clean"]).float().mean()), float(said[kind].float().mean())
            return {"clean": right[0], "other": right[1], "score": (right[0] + right[1]) / 2}

        examples = Shuffled(count=2 * len(learn), batch_size=settings.train_batch, load=read)
        rate = settings.detector_learning_rate or settings.learning_rate
        history = self._train(network, examples, cell, evaluate, epochs=settings.detector_epochs, learning_rate=rate)
        tables = {
            "detector": self._epochs(history, kind, len(learn), len(judge)),
            "scores": self._judged(network, kind, judge),
            "maps2": self._maps(network, self.plan.shown if kind == "attacked" else ()),
        }
        return CellResult(tables, TrainingNotes(checkpoints=history.notes, training_seconds=time.monotonic() - started))

    def _train(
        self,
        network: nn.Module,
        examples: Shuffled,
        cell: Cell,
        evaluate: Callable[[nn.Module], Any],
        *,
        epochs: int,
        learning_rate: float,
    ) -> History:
        settings, place = self.one.settings, checkpoint(self.one.scratch, cell)
        place.parent.mkdir(parents=True, exist_ok=True)
        return train(
            network,
            examples,
            schedule=Schedule(
                epochs=epochs,
                learning_rate=learning_rate,
                patience=settings.patience,
                keep="last",
                seed=settings.seed,
            ),
            evaluate=evaluate,
            checkpoint=place,
            identity=cell.key,
            progress=self.one.work.progress,
        )

    def _kind(self, kind: str, ids: Sequence[str]) -> Tensor:
        """Images of one kind, as the detector sees them."""
        pixels = self.pixels
        if kind == "attacked":
            return cropped(pixels.read(ids, 1), self.one.settings.detector_side)
        images = pixels.read(ids, 0)
        if kind == "gaussian":
            images = noisy(images, pixels.read(ids, 1), ids, self.one.settings.seed)
        return cropped(resampled(images) if kind == "resampled" else images, self.one.settings.detector_side)

    def _scores(self, network: nn.Module, kind: str, ids: Sequence[str]) -> Tensor:
        """The network's probability of "not clean" for each image of one kind."""
        logits = answers(network, partial(self._kind, kind), ids, self.one.classifier.device)
        return exact(logits).softmax(1)[:, 1]

    def _epochs(self, history: History, kind: str, learned: int, judged: int) -> pa.Table:
        rows, epochs = Rows(DETECTOR), history.epochs
        rows.add(
            len(epochs),
            set=self.one.name,
            trained_on=kind,
            epoch=range(1, 1 + len(epochs)),
            loss=[epoch["loss"] for epoch in epochs],
            clean_accuracy=[epoch["clean"] for epoch in epochs],
            other_accuracy=[epoch["other"] for epoch in epochs],
            train=learned,
            validation=judged,
            kept=[at == history.kept for at in range(len(epochs))],
        )
        return rows.table()

    def _judged(self, network: nn.Module, trained_on: str, ids: Sequence[str]) -> pa.Table:
        rows = Rows(SCORES)
        for kind in KINDS:
            found = self._scores(network, kind, ids)
            rows.add(len(ids), set=self.one.name, trained_on=trained_on, image=list(ids), kind=kind, score=found)
        return rows.table()

    def _maps(self, network: nn.Module, ids: Sequence[str]) -> pa.Table:
        """CAM of the two-class network on both sides of the images shown."""
        rows = Rows(GALLERY)
        made = Classifier(
            network, name="detector", preprocessing=Preprocessing(), class_names=("clean", "adversarial"), own=False
        )
        for own in ids:
            for side in ("clean", "attacked"):
                images = self._kind(side, [own]).to(made.device)
                layer = select(made.layers((images.shape[2], images.shape[3])), "trunk", "detector")[-1]
                seen = look(made, images, layers=layer.name, cams="cam")
                picture = map_picture(images[0], seen.maps(layer.name, "cam")[0])
                keys = {"set": self.one.name, "image": own, "kind": f"detector_{side}_cam"}
                add(rows, picture, **keys, **answer(seen.logits[0], made))
        return rows.table()


def checkpoint(folder: Path, cell: Cell) -> Path:
    """Where a cell's training keeps its state while it is not finished."""
    return folder / f"{cell.key}.safetensors"
