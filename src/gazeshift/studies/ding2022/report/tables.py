"""Tables and charts of the study of Ding et al. 2022 that need no training, in the paper's order."""

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from gazeshift.report.cells import table
from gazeshift.report.charts import bars, lines
from gazeshift.report.document import Chart, Head, Table, number, share
from gazeshift.studies.ding2022.manifest import ShownLayerEntry
from gazeshift.studies.ding2022.report.numbers import (
    PIXELS,
    SIDES,
    Change,
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


def table_or_dash(title: str, head: Head, rows: Sequence[Sequence[str]], about: str, empty: str, **words: Any) -> Table:
    """A table; where it has no rows, a row of dashes and why."""
    return Table(title=title, head=head, rows=rows or [["–"] * len(head)], about=about if rows else empty, **words)


HEAD = ("category", "", "change", "clean: label", "confidence", "adversarial: label", "confidence")


def _answers(pair: tuple[Change, Change], value: str) -> Iterator[list[str]]:
    """The model's answers to the clean and the attacked image before and after a change."""
    for when in ("before", "after"):
        answers = [one.answer(when) for one in pair]
        cells = [cell for name, confidence in answers for cell in (short(name), f"{100 * confidence:.2f}")]
        yield [short(pair[0].label_name), value, when, *cells]


def _sides(first: str, value: str, what: str, cells: Sequence[str]) -> list[str]:
    """A row of statistics, of the clean and the attacked images."""
    return [first, value, what, "", cells[0], "", cells[1]]


def painted(one: SetNumbers) -> Table:
    """Tables 2 and 3: the first draw of the pixels, and the statistic of it."""
    clean, attacked = ([row for row in one.changes("roi", side) if row.draw == 0] for side in SIDES)
    pairs = {(pair[0].image, pair[0].value): pair for pair in zip(clean, attacked, strict=True)}
    images = list(dict.fromkeys(image for image, _ in pairs))[:SHOWN]
    rows = [row for image, value in product(images, one.values) for row in _answers(pairs[image, value], f"{value:g}")]
    for value in one.values:
        found = [points(one.by_draw("roi", side, value)[0]) for side in SIDES]
        rows.append(_sides("change statistic", f"{value:g}", "mean", found))
    return table_or_dash(
        f"Random pixels of the region of interest painted over, {one.name}",
        HEAD,
        rows,
        "One draw, confidences in percent. The statistic is the mean change over images whose top-1 label stayed.",
        NOBODY,
        item="Table 3" if one.told.is_pgd else "Table 2",
        paper=PAINTED[one.told.is_pgd],
    )


def control(one: SetNumbers) -> Table:
    """All draws, inside and outside the region: the statistic with its spread over draws, sizes, labels lost."""
    rows = []
    for value, place, side in product(one.values, PIXELS, SIDES):
        found, draws = one.changes(place, side, value), np.array(one.by_draw(place, side, value))
        known = draws[np.isfinite(draws)]
        rows.append(
            [
                f"{value:g}, {side}, {PLACES[place]}",
                points(change_statistic(found)),
                number(float(known.std()) if known.size else None),
                number(absolute_change(found)),
                share(switched(found)),
                str(len(found)),
            ]
        )
    about = "An effect of the region is what it has beyond as many random pixels elsewhere."
    return table_or_dash(
        f"The same with repeated draws, and outside the region, {one.name}",
        ["painted", "change, points", "spread over draws", "size of change", "labels changed", "n"],
        rows,
        about,
        about,
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
    clean, attacked = both = [one.changes(experiment, side) for side in SIDES]
    rows = [row for pair in list(zip(clean, attacked, strict=True))[:SHOWN] for row in _answers(pair, "")]
    if rows:
        n = f"{len(clean)} images"
        rows.append(_sides(f"change statistic, {n}", "", "mean", [points(change_statistic(part)) for part in both]))
        rows.append(_sides(f"labels changed, {n}", "", "share", [share(switched(part)) for part in both]))
        rows.append(_sides(f"true label afterwards, {n}", "", "share", [share(restored(part)) for part in both]))
    return table_or_dash(
        f"{CALLED[experiment].capitalize()}, {one.name}",
        HEAD,
        rows,
        _changed(one, experiment),
        NOBODY,
        item=ITEMS[experiment][one.told.is_pgd],
        paper=PRINTED[experiment][one.told.is_pgd],
    )


def _changed(one: SetNumbers, experiment: str) -> str:
    if experiment == "mask":
        return "Silenced: " + ", ".join(f"{layer} {channel}" for layer, channel in one.told.most) + "."
    filters = one.told.filters_least if experiment == "enlarge_insensitive" else one.told.filters_most
    return "Filters: " + "; ".join(f"{conv} {', '.join(map(str, found))}" for conv, found in filters.items()) + "."


def ranked(one: SetNumbers, *, least: bool) -> Table:
    """Tables 4 to 7: the feature maps that change most, or least, absolute and relative to their layer."""
    top = len(one.told.most)
    absolute, relative = (one.ranked(key, least=least)[:top] for key in ("rmse", "relative"))
    place = {(False, False): "Table 4", (True, False): "Table 5", (False, True): "Table 6", (True, True): "Table 7"}
    dead = sum(each.dead for each in one.maps)
    still = sum(each.rmse == 0 and not each.dead for each in one.maps)
    silent = f" {dead} maps are zero in all images on both sides and are left out; {still} others never change."
    silent = silent if least else ""
    return table(
        f"Feature maps that change {'least' if least else 'most'}, {one.name}",
        enumerate(zip(absolute, relative, strict=True), 1),
        {
            "rank": lambda row: str(row[0]),
            "feature map": lambda row: row[1][0].name,
            "RMSE": lambda row: f"{row[1][0].rmse:.3g}",
            "relative to its layer": lambda row: row[1][1].name,
            "RMSE / layer's RMS": lambda row: f"{row[1][1].relative:.3g}",
        },
        about=f"Mean over {one.told.pairs} pairs, of {len(one.maps)} maps. Layer and channel, from 0.{silent}",
        item=place[least, one.told.is_pgd],
        paper=_printed_maps(least=least, pgd=one.told.is_pgd),
    )


def _printed_maps(*, least: bool, pgd: bool) -> str:
    if least:
        return "maps of activation_32 to 43, all 0.0883: a floor of the paper's sum over pixels, not an RMSE"
    top = "pool_1_pad_31 with 1128.23" if pgd else "pool_1_pad_35 with 1148.25"
    return f"{top}; all ten in pool_1_pad and activation_1. The printed numbers grow with a map's area"


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
    found = one.histograms
    shares = {key: [float(value) for value in counts / max(1, counts.sum())] for key, counts in found.items()}
    names = (("luminance",), tuple(dict.fromkeys(channel for _, channel in found if channel != "luminance")))
    charts, colours = [], {"clean, luminance": "--ok", "attacked, luminance": "--attacked"}
    for channels in filter(None, names):
        series = {f"{side}, {channel}": shares[side, channel] for channel in channels for side in ("clean", "attacked")}
        chart = lines(
            f"Histogram of {', '.join(channels)}, {one.name}",
            list(range(256)),
            series,
            x_title="level",
            y_title="share",
            colours=colours,
            digits=4,
            item="Fig 2",
            paper="the two histograms of an image differ little",
        )
        charts.append(chart)
    return charts


def overlap(one: SetNumbers) -> float:
    """Half the sum of absolute differences of the two luminance histograms: 0 the same, 1 disjoint."""
    counts = [one.histograms[side, "luminance"] for side in SIDES]
    sides = [each / each.sum() for each in counts]
    return float(np.abs(sides[0] - sides[1]).sum() / 2)


def structure(layers: Sequence[ShownLayerEntry]) -> Table:
    """Table 1: the model's layers whose maps are ranked."""
    return table(
        "Layers of the model",
        layers,
        {
            "shown as": lambda layer: layer.shown,
            "in the model": lambda layer: layer.name,
            "channels x height x width": lambda layer: " x ".join(map(str, layer.shape or ())),
        },
        item="Table 1",
        paper="the structure of ResNet-50",
    )
