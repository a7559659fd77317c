"""Charts from plain numbers: lines, bars, boxes, curves, heat maps. Each brings its own table."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from gazeshift.report.document import NONE, Chart, Plotly, number

COLOURS = ("--attacked", "--noise", "--third", "--fourth", "--ok", "--ink")
Values = Sequence[float | None]


def lines(
    title: str,
    x: Sequence[Any],
    series: Mapping[str, Values],
    *,
    x_title: str = "",
    y_title: str = "",
    y_range: tuple[float, float] | None = None,
    level: float | None = None,
    band: Mapping[str, tuple[Values, Values]] | None = None,
    colours: Mapping[str, str] | None = None,
    digits: int = 2,
    **words: Any,
) -> Chart:
    """One line per series over the same places.

    Args:
        title: of the chart.
        x: names or numbers of the places.
        series: name to values; None or NaN breaks the line.
        x_title: of the axis.
        y_title: of the axis.
        y_range: of the axis; None fits it.
        level: a dotted line across, such as chance.
        band: series name to (low, high), drawn as a band.
        colours: series name to a colour of the style sheet; others take the next one.
        digits: in the table and on hovering.
        words: about, item, paper, name, wide, of `Chart`.
    """
    traces: list[Plotly] = []
    for name, values in series.items():
        colour = _colour(name, len(traces) // (2 if band else 1), colours)
        if band and name in band:
            low, high = band[name]
            traces.append(filled(x, low, high, colour))
        elif band:
            traces.append({"x": [], "y": [], "hoverinfo": "skip", "showlegend": False})
        traces.append(
            {
                "x": list(x),
                "y": _plain(values),
                "name": name,
                "mode": "lines+markers" if len(x) <= 60 else "lines",
                "line": {"color": colour, "dash": "dash" if _is_control(name) else "solid"},
                "marker": {"size": 6},
                "connectgaps": False,
                "hovertemplate": f"%{{y:.{digits}f}}",
            }
        )
    rows = [
        [str(place), *(number(_value(values[at]), digits) for values in series.values())] for at, place in enumerate(x)
    ]
    layout = _layout(x_title, y_title, y_range, level, categories=x)
    return _chart(title, traces, layout, [x_title or "", *series], rows, **words)


def bars(
    title: str,
    x: Sequence[Any],
    series: Mapping[str, Values],
    *,
    x_title: str = "",
    y_title: str = "",
    y_range: tuple[float, float] | None = None,
    level: float | None = None,
    colours: Mapping[str, str] | None = None,
    stacked: bool = False,
    digits: int = 2,
    **words: Any,
) -> Chart:
    """Bars side by side or stacked; arguments as of `lines`."""
    traces = [
        {
            "type": "bar",
            "x": list(x),
            "y": _plain(values),
            "name": name,
            "marker": {"color": _colour(name, place, colours)},
            "hovertemplate": f"%{{y:.{digits}f}}",
        }
        for place, (name, values) in enumerate(series.items())
    ]
    rows = [
        [str(place), *(number(_value(values[at]), digits) for values in series.values())] for at, place in enumerate(x)
    ]
    layout = _layout(x_title, y_title, y_range, level, categories=x) | {"barmode": "stack" if stacked else "group"}
    return _chart(title, traces, layout, [x_title or "", *series], rows, **words)


def boxes(
    title: str,
    x: Sequence[Any],
    groups: Mapping[str, Sequence[Any]],
    *,
    x_title: str = "",
    y_title: str = "",
    y_range: tuple[float, float] | None = None,
    level: float | None = None,
    colours: Mapping[str, str] | None = None,
    digits: int = 2,
    **words: Any,
) -> Chart:
    """Boxes of quartiles with whiskers to the 5 % and 95 % points; arguments as of `lines`.

    `groups` has, by name, one array of values per place; undefined values are left out.
    """
    traces, rows = [], []
    for place, (name, arrays) in enumerate(groups.items()):
        points = [_points(array) for array in arrays]
        colour = _colour(name, place, colours)
        keys = ("lowerfence", "q1", "median", "q3", "upperfence")
        quantiles = {key: [None if p is None else p[i] for p in points] for i, key in enumerate(keys)}
        traces.append(
            {"type": "box", "x": list(x), "name": name, "marker": {"color": colour}, "line": {"color": colour}}
            | quantiles
        )
        rows += [
            [f"{at}, {name}" if len(groups) > 1 else str(at), *_box_cells(p, array, digits)]
            for at, p, array in zip(x, points, arrays, strict=True)
        ]
    layout = _layout(x_title, y_title, y_range, level, categories=x) | {"boxmode": "group"}
    return _chart(title, traces, layout, [x_title or "", "5 %", "25 %", "median", "75 %", "95 %", "n"], rows, **words)


def histogram(
    title: str,
    groups: Mapping[str, Sequence[float] | np.ndarray],
    *,
    low: float,
    high: float,
    bins: int = 20,
    x_title: str = "",
    colours: Mapping[str, str] | None = None,
    digits: int = 3,
    **words: Any,
) -> Chart:
    """Shares of values in equal bins; those outside go to the ends, undefined ones are left out."""
    edges = np.linspace(low, high, bins + 1)
    shares = {}
    for name, values in groups.items():
        defined = np.asarray(values, dtype=float)
        defined = np.clip(defined[np.isfinite(defined)], low, high)
        counts = np.histogram(defined, edges)[0]
        shares[name] = [float(share) for share in counts / max(1, defined.size)]
    middles = [round(float(middle), 6) for middle in (edges[1:] + edges[:-1]) / 2]
    return lines(title, middles, shares, x_title=x_title, y_title="share", colours=colours, digits=digits, **words)


def curves(
    title: str,
    series: Mapping[str, tuple[Values, Values]],
    *,
    x_title: str,
    y_title: str,
    summary: Mapping[str, str] | None = None,
    diagonal: bool = False,
    colours: Mapping[str, str] | None = None,
    **words: Any,
) -> Chart:
    """Curves with places of their own, such as ROC curves; arguments as of `lines`.

    `series` has (x, y) by name. `summary` has one cell of the table by name, such as an AUC; the points themselves are
    not listed. `diagonal` draws the line of chance.
    """
    traces: list[Plotly] = [
        {
            "x": _plain(x),
            "y": _plain(y),
            "name": name,
            "mode": "lines",
            "line": {"color": _colour(name, place, colours), "dash": "dash" if _is_control(name) else "solid"},
            "hovertemplate": "%{x:.2f}: %{y:.2f}",
        }
        for place, (name, (x, y)) in enumerate(series.items())
    ]
    layout = _layout(x_title, y_title, None, None)
    if diagonal:
        line = {"type": "line", "x0": 0, "y0": 0, "x1": 1, "y1": 1, "line": {"color": "--quiet", "dash": "dot"}}
        layout["shapes"] = [line]
    rows = [[name, (summary or {}).get(name, str(len(x)))] for name, (x, _) in series.items()]
    head = ["curve", "summary" if summary else "points"]
    return _chart(title, traces, layout | {"hovermode": "closest"}, head, rows, **words)


def heat(
    title: str,
    x: Sequence[Any],
    y: Sequence[Any],
    values: Sequence[Values],
    *,
    x_title: str = "",
    y_title: str = "",
    span: tuple[float, float] = (0.0, 1.0),
    digits: int = 2,
    **words: Any,
) -> Chart:
    """Colours over two axes: one row of `values` for each of `y`."""
    trace = {
        "type": "heatmap",
        "x": [str(place) for place in x],
        "y": [str(place) for place in y],
        "z": [_plain(row) for row in values],
        "zmin": span[0],
        "zmax": span[1],
        "colorscale": [[0, "--card"], [1, "--attacked"]],
        "texttemplate": f"%{{z:.{digits}f}}" if len(x) * len(y) <= 150 else "",
        "hovertemplate": f"%{{y}}, %{{x}}: %{{z:.{digits}f}}<extra></extra>",
    }
    layout = _layout(x_title, y_title, None, None) | {"hovermode": "closest", "height": max(260, 60 + 26 * len(y))}
    layout["yaxis"] = layout["yaxis"] | {"type": "category", "autorange": "reversed"}
    layout["xaxis"] = layout["xaxis"] | {"type": "category"}
    rows = [[str(place), *(number(_value(v), digits) for v in row)] for place, row in zip(y, values, strict=True)]
    return _chart(title, [trace], layout, [y_title, *map(str, x)], rows, **words)


def filled(x: Sequence[Any], low: Values, high: Values, colour: str) -> dict[str, Any]:  # a trace of plotly.js
    """A band between two lines, broken where one of them is undefined; a single number's is 0.24 wide."""
    across, up = list[Any](), list[float | None]()
    defined = [_value(below) is not None and _value(above) is not None for below, above in zip(low, high, strict=True)]
    for some, run in groupby(range(len(x)), key=defined.__getitem__):
        if not some:
            continue
        at = list(run)
        places = [x[place] for place in at]
        if len(at) == 1 and not isinstance(places[0], str):
            at, places = at * 2, [places[0] - 0.12, places[0] + 0.12]
        across += [*([None] if across else []), *places, *reversed(places)]
        up += [*([None] if up else []), *(low[place] for place in at), *(high[place] for place in reversed(at))]
    return {
        "x": across,
        "y": up,
        "fill": "toself",
        "fillcolor": colour,
        "opacity": 0.16,
        "line": {"width": 0},
        "mode": "lines",
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _chart(
    title: str,
    traces: Sequence[Plotly],
    layout: Plotly,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    **words: Any,
) -> Chart:
    seen = any(value is not None for trace in traces for key in ("y", "z", "median") for value in trace.get(key, ()))
    empty = words.pop("empty", "") or ("" if seen else "There is nothing to draw: no value is defined.")
    return Chart(title=title, traces=() if empty else traces, layout=layout, head=head, rows=rows, empty=empty, **words)


def _layout(
    x_title: str, y_title: str, y_range: tuple[float, float] | None, level: float | None, categories: Any = None
) -> dict[str, Any]:
    x: dict[str, object] = {"title": {"text": x_title}}
    if categories is not None and any(isinstance(place, str) for place in categories):
        x |= {"type": "category", "tickangle": -45 if len(categories) > 8 else 0}
    y = {"title": {"text": y_title}} | ({"range": list(y_range)} if y_range else {})
    shapes = []
    if level is not None:
        line = {"color": "--quiet", "width": 1.25, "dash": "dot"}
        shapes.append({"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": level, "y1": level, "line": line})
    return {"xaxis": x, "yaxis": y, "shapes": shapes}


def _points(values: Any) -> list[float] | None:
    array = np.asarray(values, dtype=float)
    array = array[np.isfinite(array)]
    return [float(point) for point in np.quantile(array, [0.05, 0.25, 0.5, 0.75, 0.95])] if array.size else None


def _box_cells(points: list[float] | None, values: Any, digits: int) -> list[str]:
    cells = [NONE] * 5 if points is None else [number(point, digits) for point in points]
    return [*cells, str(int(np.isfinite(np.asarray(values, dtype=float)).sum()))]


def _plain(values: Values) -> list[float | None]:
    return [_value(value) for value in values]


def _value(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _colour(name: str, place: int, colours: Mapping[str, str] | None) -> str:
    return (colours or {}).get(name) or COLOURS[place % len(COLOURS)]


def _is_control(name: str) -> bool:
    return any(word in name.lower() for word in ("noise", "gauss", "random", "chance"))
