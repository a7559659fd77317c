"""The transfer study's rows summed up: how often each model errs, with intervals."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gazeshift.data import replace_file
from gazeshift.report.statistics import wilson
from gazeshift.studies.transfer.rows import AS_MADE

NORMAL = 1.959964  # quantile of the normal distribution for intervals of 95 %
PAIR, LINE = ("image", "source", "victim", "size"), ("source", "attack", "size", "victim")
SUMMARY = (
    ("image", "count", "n"),
    ("clean_error", "mean", "clean_error"),
    ("error", "mean", "error"),
    ("clean_correct", "sum", "clean_right"),
    ("success", "sum", "fooled"),
    ("rms", "mean", "rms"),
    ("linf", "max", "linf"),
    ("l2", "mean", "l2"),
    ("only_here", "sum", "only_here"),
    ("only_first", "sum", "only_first"),
)  # of the rows, how, called


def paired(here: int, first: int, n: int) -> tuple[float, float]:
    """Interval of 95 % for the difference of two shares of the same n images (Agresti and Min 2005: half a pair more
    in each of the four cells).

    Args:
        here: images that only the one counts.
        first: images that only the other counts.
        n: all images.

    >>> tuple(round(end, 3) for end in paired(30, 2, 100))
    (0.178, 0.371)
    """
    more = n + 2
    difference = (here - first) / more
    reach = NORMAL * math.sqrt(here + first + 1 - (here - first) ** 2 / more) / more
    return max(-1.0, difference - reach), min(1.0, difference + reach)


def write_table(folder: Path, attacks: Sequence[str], models: Sequence[str]) -> None:
    """Write ``table.parquet`` beside the rows: attacks and models in the order given."""
    table = pa.Table.from_pylist(_summed(folder, attacks, models))
    replace_file(folder / "table.parquet", lambda path: pq.write_table(table, path, compression="zstd"))


def _summed(folder: Path, attacks: Sequence[str], models: Sequence[str]) -> list[dict[str, Any]]:
    """One line per source, attack, size and victim."""
    rows = pq.read_table(folder / "rows.parquet")
    first = rows.filter(pc.equal(rows["attack"], attacks[0])).select([*PAIR, "error"])
    rows = rows.join(first, PAIR, join_type="inner", right_suffix="_first", use_threads=False)
    here, before = rows["error"], rows["error_first"]
    rows = rows.append_column("clean_error", pc.invert(rows["clean_correct"]))
    rows = rows.append_column("only_here", pc.and_(here, pc.invert(before)))
    rows = rows.append_column("only_first", pc.and_(before, pc.invert(here)))
    groups = rows.group_by(LINE, use_threads=False)  # sums in one order, so that a table is always the same
    found = groups.aggregate([(column, how) for column, how, _ in SUMMARY])
    found = found.rename_columns([*LINE, *(name for *_, name in SUMMARY)])
    lines = [_with_intervals(line | {"white_box": line["source"] == line["victim"]}) for line in found.to_pylist()]
    return sorted(
        lines,
        key=lambda line: (
            models.index(line["source"]),
            line["size"] != AS_MADE,
            attacks.index(line["attack"]),
            models.index(line["victim"]),
        ),
    )


def _with_intervals(line: dict[str, Any]) -> dict[str, Any]:
    n, here, first = line["n"], line["only_here"], line["only_first"]
    for name in ("clean_error", "error"):
        line[f"{name}_low"], line[f"{name}_high"] = wilson(round(line[name] * n), n)
    low, high = paired(here, first, n)
    return line | {"against_first": (here - first) / n, "against_first_low": low, "against_first_high": high}
