"""How long the study explorer takes to answer: a made-up study of 50,000 images x 18 layers, written as studies are."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench._table import show
from gazeshift.runs.tables import IMAGES, ROWS
from gazeshift.serve.study_explorer.deviation import DeviationTables
from gazeshift.serve.study_explorer.tables import Page

IMAGE_COUNT, LAYER_COUNT, CELL = 50_000, 18, 8
CONDITIONS = [("pgd", strength, kind) for strength in (0.5, 1.0) for kind in ("attacked", "noise")]
TARGETS = ("predicted", "reference")
TURNS = 5


def main(images: int = IMAGE_COUNT) -> None:
    """Write the study, ask it as the page does, and print the seconds of each question."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = write(folder, images)
        started = time.perf_counter()
        tables = DeviationTables(folder)
        opened = time.perf_counter() - started
        asked = {
            "the first page: mean of all layers, most moved first": lambda: tables.listed(Page()),
            "one layer, reference class, noise": lambda: tables.listed(
                Page(chosen={"layer": "layer.7", "target": "reference", "kind": "noise"})
            ),
            "fooled ones only, by margin": lambda: tables.listed(Page(chosen={"outcome": "fooled"}, sort="margin")),
            "the last page": lambda: tables.listed(Page(start=images - 50)),
            "part of a name": lambda: tables.listed(Page(search="00123")),
            "all about one image": lambda: tables.image(tables.store.images[images // 2]),
        }
        rows = [[what, *(f"{took:.2f}" for took in seconds(ask))] for what, ask in asked.items()]
        tables.store.close()
    title = f"Study explorer: {images:,} images, {written:,} rows, {images // CELL:,} row groups"
    columns = ["question", "seconds on the wall, first time", f"median of {TURNS} more"]
    show(title, columns, [["opening it", f"{opened:.2f}", ""], *rows])


def seconds(ask: Callable[[], object]) -> tuple[float, float]:
    """The first time, and the median of some more: a condition's similarities are read once."""
    took = []
    for _ in range(1 + TURNS):
        started = time.perf_counter()
        ask()
        took.append(time.perf_counter() - started)
    return took[0], median(took[1:])


def write(folder: Path, images: int) -> int:
    """Both tables, one row group for each cell of eight images; gives the number of rows."""
    random, written = np.random.default_rng(0), 0
    with (
        pq.ParquetWriter(folder / "rows.parquet", ROWS, compression="zstd") as rows,
        pq.ParquetWriter(folder / "images.parquet", IMAGES, compression="zstd") as outcomes,
    ):
        for first in range(0, images, CELL):
            names = [f"{at:06d}.jpg" for at in range(first, min(images, first + CELL))]
            measured = [_measured(names, *condition, random) for condition in CONDITIONS]
            rows.write_table(pa.concat_tables(measured).combine_chunks())
            outcomes.write_table(pa.concat_tables([_judged(names, *condition, random) for condition in CONDITIONS]))
            written += sum(table.num_rows for table in measured)
    return written


def _measured(names: list[str], attack: str, strength: float, kind: str, random: np.random.Generator) -> pa.Table:
    n = len(names) * len(TARGETS) * LAYER_COUNT
    layers = np.tile(np.arange(LAYER_COUNT), len(names) * len(TARGETS))
    values = {
        "image": np.repeat(names, len(TARGETS) * LAYER_COUNT),
        "attack": [attack] * n,
        "strength": np.full(n, strength, np.float32),
        "kind": [kind] * n,
        "target": np.tile(np.repeat(TARGETS, LAYER_COUNT), len(names)),
        "layer": [f"layer.{place}" for place in layers],
        "layer_index": layers.astype(np.int16),
        "cam": ["grad_cam"] * n,
        "measure": ["cosine"] * n,
        "value": random.random(n, np.float32),
        "blank": np.zeros(n, np.int8),
    }
    return _table(ROWS, values, n)


def _judged(names: list[str], attack: str, strength: float, kind: str, random: np.random.Generator) -> pa.Table:
    n = len(names)
    values = {
        "image": names,
        "attack": [attack] * n,
        "strength": np.full(n, strength, np.float32),
        "kind": [kind] * n,
        "clean_name": ["goldfish"] * n,
        "changed_name": ["tench"] * n,
        "margin": random.normal(size=n).astype(np.float32),
        "success": random.random(n) < 0.5,
        "switched": random.random(n) < 0.5,
        "clean_correct": random.random(n) < 0.9,
    }
    return _table(IMAGES, values, n)


def _table(schema: pa.Schema, values: dict[str, object], n: int) -> pa.Table:
    """The columns that are given; others are empty."""
    columns = [
        pa.array(values[field.name], type=field.type) if field.name in values else pa.nulls(n, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
