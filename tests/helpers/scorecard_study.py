"""Writes finished scorecards with made-up numbers, for the tests of their page."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROWS = pytest.importorskip("gazeshift.studies.scorecard.run").ROWS


SETS = {"pgd-2": ("pgd", 2 / 255, 4.0), "pgd-4": ("pgd", 4 / 255, 5.0), "fgsm-4": ("fgsm", 4 / 255, 2.0)}
BENIGN = ("jpeg:quality=75", "gaussian noise")
SHARPNESS = {"stability": 1.0, "feature_squeezing": 0.5, "confidence": 0.1}


def rows_of(
    detector: str, learned: str, of: str, *, images: int, sets: Mapping[str, Any], random: Any, sharp: float
) -> Iterator[dict[str, Any]]:
    """Clean and benign images around 0; successful examples as far above as the set and the detector say."""
    kinds = [("clean", "clean", 0.0), *(("benign", one, 0.2) for one in BENIGN)]
    kinds += [("attack", name, told[2]) for name, told in sets.items()]
    for kind, condition, shift in kinds:
        for at in range(images):
            right = at % 8 != 7
            success = kind == "attack" and right and at % 5 != 4
            suspicion = random.normal() + (shift * sharp if success or kind == "benign" else 0)
            yield {
                "detector": detector,
                "learned": learned,
                "from_set": of,
                "kind": kind,
                "condition": condition,
                "image": f"{at:03}.jpg",
                "clean_correct": right,
                "success": success,
                "predicted": 0,
                "confidence": 0.5,
                "suspicion": suspicion,
                "p_value": 0.5,
                "is_attack": suspicion > 1.645,
            }


def ways(detector: str, sets: Mapping[str, Any], supervised: Sequence[str]) -> Iterator[tuple[str, str, float]]:
    """How the detector learned, from what, and how much worse that makes it."""
    yield "as fitted", "", 1.0
    if detector in supervised:
        yield "clean images only", "", 0.6
        yield from (("without", family, 0.8) for family in dict.fromkeys(told[0] for told in sets.values()))
        yield from (("only", name, 0.7) for name in sets)


def manifest(images: int, sets: Mapping[str, Any], adaptive: Sequence[Any], detectors: Sequence[str]) -> dict[str, Any]:
    return {
        "schema": 1,
        "study": "scorecard",
        "status": "finished",
        "command": "gazeshift detect evaluate --detector stability --out scorecard",
        "created": "2026-01-02T03:04:05+00:00",
        "device": "cpu",
        "seconds": 60.0,
        "model": {"name": "efficientnet_lite0"},
        "seed": 0,
        "settings": {},
        "images": {"used": images, "asked": images, "source": "photos", "labels": "given", "skipped": []},
        "preflight": [],
        "cost": {"ratio": 1.25},
        "sets": {
            name: {
                "attack": {"name": family, "settings": {}, "norm": "linf", "epsilon": epsilon},
                "family": family,
                "model": "efficientnet_lite0",
                "examples": images // 2,
                "tried": images,
            }
            for name, (family, epsilon, _) in sets.items()
        },
        "detectors": {
            name: {
                "name": name,
                "kind": name,
                "learned_from": 400,
                "calibrated_on": 150,
                "false_alarms": 0.05,
                "threshold": 1.645,
                "layers": ["a", "b"],
                "views": ["one", "two"],
                "sets": {},
            }
            for name in detectors
        },
        "adaptive": list(adaptive),
    }


def write(
    folder: Path,
    *,
    images: int = 80,
    sets: Mapping[str, Any] = SETS,
    supervised: Sequence[str] = ("stability",),
    adaptive: Sequence[Any] = (),
    detectors: Mapping[str, float] = SHARPNESS,
) -> Path:
    """A finished scorecard; `sets` has family, epsilon and how far above clean images the examples lie."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    rows = [
        row
        for name, sharp in detectors.items()
        for learned, of, less in ways(name, sets, supervised)
        for row in rows_of(name, learned, of, images=images, sets=sets, random=random, sharp=sharp * less)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=ROWS), folder / "rows.parquet")
    (folder / "manifest.json").write_text(json.dumps(manifest(images, sets, adaptive, list(detectors))))
    return folder


def plain_detected(positive: np.ndarray, negative: np.ndarray, rate: float) -> float:
    """As the page says it, a score at a time."""
    for limit in sorted(set(negative)):
        if sum(value > limit for value in negative) <= rate * len(negative) + 1e-9:
            return sum(value > limit for value in positive) / len(positive)
    return math.nan
