"""The numbers of the study of Ding et al. 2022, worked out from its tables."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gazeshift.report.study import Study

Row = Mapping[str, Any]
SIDES = ("clean", "attacked")
PIXELS, MENDED = ("roi", "outside"), ("mask", "enlarge_sensitive", "enlarge_insensitive")


def change_statistic(rows: Iterable[Row]) -> float:
    """Mean change of the top-1 confidence in percentage points, over rows whose top-1 label stayed; NaN if none did.

    >>> row = {"before_class": 1, "after_class": 1, "before_confidence": 0.5, "after_confidence": 0.75}
    >>> change_statistic([row, row | {"after_class": 2}]), change_statistic([row | {"after_class": 2}])
    (25.0, nan)
    """
    kept = [row for row in rows if row["before_class"] == row["after_class"]]
    changes = [100 * (row["after_confidence"] - row["before_confidence"]) for row in kept]
    return float(np.mean(changes)) if changes else math.nan


def absolute_change(rows: Iterable[Row]) -> float:
    """As `change_statistic`, of the sizes of the changes."""
    kept = [row for row in rows if row["before_class"] == row["after_class"]]
    changes = [100 * abs(row["after_confidence"] - row["before_confidence"]) for row in kept]
    return float(np.mean(changes)) if changes else math.nan


def switched(rows: Sequence[Row]) -> float:
    """Share of rows whose top-1 label changed; NaN of none."""
    return float(np.mean([row["before_class"] != row["after_class"] for row in rows])) if rows else math.nan


def restored(rows: Sequence[Row]) -> float:
    """Share of rows whose label afterwards is the true one; NaN of none."""
    return float(np.mean([row["after_class"] == row["label"] for row in rows])) if rows else math.nan


def area(positives: Any, negatives: Any) -> float:
    """Area under the ROC curve: how often a positive scores higher than a negative, ties one half; NaN if none.

    >>> area([0.9, 0.4], [0.1, 0.4])
    0.875
    """
    high, low = np.asarray(positives, dtype=float), np.sort(np.asarray(negatives, dtype=float))
    if not high.size or not low.size:
        return math.nan
    below, upto = np.searchsorted(low, high, "left"), np.searchsorted(low, high, "right")
    return float((below + upto).mean() / 2 / low.size)


def roc(positives: Any, negatives: Any) -> tuple[list[float], list[float]]:
    """False and true positive rates at every threshold, from (0, 0) to (1, 1)."""
    high, low = np.asarray(positives, dtype=float), np.asarray(negatives, dtype=float)
    levels = np.unique(np.concatenate([high, low]))[::-1]
    rates = [[float((values >= level).mean()) for level in levels] for values in (low, high)]
    return [0.0, *rates[0]], [0.0, *rates[1]]


@dataclass(frozen=True, kw_only=True)
class SetNumbers:
    """Everything that was measured on one adversarial set.

    Args:
        told: what the manifest says of it.
        classes: of the classifier; at least so many if it has no names for them.
        rows, seen, histograms, gallery, maps, training, detector, scores: its rows of the study's tables.
    """

    told: Row
    classes: int
    rows: Sequence[Row]
    seen: Sequence[Row]
    histograms: Sequence[Row]
    gallery: Sequence[Row]
    maps: Sequence[Row]
    training: Sequence[Row]
    detector: Sequence[Row]
    scores: Sequence[Row]

    @property
    def name(self) -> str:
        """Of the set."""
        return str(self.told["name"])

    @property
    def is_pgd(self) -> bool:
        """Whether the paper's tables of its PGD set stand beside this one; else those of DAmageNet."""
        attack = (self.told.get("attack") or {}).get("name", "")
        return "pgd" in f"{attack} {self.name}".lower()

    def changes(self, experiment: str, side: str, value: float | None = None) -> list[Row]:
        """Rows of one experiment and side."""
        kept = [row for row in self.rows if row["experiment"] == experiment and row["side"] == side]
        return kept if value is None else [row for row in kept if row["value"] == value]

    @property
    def values(self) -> list[float]:
        """Painted values, of 255."""
        return sorted({row["value"] for row in self.rows if row["experiment"] == "roi"})

    def by_draw(self, experiment: str, side: str, value: float) -> list[float]:
        """The change statistic of every draw of the pixels."""
        rows = self.changes(experiment, side, value)
        return [change_statistic(row for row in rows if row["draw"] == at) for at in sorted({r["draw"] for r in rows})]

    def ranked(self, key: str = "rmse", *, least: bool = False) -> list[Row]:
        """Feature maps by `rmse` or `relative`, the largest first; the smallest of those alive if `least`."""
        known = [row for row in self.maps if not math.isnan(row[key]) and not (least and row["dead"])]
        return sorted(known, key=lambda row: row[key] if least else -row[key])

    def by_layer(self, key: str) -> dict[str, float]:
        """Mean of `rmse` or `relative` over the maps of each layer, in order."""
        found: dict[str, list[float]] = {}
        for row in self.maps:
            found.setdefault(row["layer"], []).append(row[key])
        return {layer: float(np.mean(values)) for layer, values in found.items()}

    def depth(self, rows: Sequence[Row]) -> float:
        """Mean place of these maps' layers, 0 the first and 1 the last."""
        last = max((row["layer_index"] for row in self.maps), default=0) or 1
        return float(np.mean([row["layer_index"] for row in rows])) / last if rows else math.nan

    def trained(self) -> list[Row]:
        """One row per size: accuracy before and after."""
        found: list[Row] = []
        for size in sorted({row["size"] for row in self.training}):
            epochs = [row for row in self.training if row["size"] == size]
            after = next(row for row in epochs if row["kept"])
            found.append({"before": epochs[0], "after": after, "size": size, "epochs": epochs})
        return found

    def said(self, kind: str, trained_on: str = "attacked") -> list[float]:
        """The detector's scores of images of one kind."""
        return [row["score"] for row in self.scores if row["kind"] == kind and row["trained_on"] == trained_on]

    def detected(self, trained_on: str = "attacked") -> Row | None:
        """Accuracy on both kinds, AUC from scores and from hard labels; None if no detector was trained."""
        clean, other = self.said("clean", trained_on), self.said(trained_on, trained_on)
        if not clean:
            return None
        hard = [[float(score > 0.5) for score in scores] for scores in (clean, other)]
        return {
            "clean": 1 - float(np.mean(hard[0])),
            "other": float(np.mean(hard[1])),
            "auc_scores": area(other, clean),
            "auc_hard": area(hard[1], hard[0]),
            "n": len(clean),
        }


def read_sets(study: Study) -> list[SetNumbers]:
    """Every set of a finished study.

    Raises:
        DataError: a table is absent or damaged.
    """
    tables = {name: study.table(name).to_pylist() for name in ("seen", "histograms", "maps")}
    for name in ("rows", "gallery", "training", "detector", "scores", "maps2"):
        tables[name] = study.table(name).to_pylist() if study.has(name) else []
    tables["gallery"] += tables.pop("maps2")
    classes = study.manifest["model"].get("classes") or 1 + max((row["label"] for row in tables["seen"]), default=0)
    return [
        SetNumbers(
            told=told,
            classes=classes,
            **{name: [row for row in rows if row["set"] == told["name"]] for name, rows in tables.items()},
        )
        for told in study.manifest["sets"]
    ]
