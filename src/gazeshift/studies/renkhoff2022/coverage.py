"""Coverage curves of the renkhoff2022 study (the paper's figure 2): what seeds and mutants of each arm cover."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from gazeshift.attacks.dlfuzz import DLFuzz
from gazeshift.data import replace_file
from gazeshift.models import Classifier, coverage_curve
from gazeshift.records import Batch
from gazeshift.runs.store import CellResult
from gazeshift.runs.tables import Rows
from gazeshift.seeds import generator_for

ARMS = {"adversarial": "gradient", "random": "gaussian"}
ARM = [("image", pa.string()), ("arm", pa.string()), ("strength", pa.float32())]
COVERED = pa.schema([*ARM, ("mutants", pa.int32()), ("neurons", pa.int32()), ("covered", pa.binary())])
CURVES = pa.schema([*ARM, ("seed", pa.int32()), ("coverage", pa.float64())])


def arms(made: Any, strengths: tuple[float, ...]) -> Iterator[tuple[str, float, DLFuzz]]:
    """Every arm at every strength: DLFuzz with a scaled step, and with noise in its place; all mutants count."""
    fuzz = replace(made if isinstance(made, DLFuzz) else DLFuzz(), accept="all", tables="own", seed_index=0)
    for strength in strengths:
        for arm, mutation in ARMS.items():
            yield arm, strength, replace(fuzz, step=strength * fuzz.step, mutation=mutation)


def coverage_cell(
    classifier: Classifier, made: Any, strengths: tuple[float, ...], seed: int, batch: Batch
) -> CellResult:
    """What each seed of a batch covers in every arm: a row each, its neurons as bits."""
    rows, images = Rows(COVERED), batch.images.to(classifier.device)
    for number, (arm, strength, fuzz) in enumerate(arms(made, strengths) if batch.ids else ()):
        draws = [generator_for(seed, "coverage", arm, f"{strength:g}", name) for name in batch.ids]
        found = fuzz.run(classifier, images, generator=draws)
        if number == 0:
            _add(rows, batch.ids, found.clean_covered, arm="seeds", strength=0.0, mutants=0)
        mutants = [one.iterations for one in found.seeds]
        _add(rows, batch.ids, found.covered, arm=arm, strength=strength, mutants=mutants)
    return CellResult({"coverage": rows.table()})


def _add(rows: Rows, ids: tuple[str, ...], covered: torch.Tensor, **arm: Any) -> None:
    bits = [row.tobytes() for row in np.packbits(covered.numpy(), axis=1)]
    rows.add(len(ids), image=list(ids), neurons=covered.shape[1], covered=bits, **arm)


def write_curves(table: Path) -> Path:
    """Coverage after each seed, in the seeds' order, beside the table that `coverage_cell` filled; a seed at a time."""
    found, seen, count = Rows(CURVES), dict[tuple[str, float], torch.Tensor](), dict[tuple[str, float], int]()
    with pq.ParquetFile(table) as file:
        for piece in file.iter_batches(batch_size=64):
            for row in piece.to_pylist():
                key = row["arm"], row["strength"]
                bits = np.unpackbits(np.frombuffer(row["covered"], np.uint8), count=row["neurons"]).astype(bool)
                covered = torch.from_numpy(bits)
                coverage = coverage_curve(covered[None], seen.get(key)).item()
                seen[key], count[key] = covered | seen.get(key, covered), count.get(key, 0) + 1
                place = {"image": [row["image"]], "arm": key[0], "strength": key[1], "seed": count[key]}
                found.add(1, coverage=coverage, **place)
    target = table.parent / "curves.parquet"
    replace_file(target, lambda path: pq.write_table(found.table(), path, compression="zstd"))
    return target
