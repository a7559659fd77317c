"""Tables and charts of the study of Ding et al. 2022 that need no training, in the paper's order."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gazeshift.report.charts import bars, lines
from gazeshift.report.document import Chart, Table, number, share
from gazeshift.studies.ding2022.report.numbers import (
    PIXELS,
    Row,
    SetNumbers,
    absolute_change,
    change_statistic,
    restored,
    switched,
)

SHOWN = 8  # images, as in the paper's tables
NOBODY = "No example of this set fools the model, so there is nothing to change."
PLACES = {"roi": "inside the region", "outside": "outside it, the control"}
CALLED = {
    "mask": "sensitive maps masked",
    "enlarge_sensitive": "sensitive filters enlarged",
    "enlarge_insensitive": "insensitive filters enlarged",
}
ITEMS = {"mask": ("Table 8", "Table 9"), "enlarge_sensitive": ("Table 10", "Table 12")}
ITEMS |= {"enlarge_insensitive": ("Table 11", "Table 13")}
PRINTED = {
    "mask": ("clean +7.710, adversarial +2.970", "clean +1.127, adversarial +1.351"),
    "enlarge_sensitive": (
        "clean -0.601 (its rows give +0.601), adversarial -4.650",
        "clean -5.523 (15.55 in the text), adversarial -8.221",
    ),
    "enlarge_insensitive": (
        "clean -25.79, adversarial -4.656 (its rows give -20.11)",
        "clean -18.58, adversarial -18.27",
    ),
}
PAINTED = (
    "at 0, 127, 200, 255: clean -3.2, -0.4, -4.6, -3.1; adversarial -2.8, +0.1, -1.5, -0.3",
    "at 0, 127, 200, 255: clean -22.1, -14.9, -17.3, -14.9; adversarial -3.0, -3.9, -3.2, -1.9",
)


def points(value: float) -> str:
    """A change in percentage points, with its sign."""
    return number(value) if math.isnan(value) else f"{value:+.2f}"


def short(name: str) -> str:
    """The first of a class's names, at most 24 letters of it.

    >>> short("bald eagle, American eagle, Haliaeetus leucocephalus")
    'bald eagle'
    """
    first = name.split(",", maxsplit=1)[0]
    return first if len(first) <= 24 else f"{first[:23]}…"


def _answer(row: Row, when: str) -> list[str]:
    return [short(row[f"{when}_name"]), f"{100 * row[f'{when}_confidence']:.2f}"]


def _pairs(
    one: SetNumbers, experiment: str, value: float | None = None, draw: int | None = None
) -> list[tuple[Row, Row]]:
    """Clean and attacked rows of the same image."""
    clean, attacked = (one.changes(experiment, side, value) for side in ("clean", "attacked"))
    pairs = zip(clean, attacked, strict=True)
    return [pair for pair in pairs if draw is None or pair[0]["draw"] == draw]


HEAD = ("category", "", "change", "clean: label", "confidence", "adversarial: label", "confidence")


def painted(one: SetNumbers) -> Table:
    """Tables 2 and 3: the first draw of the pixels, and the statistic of it."""
    rows = []
    images = list(dict.fromkeys(row["image"] for row in one.changes("roi", "clean")))[:SHOWN]
    for image in images:
        for value in one.values:
            clean, attacked = next(pair for pair in _pairs(one, "roi", value, 0) if pair[0]["image"] == image)
            for when in ("before", "after"):
                first = short(clean["label_name"])
                rows.append([first, f"{value:g}", when, *_answer(clean, when), *_answer(attacked, when)])
    for value in one.values:
        found = [points(one.by_draw("roi", side, value)[0]) for side in ("clean", "attacked")]
        rows.append(["change statistic", f"{value:g}", "mean", "", found[0], "", found[1]])
    return Table(
        title=f"Random pixels of the region of interest painted over, {one.name}",
        head=HEAD,
        rows=rows or [["–"] * len(HEAD)],
        about="One draw, confidences in percent. The statistic is the mean change over images whose top-1 label stayed."
        if rows
        else NOBODY,
        item="Table 3" if one.is_pgd else "Table 2",
        paper=PAINTED[one.is_pgd],
    )


def control(one: SetNumbers) -> Table:
    """All draws, inside and outside the region: the statistic with its spread over draws, sizes, labels lost."""
    rows = []
    for value in one.values:
        for place in PIXELS:
            for side in ("clean", "attacked"):
                found = one.changes(place, side, value)
                draws = np.array(one.by_draw(place, side, value))
                known = draws[np.isfinite(draws)]
                spread = float(known.std()) if known.size else math.nan
                rows.append(
                    [
                        f"{value:g}, {side}, {PLACES[place]}",
                        points(change_statistic(found)),
                        number(spread),
                        number(absolute_change(found)),
                        share(switched(found)),
                        str(len(found)),
                    ]
                )
    return Table(
        title=f"The same with repeated draws, and outside the region, {one.name}",
        head=["painted", "change, points", "spread over draws", "size of change", "labels changed", "n"],
        rows=rows or [["–"] * 6],
        about="An effect of the region is what it has beyond as many random pixels elsewhere.",
    )


def painted_chart(one: SetNumbers) -> Chart:
    """The change statistic by value."""
    series = {
        f"{side}, {'inside' if place == 'roi' else 'outside (random pixels)'}": [
            change_statistic(one.changes(place, side, value)) for value in one.values
        ]
        for side in ("clean", "attacked")
        for place in PIXELS
    }
    return bars(
        f"Change of confidence by painted value, {one.name}",
        [f"{value:g}" for value in one.values],
        series,
        x_title="painted value, of 255",
        y_title="percentage points",
        empty="" if one.values else NOBODY,
        colours={
            "clean, inside": "--ok",
            "clean, outside (random pixels)": "--noise",
            "attacked, inside": "--attacked",
            "attacked, outside (random pixels)": "--third",
        },
    )


def mended(one: SetNumbers, experiment: str) -> Table:
    """Tables 8 to 13: before and after a change of maps or filters, with the statistic."""
    rows = []
    for clean, attacked in _pairs(one, experiment)[:SHOWN]:
        for when in ("before", "after"):
            first = short(clean["label_name"])
            rows.append([first, "", when, *_answer(clean, when), *_answer(attacked, when)])
    both = [one.changes(experiment, side) for side in ("clean", "attacked")]
    if rows:
        found = [points(change_statistic(part)) for part in both]
        n = len(both[0])
        rows.append([f"change statistic, {n} images", "", "mean", "", found[0], "", found[1]])
        lost = [share(switched(part)) for part in both]
        rows.append([f"labels changed, {n} images", "", "share", "", lost[0], "", lost[1]])
        right = [share(restored(part)) for part in both]
        rows.append([f"true label afterwards, {n} images", "", "share", "", right[0], "", right[1]])
    return Table(
        title=f"{CALLED[experiment].capitalize()}, {one.name}",
        head=HEAD,
        rows=rows or [["–"] * len(HEAD)],
        about=_changed(one, experiment) if rows else NOBODY,
        item=ITEMS[experiment][one.is_pgd],
        paper=PRINTED[experiment][one.is_pgd],
    )


def _changed(one: SetNumbers, experiment: str) -> str:
    if experiment == "mask":
        return "Silenced: " + ", ".join(f"{layer} {channel}" for layer, channel in one.told["most"]) + "."
    filters = one.told["filters_least" if experiment == "enlarge_insensitive" else "filters_most"]
    return "Filters: " + "; ".join(f"{conv} {', '.join(map(str, found))}" for conv, found in filters.items()) + "."


def ranked(one: SetNumbers, *, least: bool) -> Table:
    """Tables 4 to 7: the feature maps that change most, or least, absolute and relative to their layer."""
    top = len(one.told["most"])
    absolute, relative = (one.ranked(key, least=least)[:top] for key in ("rmse", "relative"))
    rows = [
        [str(at), _named(first), f"{first['rmse']:.3g}", _named(second), f"{second['relative']:.3g}"]
        for at, (first, second) in enumerate(zip(absolute, relative, strict=True), 1)
    ]
    place = {(False, False): "Table 4", (True, False): "Table 5", (False, True): "Table 6", (True, True): "Table 7"}
    dead = sum(row["dead"] for row in one.maps)
    still = sum(row["rmse"] == 0 and not row["dead"] for row in one.maps)
    silent = f" {dead} maps are zero in all images on both sides and are left out; {still} others never change."
    silent = silent if least else ""
    return Table(
        title=f"Feature maps that change {'least' if least else 'most'}, {one.name}",
        head=["rank", "feature map", "RMSE", "relative to its layer", "RMSE / layer's RMS"],
        rows=rows,
        about=f"Mean over {one.told['pairs']} pairs, of {len(one.maps)} maps. Layer and channel, from 0.{silent}",
        item=place[least, one.is_pgd],
        paper=_printed_maps(least=least, pgd=one.is_pgd),
    )


def _printed_maps(*, least: bool, pgd: bool) -> str:
    if least:
        return "maps of activation_32 to 43, all 0.0883: a floor of the paper's sum over pixels, not an RMSE"
    top = "pool_1_pad_31 with 1128.23" if pgd else "pool_1_pad_35 with 1148.25"
    return f"{top}; all ten in pool_1_pad and activation_1. The printed numbers grow with a map's area"


def _named(row: Row) -> str:
    return f"{row['layer']}_{row['channel']}"


def layers_chart(one: SetNumbers) -> Chart:
    """Mean change of the maps of every layer, absolute and relative."""
    absolute, relative = one.by_layer("rmse"), one.by_layer("relative")
    top = max(absolute.values(), default=0) or 1
    series = {
        "RMSE, of its largest": [value / top for value in absolute.values()],
        "relative to the layer": list(relative.values()),
    }
    return lines(
        f"Mean change of a layer's maps, {one.name}",
        list(absolute),
        series,
        y_title="change",
        about=f"The absolute curve is divided by its largest value, {top:.3g}, to share the axis.",
        wide=True,
    )


def histograms(one: SetNumbers) -> list[Chart]:
    """Figure 2's histograms over all images: luminance, and the colours or other channels if there are several."""
    found = {(row["side"], row["channel"]): np.zeros(256) for row in one.histograms}
    for row in one.histograms:
        found[row["side"], row["channel"]] += np.asarray(row["counts"])
    shares: dict[Any, list[float]] = {}
    for key, counts in found.items():
        shares[key] = [float(value) for value in counts / max(1, counts.sum())]
    names = (("luminance",), tuple(dict.fromkeys(channel for _, channel in found if channel != "luminance")))
    words: dict[str, Any] = {"item": "Fig 2", "paper": "the two histograms of an image differ little"}
    charts, colours = [], {"clean, luminance": "--ok", "attacked, luminance": "--attacked"}
    for channels in filter(None, names):
        series = {f"{side}, {channel}": shares[side, channel] for channel in channels for side in ("clean", "attacked")}
        title = f"Histogram of {', '.join(channels)}, {one.name}"
        axes: dict[str, Any] = {"x_title": "level", "y_title": "share", "digits": 4}
        charts.append(lines(title, list(range(256)), series, colours=colours, **axes, **words))
    return charts


def overlap(one: SetNumbers) -> float:
    """Half the sum of absolute differences of the two luminance histograms: 0 the same, 1 disjoint."""
    sides = []
    for side in ("clean", "attacked"):
        parts = [row["counts"] for row in one.histograms if row["side"] == side and row["channel"] == "luminance"]
        counts = np.sum(parts, axis=0)
        sides.append(counts / counts.sum())
    return float(np.abs(sides[0] - sides[1]).sum() / 2)


def structure(layers: Sequence[Row]) -> Table:
    """Table 1: the model's layers whose maps are ranked."""
    rows = [[str(row["shown"]), str(row["name"]), " x ".join(map(str, row["shape"]))] for row in layers]
    return Table(
        title="Layers of the model",
        head=["shown as", "in the model", "channels x height x width"],
        rows=rows,
        item="Table 1",
        paper="the structure of ResNet-50",
    )
