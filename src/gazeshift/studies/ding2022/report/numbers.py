"""The numbers of the study of Ding et al. 2022, worked out from its tables."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isnan
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float

from gazeshift.report.cells import records, tuples
from gazeshift.report.roc import auroc
from gazeshift.report.similarity import mean
from gazeshift.report.study import Study
from gazeshift.studies.ding2022.manifest import DingManifest, DingSetEntry

SIDES = ("clean", "attacked")
PIXELS, MENDED = ("roi", "outside"), ("mask", "enlarge_sensitive", "enlarge_insensitive")
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Change:
    """The model's answer to an image before and after a change of its pixels, or of the model."""

    image: str
    experiment: str
    side: str
    value: float | None
    draw: int | None
    label: int
    label_name: str
    before_class: int
    before_name: str
    before_confidence: float
    after_class: int
    after_name: str
    after_confidence: float

    def answer(self, when: str) -> tuple[str, float]:
        """Top-1 name and its confidence, ``before`` or ``after``."""
        if when == "before":
            return self.before_name, self.before_confidence
        return self.after_name, self.after_confidence

    @property
    def stayed(self) -> bool:
        """Whether the top-1 label is the same."""
        return self.before_class == self.after_class

    @property
    def points(self) -> float:
        """Change of the top-1 confidence in percentage points."""
        return 100 * (self.after_confidence - self.before_confidence)


@dataclass(frozen=True)
class FeatureMap:
    """How far a feature map moves: `rmse`, `relative` to its layer; `dead` if it is zero throughout."""

    layer: str
    layer_index: int
    channel: int
    rmse: float
    relative: float
    dead: bool

    @property
    def name(self) -> str:
        """Layer and channel."""
        return f"{self.layer}_{self.channel}"


@dataclass(frozen=True)
class Epoch:
    """An epoch of adversarial training on `size` examples; epoch 0 is what was before."""

    size: int
    epoch: int
    loss: float | None
    clean_accuracy: float
    attacked_accuracy: float
    validation: int
    kept: bool

    def accuracy(self, side: str) -> float:
        """Share of clean or of attacked images that are classified right."""
        return self.clean_accuracy if side == "clean" else self.attacked_accuracy


@dataclass(frozen=True)
class Training:
    """An adversarial training, with its epochs."""

    size: int
    epochs: Sequence[Epoch]

    @property
    def before(self) -> Epoch:
        """What was before."""
        return self.epochs[0]

    @property
    def after(self) -> Epoch:
        """The epoch that was kept."""
        return next(epoch for epoch in self.epochs if epoch.kept)


@dataclass(frozen=True)
class DetectorEpoch:
    """An epoch of a detector: what it was trained on, on how many images of each side, and its loss."""

    trained_on: str
    train: int
    loss: float
    kept: bool


@dataclass(frozen=True)
class Detected:
    """What a detector gets right of clean images and of the others, its AUC, and that of its hard labels."""

    clean: float
    other: float
    auc_scores: float
    auc_hard: float
    n: int


@dataclass(frozen=True)
class Shown:
    """A picture of the gallery: a side of an image or what was drawn of it, and the model's answer."""

    image: str
    kind: str
    map: str
    name: str
    confidence: float | None
    picture: bytes


def change_statistic(changes: Iterable[Change]) -> float:
    """Mean change of the top-1 confidence in percentage points, over changes whose top-1 label stayed; NaN if none did.

    >>> one = Change("a.png", "mask", "clean", None, None, 1, "", 1, "", 0.5, 1, "", 0.75)
    >>> change_statistic([one, one])
    25.0
    """
    return mean([change.points for change in changes if change.stayed])


def absolute_change(changes: Iterable[Change]) -> float:
    """As `change_statistic`, of the sizes of the changes."""
    return mean([abs(change.points) for change in changes if change.stayed])


def switched(changes: Iterable[Change]) -> float:
    """Share of changes that changed the top-1 label; NaN of none."""
    return mean([not change.stayed for change in changes])


def restored(changes: Iterable[Change]) -> float:
    """Share of changes after which the label is the true one; NaN of none."""
    return mean([change.after_class == change.label for change in changes])


@dataclass(frozen=True, kw_only=True)
class SetNumbers:
    """Everything that was measured on one adversarial set.

    Args:
        told: what the manifest says of it.
        classes: of the classifier; at least so many if it has no names for them.
        rows: changes of pixels, maps and filters.
        histograms: counts of 256 levels over all images, by side and channel.
        gallery: pictures.
        maps: feature maps.
        training: epochs of adversarial training, by size.
        detector: epochs of the detectors.
        scores: of the detectors, by what they were trained on and the kind of the images.
    """

    told: DingSetEntry
    classes: int
    rows: Sequence[Change] = ()
    histograms: Mapping[tuple[str, str], Float[np.ndarray, " 256"]]
    gallery: Sequence[Shown] = ()
    maps: Sequence[FeatureMap] = ()
    training: Sequence[Epoch] = ()
    detector: Sequence[DetectorEpoch] = ()
    scores: Mapping[tuple[str, str], Float[np.ndarray, " n"]]

    @property
    def name(self) -> str:
        """Of the set."""
        return self.told.name

    def changes(self, experiment: str, side: str, value: float | None = None) -> list[Change]:
        """Those of one experiment and side."""
        kept = [row for row in self.rows if row.experiment == experiment and row.side == side]
        return kept if value is None else [row for row in kept if row.value == value]

    @cached_property
    def values(self) -> list[float]:
        """Painted values, of 255."""
        return sorted({row.value for row in self.rows if row.experiment == "roi" and row.value is not None})

    def by_draw(self, experiment: str, side: str, value: float) -> list[float]:
        """The change statistic of every draw of the pixels."""
        rows = self.changes(experiment, side, value)
        draws = sorted({row.draw for row in rows if row.draw is not None})
        return [change_statistic(row for row in rows if row.draw == draw) for draw in draws]

    def ranked(self, key: str = "rmse", *, least: bool = False) -> list[FeatureMap]:
        """Feature maps by `rmse` or `relative`, the largest first; the smallest of those alive if `least`."""
        known = [each for each in self.maps if not isnan(getattr(each, key)) and not (least and each.dead)]
        return sorted(known, key=lambda each: getattr(each, key) if least else -getattr(each, key))

    def by_layer(self, key: str) -> dict[str, float]:
        """Mean of `rmse` or `relative` over the maps of each layer, in order."""
        found: dict[str, list[float]] = {}
        for each in self.maps:
            found.setdefault(each.layer, []).append(getattr(each, key))
        return {layer: float(np.mean(values)) for layer, values in found.items()}

    def depth(self, maps: Collection[FeatureMap]) -> float:
        """Mean place of these maps' layers, 0 the first and 1 the last."""
        last = max((each.layer_index for each in self.maps), default=0) or 1
        return mean([each.layer_index for each in maps]) / last

    @cached_property
    def trained(self) -> list[Training]:
        """Adversarial trainings by size."""
        sizes = sorted({epoch.size for epoch in self.training})
        return [Training(size, [epoch for epoch in self.training if epoch.size == size]) for size in sizes]

    @property
    def largest(self) -> Training | None:
        """The training on the most examples; None if nothing was trained."""
        return self.trained[-1] if self.trained else None

    def said(self, kind: str, trained_on: str = "attacked") -> Float[np.ndarray, " n"]:
        """The detector's scores of images of one kind."""
        return self.scores.get((trained_on, kind), np.array([]))

    def detected(self, trained_on: str = "attacked") -> Detected | None:
        """How well a detector does; None if it was not trained."""
        clean, other = self.said("clean", trained_on), self.said(trained_on, trained_on)
        if not clean.size:
            return None
        labels = [(scores > 0.5).astype(float) for scores in (clean, other)]
        return Detected(
            clean=1 - mean(labels[0]),
            other=mean(labels[1]),
            auc_scores=auroc(other, clean),
            auc_hard=auroc(labels[1], labels[0]),
            n=len(clean),
        )


def read_sets(study: Study, told: DingManifest) -> list[SetNumbers]:
    """Every set of a finished study.

    Raises:
        DataError: a table is absent or damaged.
    """
    classes = told.model.classes or 1 + max(study.table("seen", ["label"])["label"].to_pylist(), default=0)
    return [_read(study, entry, classes) for entry in told.sets]


def _read(study: Study, told: DingSetEntry, classes: int) -> SetNumbers:
    def own(name: str) -> pa.Table:
        return study.table(name).filter(pc.field("set") == told.name)

    def some(name: str, kind: type[Kind]) -> list[Kind]:
        return records(own(name), kind) if study.has(name) else []

    histograms: dict[tuple[str, str], Float[np.ndarray, " 256"]] = {}
    for side, channel, counts in tuples(own("histograms"), "side", "channel", "counts"):
        histograms.setdefault((side, channel), np.zeros(256))[:] += counts
    scores: dict[tuple[str, str], list[float]] = {}
    for trained_on, kind, score in tuples(own("scores"), "trained_on", "kind", "score") if study.has("scores") else ():
        scores.setdefault((trained_on, kind), []).append(score)
    return SetNumbers(
        told=told,
        classes=classes,
        rows=some("rows", Change),
        histograms=histograms,
        gallery=some("gallery", Shown) + some("maps2", Shown),
        maps=records(own("maps"), FeatureMap),
        training=some("training", Epoch),
        detector=some("detector", DetectorEpoch),
        scores={key: np.array(values) for key, values in scores.items()},
    )
