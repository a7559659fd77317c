"""What tables and charts of several studies have in common: shares with intervals, whiskers, tables by columns."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple, Self, TypeVar

import pyarrow as pa

from gazeshift.report.document import NONE, Chart, Plotly, Table, number, share
from gazeshift.report.statistics import wilson

Thing = TypeVar("Thing")


class Estimate(NamedTuple):
    """A value and its 95 % interval; NaN where it is undefined."""

    value: float
    low: float
    high: float

    @classmethod
    def counted(cls, part: int, whole: int) -> Self:
        """A share of a count, with its interval (Wilson)."""
        return cls(part / whole if whole else math.nan, *wilson(part, whole))

    def percent(self, digits: int = 0) -> str:
        """A share and its interval in percent; a dash if there is none.

        >>> Estimate(0.5, 0.25, 0.75).percent()
        '50 % [25, 75]'
        """
        whole = f"[{100 * self.low:.{digits}f}, {100 * self.high:.{digits}f}]"
        return NONE if math.isnan(self.value) else f"{share(self.value, digits)} {whole}"

    def decimals(self, digits: int = 3) -> str:
        """A number and its interval; a dash if there is none.

        >>> Estimate(0.5, 0.25, 0.75).decimals()
        '0.500 [0.250, 0.750]'
        """
        whole = f"[{number(self.low, digits)}, {number(self.high, digits)}]"
        return NONE if math.isnan(self.value) else f"{number(self.value, digits)} {whole}"


def with_whiskers(chart: Chart, series: Iterable[Sequence[Estimate]]) -> Chart:
    """A chart of bars with the interval of each; `series` in the order of its traces."""
    traces = [{**trace, "error_y": _whiskers(estimates)} for trace, estimates in zip(chart.traces, series, strict=True)]
    return replace(chart, traces=traces)


def _whiskers(estimates: Sequence[Estimate]) -> Plotly:
    known = [Estimate(0.0, 0.0, 0.0) if math.isnan(one.value) else one for one in estimates]
    up, down = [one.high - one.value for one in known], [one.value - one.low for one in known]
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "color": "--ink", "thickness": 1}


def tuples(rows: pa.Table, *names: str) -> Iterator[tuple[Any, ...]]:
    """A table's rows, of these columns."""
    return zip(*(rows[name].to_pylist() for name in names), strict=True)


def records(rows: pa.Table, kind: type[Thing]) -> list[Thing]:
    """A table's rows as things of a dataclass, whose fields are the columns that it takes."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # mypy has no name for dataclasses
    return [kind(**dict(zip(names, values, strict=True))) for values in tuples(rows, *names)]


def table(title: str, things: Iterable[Thing], columns: Mapping[str, Callable[[Thing], str]], **words: Any) -> Table:
    """A table of one row per thing.

    Args:
        title: of the table.
        things: that the rows are about.
        columns: by the name of each, what a row has there.
        words: about, item, paper, name, of `Table`.
    """
    rows = [[cell(thing) for cell in columns.values()] for thing in things]
    return Table(title=title, head=list(columns), rows=rows, **words)
