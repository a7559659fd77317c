"""Attacks that know the detector: how many images get past it, against the size of the change."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from gazeshift.report.cells import Estimate
from gazeshift.report.charts import lines
from gazeshift.report.document import NONE, Chart, Table, share

NOTHING = (
    "No adaptive attack was tried: nothing here says what an attacker who knows the detector would reach. Expect much "
    "less than these numbers against one."
)
COUNTS = ("n", "misclassified", "flagged", "evaded")
Row = Mapping[str, object]  # a line of a file of results, which may hold anything


def first_line(rows: Sequence[Row]) -> str:
    """What the page says before anything else."""
    if not rows:
        return NOTHING
    rows = _adaptive(rows) or rows
    worst = max(rows, key=lambda row: (_share(row, "evaded") or 0.0, -(_epsilon(row) or 0.0)))
    said = (
        f"Attacks that know the detector were tried: {_method(worst)} at {_size(worst)} got "
        f"{_counted(worst, 'evaded')} of {worst.get('n', 'the')} images misclassified and not flagged"
    )
    half = list(_halves(rows))
    return f"{said}. Half of the images get past it from {', '.join(half)} on." if half else f"{said}, the most of all."


def _halves(rows: Sequence[Row]) -> Iterator[str]:
    """The smallest size at which each attack gets half of the images past the detector."""
    for name, own in _series(rows).items():
        past = [row for row in own if (_share(row, "evaded") or 0.0) >= 0.5]
        if past:
            yield f"{_size(min(past, key=_place))} ({name})"


def evasion(rows: Sequence[Row]) -> Chart:
    """Share of images misclassified and not flagged, against epsilon."""
    series = _series(rows)
    places = sorted({_place(row) for own in series.values() for row in own})
    values = {
        name: [next((_share(row, "evaded") for row in own if _place(row) == place), None) for place in places]
        for name, own in series.items()
    }
    return lines(
        "Evasion by attacks that know the detector",
        places,
        values,
        x_title="epsilon x 255 (largest change of a pixel)",
        y_title="misclassified and not flagged",
        y_range=(-0.02, 1.02),
        level=0.5,
        wide=True,
        about="The dotted line is half of the images.",
        name="evasion",
    )


def table(rows: Sequence[Row]) -> Table:
    """Every adaptive result, with whatever else it tells."""
    told = ("detector", "method", "attack", "epsilon", "adaptive", *COUNTS)
    more = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in told]
    more = [key for key in more if any(isinstance(row.get(key), str | int | float) for row in rows)]
    cells = [
        [
            _method(row),
            str(row.get("detector", NONE)),
            _size(row),
            str(row.get("n", NONE)),
            *(_counted(row, key) for key in COUNTS[1:]),
            *(_plain(row.get(key)) for key in more),
        ]
        for row in rows
    ]
    head = ["attack", "detector", "epsilon", "n", *COUNTS[1:], *(key.replace("_", " ") for key in more)]
    about = (
        "Evaded: misclassified and not flagged. Bits: of the files that the images arrive as; without, they arrive as "
        "they are. Wilson intervals."
    )
    return Table(title="Adaptive attacks", head=head, rows=cells, about=about, name="adaptive")


def budget(rows: Sequence[Row]) -> Table:
    """What the detector costs an attacker: the size that gets half of the images past, to what fools the bare model."""
    plain = [row for row in rows if row.get("adaptive") is False]
    cells = []
    for name, own in _series(_adaptive(rows)).items():
        same = [row for row in plain if all(row.get(key) == own[0].get(key) for key in ("bits", "detector"))]
        sizes = half(own, "evaded"), half(same, "misclassified"), half(same, "evaded")
        ratio = f"{sizes[0] / sizes[1]:.2f}" if sizes[0] and sizes[1] else NONE
        cells.append([name, *(NONE if size is None else f"{size:.3g}/255" for size in sizes), ratio])
    return Table(
        title="Budget ratio",
        head=["attack", "gets half past", "plain attack fools half", "plain attack gets half past", "budget ratio"],
        rows=cells,
        about="Sizes at which half of the images are reached, between two that were tried by their logarithm; where "
        "the smallest one tried reaches more, it stands there as an upper bound. A dash: never reached. The ratio "
        "is the first over the second: 1 means that the detector costs an attacker who knows it nothing.",
        name="budget",
    )


def half(rows: Sequence[Row], key: str) -> float | None:
    """The size x 255 at which half of the images are reached, between two sizes by their logarithm; None if never.

    Where the smallest size reaches more than half, that size: it is an upper bound.

    >>> rows = [{"epsilon": size / 255, "n": 4, "evaded": count} for size, count in ((1, 1), (4, 3))]
    >>> half(rows, "evaded"), half(rows[:1], "evaded"), half(rows[1:], "evaded")
    (2.0, None, 4.0)
    """
    points = [(_place(row), _share(row, key)) for row in rows]
    known = sorted((size, share) for size, share in points if share is not None)
    for (before, low), (after, high) in pairwise([(0.0, 0.0), *known]):
        if high >= 0.5:
            return after if before == 0 else before * (after / before) ** ((0.5 - low) / (high - low))
    return None


def _series(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows with a size, by attack; and by detector, and by how images arrive, if there are several."""
    several, files = (len({row.get(key) for row in rows}) > 1 for key in ("detector", "bits"))
    found: dict[str, list[Row]] = {}
    for row in rows:
        if _epsilon(row) is not None:
            name = f"{_method(row)} on {row.get('detector')}" if several else _method(row)
            arrival = f"{row['bits']}-bit files" if row.get("bits") else "as they are"
            found.setdefault(f"{name}, {arrival}" if files else name, []).append(row)
    return found


def _adaptive(rows: Sequence[Row]) -> list[Row]:
    """Without the plain attacks that stand beside them."""
    return [row for row in rows if row.get("adaptive") is not False]


def _method(row: Row) -> str:
    return str(row.get("method") or row.get("attack") or "adaptive")


def _size(row: Row) -> str:
    return NONE if _epsilon(row) is None else f"{_place(row):.3g}/255"


def _place(row: Row) -> float:
    return round(255 * (_epsilon(row) or 0.0), 4)


def _epsilon(row: Row) -> float | None:
    size = row.get("epsilon")
    return float(size) if isinstance(size, int | float) else None


def _counted(row: Row, key: str) -> str:
    part, whole = _share(row, key), row.get("n")
    if part is None:
        return NONE
    return Estimate.counted(round(part * whole), whole).percent(1) if isinstance(whole, int) else share(part, 1)


def _share(row: Row, key: str) -> float | None:
    """What a result says of its images as a share: a whole number counts them. None if it says nothing that can be."""
    value, whole = row.get(key), row.get("n")
    if isinstance(value, int) and not isinstance(value, bool):
        value = value / whole if isinstance(whole, int) and whole else None
    return value if isinstance(value, float) and 0 <= value <= 1 else None


def _plain(value: object) -> str:
    return NONE if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
