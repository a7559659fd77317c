"""A finished transfer study whose table is made by hand."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gazeshift.report.statistics import wilson
from gazeshift.studies.transfer.summary import paired

MODELS = ["lite0", "module:/home/somebody/nets.py:other", "lite2"]
ERRORS = {"aoa": [10, 8, 3], "pgd": [10, 4, 3]}  # of 10 images, per model
ONLY = {"aoa": (0, 0), "pgd": (0, 4)}  # on the second model: images that only it, and only aoa got wrong


def line(source: str, victim: int, attack: str, size: str) -> dict[str, Any]:
    error = ERRORS[attack][victim] / 10
    here, first = ONLY[attack] if victim == 1 else (0, 0)
    low, high = paired(here, first, 10)
    return {
        "source": source,
        "attack": attack,
        "size": size,
        "victim": MODELS[victim],
        "white_box": source == MODELS[victim],
        "n": 10,
        "clean_error": 0.1,
        "clean_error_low": wilson(1, 10)[0],
        "clean_error_high": wilson(1, 10)[1],
        "error": error,
        "error_low": wilson(round(error * 10), 10)[0],
        "error_high": wilson(round(error * 10), 10)[1],
        "clean_right": 9,
        "fooled": max(0, round(error * 10) - 1),
        "rms": (7 if size != "as made" or attack == "aoa" else 5) / 255,
        "linf": 16 / 255,
        "l2": 10.0,
        "only_here": here,
        "only_first": first,
        "against_first": (here - first) / 10,
        "against_first_low": low,
        "against_first_high": high,
    }


def write(folder: Path, *, sizes: tuple[str, ...] = ("as made", "rms 7/255"), sources: int = 1) -> Path:
    folder.mkdir()
    lines = [
        line(source, victim, attack, size)
        for source in MODELS[:sources]
        for size in sizes
        for attack in ERRORS
        for victim in range(3)
    ]
    pq.write_table(pa.Table.from_pylist(lines), folder / "table.parquet")
    manifest = {
        "schema": 1,
        "study": "transfer",
        "status": "finished",
        "models": {name: {} for name in MODELS},
        "sources": MODELS[:sources],
        "attacks": [{"name": name, "settings": {}} for name in ERRORS],
        "settings": {"fit": "resize", "rms": 7 / 255},
        "images": {"used": 10, "asked": 11, "source": "photos", "labels": "given", "skipped": []},
        "preflight": [],
        "seed": 0,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
