"""What the study of Ding et al. 2022 plans for a set, gathers on its way, and says in its manifest."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa

from gazeshift.records import Finding
from gazeshift.runs.notes import CellNotes
from gazeshift.runs.store import Cell
from gazeshift.studies.ding2022.feature_maps import Ranking
from gazeshift.studies.ding2022.rows import OpenedSet, filters
from gazeshift.studies.ding2022.training_data import Split

SOUND = 0.7  # clean accuracy below which an ImageNet model was preprocessed in another way than it was trained


@dataclass(frozen=True, kw_only=True)
class SetPlan:
    """Who does what in one set.

    Args:
        seen: rows of all pairs.
        found: feature maps at both ends of the ranking.
        chosen: fooled images to change.
        shown: images of the gallery.
        parts: of adversarial training.
        halves: ids that the detector learns from, and those that judge it: both sides of an image in one half.
    """

    seen: Sequence[Mapping[str, Any]]
    found: Ranking
    chosen: tuple[str, ...]
    shown: tuple[str, ...]
    parts: Split
    halves: tuple[tuple[str, ...], tuple[str, ...]]

    @cached_property
    def labels(self) -> dict[str, int]:
        """Class of every pair."""
        return {row["image"]: row["label"] for row in self.seen}


@dataclass
class Collected:
    """Cells and notes of all sets so far, by stage, and what the manifest says of each set."""

    cells: dict[str, list[Cell]] = field(default_factory=dict)
    notes: list[CellNotes] = field(default_factory=list)
    seen: list[CellNotes] = field(default_factory=list)
    maps: list[pa.Table] = field(default_factory=list)
    sets: list[dict[str, Any]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    asked: int = 0
    training_seconds: float = 0.0


def slug(name: str) -> str:
    """A set's name as part of a file's."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)


def identity(opened: OpenedSet) -> dict[str, Any]:
    """What decides a set's pixels: its attack, and the files that hold it."""
    examples = opened.source.examples
    return {"name": opened.name, "attack": examples.manifest.get("attack"), "examples": examples.identity}


def set_summary(opened: OpenedSet, plan: SetPlan) -> dict[str, Any]:
    """What the manifest says of a set."""
    return {
        "name": opened.name,
        "source": opened.source.name,
        "attack": opened.source.examples.manifest.get("attack"),
        "pairs": len(plan.seen),
        "labels": "given" if opened.source.has_labels else "predicted",
        "clean_correct": sum(row["clean_correct"] for row in plan.seen),
        "fooled": sum(row["success"] for row in plan.seen),
        "examples": list(plan.chosen),
        "most": plan.found.most,
        "least": plan.found.least,
        "filters_most": filters(opened, plan.found.most),
        "filters_least": filters(opened, plan.found.least),
        "sizes": plan.parts.sizes,
        "validation": len(plan.parts.held),
        "detector": {"train": len(plan.halves[0]), "validation": len(plan.halves[1])},
    }


def baseline_check(sets: Sequence[Mapping[str, Any]]) -> tuple[Finding, ...]:
    """Whether the model is as good on clean images as it should be before it is trained further."""
    findings = []
    for one in sets:
        share = one["clean_correct"] / one["pairs"]
        detail = f"{share:.3f} of {one['pairs']} clean images of {one['name']} are classified as labelled, untrained"
        if share < SOUND:
            detail += "; as with the paper's 0.418, check that preprocessing and labels are the model's"
        findings.append(Finding(check="baseline accuracy", level="ok" if share >= SOUND else "note", detail=detail))
    return tuple(findings)


def unlabelled(sets: Sequence[Mapping[str, Any]]) -> list[str]:
    """Whose labels are the model's own answers."""
    return [
        f"{one['name']} has no labels: the clean image's predicted class stands in for the true one."
        for one in sets
        if one["labels"] != "given"
    ]
