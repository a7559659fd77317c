"""The rows of one cell of the study of Chakraborty et al. 2022: test images, attacked and shown to every model."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from gazeshift.attacks.fgsm import Fgsm
from gazeshift.measures.psnr import Psnr
from gazeshift.models import Classifier, Passes
from gazeshift.pipeline import compare, look, rows_of
from gazeshift.records import Batch, Evidence, Layer
from gazeshift.runs.examples import fitted
from gazeshift.runs.notes import CellNotes
from gazeshift.runs.store import CellResult
from gazeshift.runs.tables import Rows
from gazeshift.seeds import generator_for
from gazeshift.studies.chakraborty2022.settings import Chakraborty2022

UNIT = {"unit": 1.0, "symmetric": 0.5}
ACCESS = ("black_box", "white_box", "random")
ROWS = pa.schema(
    [
        *((name, pa.string()) for name in ("condition", "image", "model", "access")),
        ("epsilon", pa.float64()),
        ("target", pa.string()),
        *((name, pa.int32()) for name in ("label", "clean_class", "changed_class")),
        ("confidence", pa.float32()),
        *((name, pa.bool_()) for name in ("clean_correct", "correct", "switched")),
        *((name, pa.float32()) for name in ("nissim", "ssim")),
        ("blank", pa.int8()),
        ("psnr", pa.float32()),
    ]
)
MAPS = pa.schema(
    [
        *((name, pa.string()) for name in ("condition", "image", "model")),
        *((name, pa.int16()) for name in ("height", "width")),
        ("map", pa.list_(pa.float32())),
    ]
)


class ChakrabortyNotes(CellNotes):
    """Notes of a cell, and the forward and backward passes of each model."""

    by_model: dict[str, tuple[int, int]] = Field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class HeadedModel:
    """A classifier with its new head.

    Args:
        classifier: it.
        last: the layer whose Grad-CAM is measured.
    """

    classifier: Classifier
    last: Layer

    def look(self, images: Tensor, target: Tensor | None = None) -> Evidence:
        """Grad-CAM of the last layer, of the logit."""
        return look(self.classifier, images, layers=self.last.name, target=target)


@dataclass(frozen=True)
class Attacks:
    """What every cell of one condition needs.

    Args:
        condition: ``raw`` or ``aligned``.
        models: with their new heads, by name.
        settings: of the study.
    """

    condition: str
    models: Mapping[str, HeadedModel]
    settings: Chakraborty2022

    @property
    def source(self) -> str:
        """Whom the black-box attack is made on."""
        return self.settings.attacked

    @property
    def unit(self) -> float:
        """What a size of 1 is in images in [0, 1]."""
        return UNIT[self.settings.range]

    def fill(self, batch: Batch) -> CellResult:
        """Tables and notes of a batch of test images, read for the source model."""
        rows, maps = Rows(ROWS), Rows(MAPS)
        with ExitStack() as stack:
            passes = {name: stack.enter_context(seen.classifier.counting()) for name, seen in self.models.items()}
            if batch.ids:
                self._fill(batch, rows, maps)
        by_model = {name: (own.forwards, len(batch.ids)) for name, own in passes.items()}
        return CellResult({"rows": rows.table(), "maps": maps.table()}, notes_of(passes, by_model))

    def _fill(self, batch: Batch, rows: Rows, maps: Rows) -> None:
        images, labels = batch.images, batch.labels
        assert labels is not None  # noqa: S101  # a collection has labels
        step = direction(self.models[self.source].classifier, images, labels)
        signs = random_signs(images, [generator_for(self.settings.seed, "random", own) for own in batch.ids])
        for name, seen in self.models.items():
            own = fitted(images, seen.classifier.size, "resize")
            clean = seen.look(own)
            keys: dict[str, object] = {"condition": self.condition, "image": list(batch.ids), "model": name}
            _add_clean(rows, clean, labels, **keys)
            _add_maps(maps, clean.maps(seen.last.name).cpu(), **keys)
            steps = {"black_box": (images, step), "random": (images, signs)}
            if name != self.source:
                steps["white_box"] = (own, direction(seen.classifier, own, labels))
            for access, (base, towards) in steps.items():
                for level in self.settings.levels:
                    changed = moved(base, towards, level * self.unit)
                    about = {"access": access, "epsilon": level, "psnr": Psnr()(base, changed)}
                    evidence = seen.look(fitted(changed, (own.shape[2], own.shape[3]), "resize"))
                    self._compare(rows, seen, (clean, evidence), labels=labels, **keys | about)

    def _compare(self, rows: Rows, seen: HeadedModel, pair: tuple[Evidence, Evidence], **keys: Any) -> None:
        """Rows of one change, for each image's own class and for the clean image's.

        What was made on the source is a black-box attack on all models, and on the source a white-box one as well.
        """
        clean, changed = pair
        is_both = keys["model"] == self.source and keys["access"] == "black_box"
        for target, nissim, blank in targets(seen, clean, changed):
            for access in ("black_box", "white_box") if is_both else (keys["access"],):
                own = keys | {"access": access, "target": target}
                _add(rows, clean, changed, nissim=nissim, blank=blank, **own)


def direction(
    classifier: Classifier, images: Float[Tensor, "n channels h w"], labels: Int[Tensor, " n"]
) -> Float[Tensor, "n channels h w"]:
    """Where FGSM steps, of any size: -1, 0 or 1 for each value, from one backward pass.

    It is read off a step of size 1, which ends at 0 or 1. A value that is there already shows no step; clipping undoes
    a step of any size at such a value, so that `moved` gives what `Fgsm` gives, bit for bit.
    """
    images = images.to(classifier.device)
    far = Fgsm(epsilon=1.0)(classifier, images, labels.to(classifier.device), generator=torch.Generator())
    return (far - images).sign().cpu()


def moved(
    images: Float[Tensor, "n channels h w"], towards: Float[Tensor, "n channels h w"], size: float
) -> Float[Tensor, "n channels h w"]:
    """The images after a step of this size, clipped to [0, 1]."""
    return torch.add(images, towards, alpha=size).clamp_(0, 1)


def random_signs(
    images: Float[Tensor, "n channels h w"], draws: list[torch.Generator]
) -> Float[Tensor, "n channels h w"]:
    """-1 or 1 for each value, from each image's own generator."""
    signs = [torch.randint(0, 2, tuple(images.shape[1:]), generator=draw) * 2.0 - 1 for draw in draws]
    return torch.stack(signs)


def targets(seen: HeadedModel, clean: Evidence, changed: Evidence) -> Iterator[tuple[str, Tensor, Tensor]]:
    """NISSIM and blank codes per image: for each image's own class, then for the clean image's on both sides."""
    comparison = compare(clean, changed, measures="nissim")
    (key,) = comparison.values
    nissim, blank = comparison.values[key]["nissim"], comparison.blank[key]
    yield "predicted", nissim, blank
    at = comparison.switched.nonzero()[:, 0]
    if len(at):
        part = rows_of(clean, at)
        again = compare(part, seen.look(changed.images[at], target=part.predicted), measures="nissim")
        nissim = nissim.index_copy(0, at, again.values[key]["nissim"])
        blank = blank.index_copy(0, at, again.blank[key])
    yield "reference", nissim, blank


def _add(rows: Rows, clean: Evidence, changed: Evidence, *, labels: Tensor, nissim: Tensor, **keys: Any) -> None:
    labels = labels.to(clean.logits.device)
    sure = changed.logits.softmax(1).amax(1)
    rows.add(
        len(labels),
        label=labels,
        clean_class=clean.predicted,
        changed_class=changed.predicted,
        confidence=sure,
        clean_correct=clean.predicted == labels,
        correct=changed.predicted == labels,
        switched=clean.predicted != changed.predicted,
        nissim=nissim,
        ssim=1 - 2 * nissim,
        **keys,
    )


def _add_clean(rows: Rows, clean: Evidence, labels: Tensor, **keys: Any) -> None:
    """Rows of epsilon 0: the clean images beside themselves."""
    nothing, alike = torch.zeros(len(labels)), torch.full((len(labels),), torch.inf)
    blank = 3 * (next(iter(clean.traces.values())).maps["grad_cam"].amax((1, 2)) <= 0).int()
    own = {"access": "clean", "epsilon": 0.0, "target": "predicted", "blank": blank, "psnr": alike}
    _add(rows, clean, clean, labels=labels, nissim=nothing, **keys, **own)


def _add_maps(maps: Rows, found: Tensor, **keys: Any) -> None:
    """The clean maps as they are, to compare those of different images."""
    flat = list(found.flatten(1).numpy())
    maps.add(len(found), height=found.shape[1], width=found.shape[2], map=flat, **keys)


def notes_of(passes: Mapping[str, Passes], by_model: dict[str, tuple[int, int]]) -> ChakrabortyNotes:
    """What a cell notes of the passes of all models."""
    return ChakrabortyNotes(
        forwards=sum(own.forwards for own in passes.values()),
        backwards=sum(own.backwards for own in passes.values()),
        by_model=by_model,
    )
