"""The rows of one cell of the deviation study: a batch, its attacks, their strengths, and where the gaze went."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import pyarrow as pa
import torch
from torch import Tensor

from gazeshift import pictures
from gazeshift.cams import DrawsMap
from gazeshift.manifest import LayerEntry, UndefinedMaps
from gazeshift.measures import MapMeasure
from gazeshift.measures.cosine import Cosine
from gazeshift.measures.psnr import Psnr
from gazeshift.models import Classifier
from gazeshift.pipeline import attack, compare, look, rows_of
from gazeshift.records import Attacked, Batch, Comparison, Evidence, Layer
from gazeshift.runs.notes import CellNotes
from gazeshift.runs.tables import GALLERY, IMAGES, ROWS, Rows, add_comparison, add_images, add_maps, add_picture
from gazeshift.seeds import generator_for
from gazeshift.transforms.matched_noise import MatchedNoise
from gazeshift.transforms.strength import Strengths

KINDS = ("attacked", "noise")
TARGETS = ("predicted", "reference")
NOWHERE = "cam is defined only where average pooling and one linear layer follow"


class Settings(Protocol):
    """What a cell asks of a study's settings."""

    @property
    def seed(self) -> int:
        """Everything random follows from it."""

    @property
    def score(self) -> str:
        """What the maps explain."""

    @property
    def batch_size(self) -> int:
        """Images side by side."""


@dataclass(frozen=True)
class DeviationInputs:
    """A study's settings with everything that they name, opened.

    Args:
        measures: of two maps, by name; the first for every CAM, the others, which cost as much, for the first CAM.
    """

    settings: Settings
    classifier: Classifier
    attacks: Mapping[str, Callable[..., Tensor]]
    cams: Mapping[str, DrawsMap]
    strengths: Strengths
    layers: tuple[Layer, ...]
    measures: Mapping[str, MapMeasure] = field(default_factory=lambda: {"cosine": Cosine()})

    @property
    def shown_strength(self) -> float:
        """The strength that the gallery shows: the attack as it was made, or the nearest to it."""
        return min(self.strengths.values, key=lambda strength: abs(strength - 1))

    @property
    def order(self) -> dict[str, int]:
        """Layer name to its place in the forward pass."""
        return {layer.name: at for at, layer in enumerate(self.layers)}


@dataclass(frozen=True, kw_only=True)
class RowCondition:
    """What the rows of one changed batch have in common; as columns of the tables."""

    attack: str
    epsilon: float | None
    strength: float
    kind: str


class DeviationCell:
    """The tables of one cell while they are filled.

    Args:
        run: the study.
        batch: the cell's images.
        shown: places in the batch of images that the gallery may show.
    """

    def __init__(self, run: DeviationInputs, batch: Batch, shown: Sequence[int]) -> None:
        self.run, self.batch, self.shown = run, batch, list(shown)
        self.rows, self.images, self.gallery = Rows(ROWS), Rows(IMAGES), Rows(GALLERY)
        self.undefined: list[UndefinedMaps] = []
        self.nowhere: set[tuple[str, str]] = set()
        self.poles = self.right = 0

    def tables(self) -> dict[str, pa.Table]:
        """The cell's tables, empty where it has no images."""
        return {"rows": self.rows.table(), "images": self.images.table(), "gallery": self.gallery.table()}

    def notes(self, **more: int) -> CellNotes:
        """What the cell notes; `more` of what it counts."""
        return CellNotes(undefined=tuple(self.undefined), poles=self.poles, **more)

    def fill(self, found: Attacked | None = None, origin: Tensor | None = None) -> None:
        """Rows of the clean images, and of every attack on them.

        Args:
            found: what the only attack made of them, if it is known already.
            origin: the images that its change is taken from and added to; the clean ones if None.
        """
        device = self.run.classifier.device
        self.clean = self._look(self.batch.images.to(device))
        self.labels = self.clean.predicted if self.batch.labels is None else self.batch.labels.to(device)
        self.right = int((self.clean.predicted == self.labels).sum())
        self._drop_undefined(self.clean)
        for at in self.shown:
            self._show(self.clean, at, attack="", kind="clean", target="predicted", fooled=False)
        for name, made in self.run.attacks.items():
            draws = self._generators(name)
            own = found or attack(self.run.classifier, self.clean.images, self.labels, by=made, generator=draws)
            self._follow(name, made, own, own.clean if origin is None else origin)

    def _follow(self, name: str, made: Callable[..., Tensor], found: Attacked, origin: Tensor) -> None:
        """Rows of one attack and its matched noise at every strength; `origin` as of `fill`."""
        change = found.images - origin
        noise = MatchedNoise()(change, generator=self._generators("noise", name))
        conditions, pictures = [], []
        for strength, *changed in self.run.strengths(origin, change, noise):
            for kind, picture in zip(KINDS, changed, strict=True):
                epsilon = getattr(made, "epsilon", None)
                conditions.append(RowCondition(attack=name, epsilon=epsilon, strength=strength, kind=kind))
                pictures.append(picture)
        seen = self._look(torch.cat(pictures))
        step = len(origin)
        evidences = [rows_of(seen, slice(at, at + step)) for at in range(0, len(seen.images), step)]
        predicted = [self._compare(self.clean, evidence) for evidence in evidences]
        reference = self._references(evidences, predicted)
        for condition, evidence, *comparisons in zip(conditions, evidences, predicted, reference, strict=True):
            self._condition(found, evidence, comparisons, condition)

    def _condition(
        self, found: Attacked, evidence: Evidence, comparisons: Sequence[Comparison], condition: RowCondition
    ) -> None:
        """Rows of one attack at one strength, or of its noise; and what the gallery shows of it."""
        changed = evidence.images
        judged = Attacked(**(vars(found) | {"images": changed, "logits": evidence.logits}))
        psnr = Psnr()(found.clean, changed)
        add_images(self.images, self.batch.ids, judged, self.run.classifier.class_name, psnr, **vars(condition))
        shared = vars(condition) | {
            "label": self.labels,
            "fooled": found.success,
            "clean_correct": found.clean_correct,
        }
        for target, comparison in zip(TARGETS, comparisons, strict=True):
            self._note_undefined(comparison, condition.kind, target)
            order, ids = self.run.order, self.batch.ids
            add_comparison(self.rows, comparison, order, ids, leave_out=self.nowhere, target=target, **shared)
        for at in self.shown if condition.strength == self.run.shown_strength else ():
            keys = {"attack": condition.attack, "target": "predicted", "fooled": bool(found.success[at])}
            self._show(evidence, at, kind=condition.kind, **keys)
            if condition.kind == "attacked":
                picture = pictures.perturbation_picture(judged.perturbation[at])
                name = self.batch.ids[at]
                add_picture(self.gallery, pictures.encode_webp(picture), image=name, kind="perturbation", **keys)

    def _references(self, evidences: Sequence[Evidence], predicted: Sequence[Comparison]) -> list[Comparison]:
        """The same comparisons for the clean image's class: new maps only where the class switched."""
        switched = [found.switched.nonzero()[:, 0] for found in predicted]
        at = torch.cat(switched)
        if not len(at):
            return list(predicted)
        images = torch.cat([one.images[part] for one, part in zip(evidences, switched, strict=True)])
        part = rows_of(self.clean, at)
        again = self._compare(part, self._look(images, target=part.predicted))
        ends = torch.tensor([len(one) for one in switched]).cumsum(0).tolist()
        found = []
        for before, places, end in zip(predicted, switched, ends, strict=True):
            new = slice(end - len(places), end)
            values = {
                key: {
                    name: measured.index_copy(0, places, again.values[key][name][new]) for name, measured in of.items()
                }
                for key, of in before.values.items()
            }
            blank = {key: of.index_copy(0, places, again.blank[key][new]) for key, of in before.blank.items()}
            found.append(Comparison(values=values, blank=blank, switched=before.switched))
        return found

    def _compare(self, clean: Evidence, changed: Evidence) -> Comparison:
        """The first measure, of every map; the others, which would cost as much again, of the first CAM's."""
        name, *others = self.run.measures
        found = compare(clean, changed, measures={name: self.run.measures[name]})
        more = {other: self.run.measures[other] for other in others}
        first = compare(clean, changed, measures=more, cams=clean.cams[:1]).values if more else {}
        return replace(found, values={key: {**of, **first.get(key, {})} for key, of in found.values.items()})

    def _look(self, images: Tensor, target: Tensor | None = None) -> Evidence:
        """Maps of any number of images, the settings' batch size at a time."""
        run, names = self.run, [layer.name for layer in self.run.layers]
        draw = partial(look, run.classifier, layers=names, cams=run.cams, score=run.settings.score)
        pieces = torch.split(images, run.settings.batch_size)
        targets = [None] * len(pieces) if target is None else torch.split(target, run.settings.batch_size)
        found = [draw(piece, target=own) for piece, own in zip(pieces, targets, strict=True)]
        self.poles += int(sum(trace.poles.sum() for evidence in found for trace in evidence.traces.values()))
        return _joined(found)

    def _note_undefined(self, comparison: Comparison, kind: str, target: str) -> None:
        """Count maps with nothing to compare: blank (no positive value) or not finite."""
        for (layer, cam), found in comparison.values.items():
            if (layer, cam) in self.nowhere:
                continue
            for reason, bad in (
                ("blank: no positive value", comparison.blank[layer, cam] > 0),
                *[("not finite", values.isnan()) for values in found.values()][:1],
            ):
                if bad.any():
                    self._note(layer, cam, f"{kind}, {target} class", int(bad.sum()), reason)

    def _drop_undefined(self, evidence: Evidence) -> None:
        """Note CAMs that a layer does not define for any image: their rows would all be empty."""
        for layer in evidence.layers:
            for cam in evidence.cams:
                if evidence.maps(layer, cam).isnan().all():
                    self.nowhere.add((layer, cam))
                    self._note(layer, cam, "all", len(self.batch.ids), NOWHERE)

    def _note(self, layer: str, cam: str, kind: str, count: int, reason: str) -> None:
        entry = UndefinedMaps(cam=cam, layer=layer, kind=kind, count=count, of=len(self.batch.ids), reason=reason)
        self.undefined.append(entry)

    def _show(self, evidence: Evidence, at: int, **condition: Any) -> None:
        keys = {"image": self.batch.ids[at], **condition}
        add_picture(self.gallery, pictures.encode_webp(pictures.photograph(evidence.images[at])), **keys)
        add_maps(self.gallery, evidence, at, self.run.order, **keys)

    def _generators(self, *names: str) -> list[torch.Generator]:
        return [generator_for(self.run.settings.seed, *names, image) for image in self.batch.ids]


def _joined(evidences: Sequence[Evidence]) -> Evidence:
    """Evidence of several batches as that of one."""
    first = evidences[0]
    if len(evidences) == 1:
        return first
    traces = {
        name: replace(
            trace,
            maps={cam: torch.cat([one.traces[name].maps[cam] for one in evidences]) for cam in trace.maps},
            poles=torch.cat([one.traces[name].poles for one in evidences]),
            activation=torch.cat([one.traces[name].activation for one in evidences]),
            gradient=torch.cat([one.traces[name].gradient for one in evidences]),
        )
        for name, trace in first.traces.items()
    }
    images, logits, explained = (
        torch.cat([getattr(one, key) for one in evidences]) for key in ("images", "logits", "explained")
    )
    return replace(first, traces=traces, images=images, logits=logits, explained=explained)


def layer_entry(layer: Layer) -> LayerEntry:
    """What a manifest says of a layer."""
    return LayerEntry(
        name=layer.name,
        kind=" ".join(sorted(layer.kinds)) or "module",
        shape=layer.shape,
        aliases=layer.aliases,
        followed_by=layer.followed_by,
    )
