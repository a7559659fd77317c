"""The transfer study's rows summed up: how often each model errs, with intervals."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from gazeshift.data import replace_file
from gazeshift.studies._transfer_cell import AS_MADE

NORMAL = 1.959964  # quantile of the normal distribution for intervals of 95 %
SUMMARY = """
SELECT r.source, r.attack, r.size, r.victim, r.source = r.victim AS white_box,
  count(*) AS n,
  avg((NOT r.clean_correct)::INT) AS clean_error,
  avg(r.error::INT) AS error,
  sum(r.clean_correct::INT) AS clean_right,
  sum(r.success::INT) AS fooled,
  avg(r.rms) AS rms, max(r.linf) AS linf, avg(r.l2) AS l2,
  sum((r.error AND NOT f.error)::INT) AS only_here,
  sum((f.error AND NOT r.error)::INT) AS only_first
FROM made r JOIN made f USING (image, source, victim, size)
WHERE f.attack = $first
GROUP BY r.source, r.attack, r.size, r.victim
"""


def wilson(share: float, n: int) -> tuple[float, float]:
    """Interval of 95 % for a share seen in n independent images (Wilson 1927); (0, 1) for none.

    >>> tuple(round(end, 3) for end in wilson(0.5, 10))
    (0.237, 0.763)
    """
    if n == 0:
        return 0.0, 1.0
    squeeze = 1 + NORMAL**2 / n
    middle = (share + NORMAL**2 / (2 * n)) / squeeze
    reach = NORMAL * math.sqrt(share * (1 - share) / n + NORMAL**2 / (4 * n**2)) / squeeze
    return middle - reach, middle + reach


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


def write_table(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write ``table.parquet`` beside the rows."""
    table = pa.Table.from_pylist(_summed(folder, manifest))
    replace_file(folder / "table.parquet", lambda path: pq.write_table(table, path, compression="zstd"))


def _summed(folder: Path, manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One line per source, attack, size and victim, in the order that the settings name them."""
    given = {"first": manifest["attacks"][0]["name"]}
    with duckdb.connect(config={"threads": 1}) as connection:  # sums in one order, so that a table is always the same
        connection.register("made", pq.read_table(folder / "rows.parquet"))
        found = connection.execute(SUMMARY, given)
        names = [column[0] for column in found.description]
        lines = [_with_intervals(dict(zip(names, values, strict=True))) for values in found.fetchall()]
    attacks, models = [attack["name"] for attack in manifest["attacks"]], list(manifest["models"])
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
    n, here, first = line["n"], int(line["only_here"]), int(line["only_first"])
    for name in ("clean_error", "error"):
        line[f"{name}_low"], line[f"{name}_high"] = wilson(line[name], n)
    low, high = paired(here, first, n)
    counts = {name: int(line[name]) for name in ("clean_right", "fooled", "only_here", "only_first")}
    return line | counts | {"against_first": (here - first) / n, "against_first_low": low, "against_first_high": high}
