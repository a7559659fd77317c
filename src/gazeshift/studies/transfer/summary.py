"""The transfer study's rows summed up: how often each model errs, with intervals."""

import math
from collections.abc import Sequence
from pathlib import Path

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
WIDE = {pa.uint64(): pa.int64(), pa.float32(): pa.float64()}  # types of the table, for what Arrow sums up in others


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
    """Write ``table.parquet`` beside the rows: one line per source, size, attack and victim, in the order given."""
    table = _with_intervals(_summed(pq.read_table(folder / "rows.parquet"), attacks[0]))
    ranks = pa.table(
        {
            "source": pc.index_in(table["source"], pa.array(models)),
            "size": pc.cast(pc.not_equal(table["size"], AS_MADE), pa.int8()),
            "attack": pc.index_in(table["attack"], pa.array(attacks)),
            "victim": pc.index_in(table["victim"], pa.array(models)),
        }
    )
    table = table.take(pc.sort_indices(ranks, [(name, "ascending") for name in ranks.column_names]))
    replace_file(folder / "table.parquet", lambda path: pq.write_table(table, path, compression="zstd"))


def _summed(rows: pa.Table, first: str) -> pa.Table:
    """Counts and means of each line; `first` is the attack that the others are compared with."""
    beside = rows.filter(pc.equal(rows["attack"], first)).select([*PAIR, "error"])
    rows = rows.join(beside, PAIR, join_type="inner", right_suffix="_first", use_threads=False)
    here, before = rows["error"], rows["error_first"]
    rows = rows.append_column("clean_error", pc.invert(rows["clean_correct"]))
    rows = rows.append_column("only_here", pc.and_(here, pc.invert(before)))
    rows = rows.append_column("only_first", pc.and_(before, pc.invert(here)))
    groups = rows.group_by(LINE, use_threads=False)  # sums in one order, so that a table is always the same
    found = groups.aggregate([(column, how) for column, how, _ in SUMMARY])
    found = found.rename_columns([*LINE, *(name for *_, name in SUMMARY)])
    return found.cast(pa.schema([(each.name, WIDE.get(each.type, each.type)) for each in found.schema]))


def _with_intervals(table: pa.Table) -> pa.Table:
    n, here, first = (table[name].to_pylist() for name in ("n", "only_here", "only_first"))
    columns = {"white_box": pc.equal(table["source"], table["victim"])}
    for name in ("clean_error", "error"):
        bounds = [wilson(round(share * count), count) for share, count in zip(table[name].to_pylist(), n, strict=True)]
        columns |= {f"{name}_low": [low for low, _ in bounds], f"{name}_high": [high for _, high in bounds]}
    bounds = list(map(paired, here, first, n))
    columns["against_first"] = [(one - other) / count for one, other, count in zip(here, first, n, strict=True)]
    columns |= {"against_first_low": [low for low, _ in bounds], "against_first_high": [high for _, high in bounds]}
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values) if isinstance(values, list) else values)
    return table
