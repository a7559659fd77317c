"""NoiseCAM's verdicts: each combination learns from the calibration images and judges all, after the cells are done."""

from collections.abc import Mapping, Sequence
from functools import partial, reduce
from operator import and_
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from gazeshift.data import replace_file
from gazeshift.detectors.noisecam_dbscan import NoisecamDbscan
from gazeshift.runs.tables import Rows
from gazeshift.seeds import generator_for
from gazeshift.studies.noisecam2023.rows import combination
from gazeshift.studies.noisecam2023.schemas import FITTED, VERDICTS


def parts(ids: Sequence[str], share: float, seed: int) -> dict[str, str]:
    """Which images calibrate and which test: a share of all, drawn with the seed; each image is in one part."""
    order = torch.randperm(len(ids), generator=generator_for(seed, "parts")).tolist()
    chosen = set(order[: round(share * len(ids))])
    return {name: "calibration" if at in chosen else "test" for at, name in enumerate(ids)}


def write_verdicts(
    folder: Path, detectors: Sequence[NoisecamDbscan], part_of: Mapping[str, str], strength: float
) -> None:
    """Write ``verdicts.parquet`` and ``fitted.parquet`` beside ``measured.parquet``.

    Args:
        folder: of the study.
        detectors: every combination.
        part_of: each image's part.
        strength: of the noise that combinations learn from, beside clean images.
    """
    found = pq.read_table(folder / "measured.parquet")
    verdicts, fitted = Rows(VERDICTS), Rows(FITTED)
    for detector in detectors:
        wanted = (pc.field(name) == value for name, value in combination(detector).items())
        rows = found.filter(reduce(and_, wanted))
        if rows.num_rows:
            part = np.array([part_of[image] for image in rows["image"].to_pylist()])
            _judge(detector, rows, part, strength, (verdicts, fitted))
    for name, table in (("verdicts", verdicts.table()), ("fitted", fitted.table())):
        replace_file(folder / f"{name}.parquet", partial(pq.write_table, table, compression="zstd"))


def _judge(
    detector: NoisecamDbscan, rows: pa.Table, part: np.ndarray, strength: float, into: tuple[Rows, Rows]
) -> None:
    """One combination learns from the calibration part's benign rows and judges all."""
    measured = np.array(rows["measured"].to_pylist(), dtype=np.float64)
    kind, size = np.array(rows["kind"].to_pylist()), rows["strength"].to_numpy()
    benign = (part == "calibration") & (kind != "attacked") & ((kind == "clean") | (size == np.float32(strength)))
    learned = detector.fit(torch.from_numpy(measured[benign]))
    if learned.binarise == "absolute" and learned.level is None:
        return  # nothing to learn a level from
    share, clusters = learned.counted(measured)
    same = {name: rows[name].to_pylist() for name in ("image", "kind", "strength", "fooled")}
    told = {"part": part, "peak": measured[:, 0], "share": share, "clusters": clusters}
    verdicts, fitted = into
    verdicts.add(len(part), **same, **told, is_attack=learned.judge(clusters), **combination(detector))
    fitted.add(1, **combination(detector), gate=learned.gate, level=learned.level, benign=int(benign.sum()))
