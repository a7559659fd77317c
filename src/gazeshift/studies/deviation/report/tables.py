"""Rows of the tables, as text. Numbers come in whole thousandths and are rounded in whole numbers, halves up."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gazeshift.report.document import NONE
from gazeshift.studies.deviation.report.series import Series

RANKED = 10
Rows = list[list[str]]


def two(value: int | None) -> str:
    """Thousandths with two decimals, halves up.

    >>> two(125), two(-40), two(None)
    ('0.13', '-0.04', '–')
    """
    if value is None:
        return NONE
    hundredths = (abs(value) + 5) // 10
    return f"{'-' if value < 0 and hundredths else ''}{hundredths // 100}.{hundredths % 100:02d}"


def three(value: int | None) -> str:
    """Thousandths with three decimals."""
    return NONE if value is None else f"{'-' if value < 0 else ''}{abs(value) // 1000}.{abs(value) % 1000:03d}"


def percent(part: int, whole: int) -> str:
    """A share in whole percent, halves up; a dash if the whole is empty."""
    return f"{(200 * part + whole) // (2 * whole)} %" if whole else NONE


def layer_rows(layers: Sequence[str], compare: Mapping[str, Any]) -> Rows:
    """One row per layer: similarity attacked and under noise, difference, compromise, lowest."""
    return [
        [
            layer,
            *_cells(compare["attacked"], place),
            *_cells(compare["noise"], place),
            two(difference(compare, place)),
            two(compare["probability"][place]),
            two(compare["paired"][place]),
            str(compare["lowest"][place]),
        ]
        for place, layer in enumerate(layers)
    ]


def difference(compare: Mapping[str, Any], place: int) -> int | None:
    """Mean similarity attacked minus mean similarity under noise, in thousandths."""
    attacked, noise = compare["attacked"]["mean"][place], compare["noise"]["mean"][place]
    return None if attacked is None or noise is None else attacked - noise


def ranking(compare: Mapping[str, Any]) -> list[int]:
    """Places of the layers, the one that moves furthest beyond noise first; without noise, the least similar first."""
    keys = [difference(compare, place) for place in range(len(compare["lowest"]))]
    if all(value is None for value in keys):
        keys = compare["attacked"]["mean"]
    return sorted((p for p, value in enumerate(keys) if value is not None), key=lambda place: (keys[place], place))


def rank_rows(layers: Sequence[str], compare: Mapping[str, Any]) -> Rows:
    """The layers that move furthest, with the count of images in which each is the lowest."""
    return [
        [
            str(rank),
            layers[place],
            two(difference(compare, place)),
            two(compare["attacked"]["mean"][place]),
            two(compare["noise"]["mean"][place]),
            f"{compare['lowest'][place]} of {sum(compare['lowest'])}",
        ]
        for rank, place in enumerate(ranking(compare)[:RANKED], 1)
    ]


def histogram_rows(histogram: Sequence[int]) -> Rows:
    """Compromised layers, images, share of the images."""
    return [[str(layers), str(count), percent(count, sum(histogram))] for layers, count in enumerate(histogram)]


def split_rows(series: Series, split: Mapping[str, Any]) -> Rows:
    """All layers first, then each: mean similarity by group and target; a class that stayed has one target."""
    columns = [split["switched"][target] for target in series["targets"]]
    columns += [split["switched"]["noise"], split["stayed"][series["targets"][0]], split["stayed"]["noise"]]
    first = ["all layers", *(two(column["total"]) for column in columns)]
    rest = [
        [layer, *(two(column["mean"][place]) for column in columns)] for place, layer in enumerate(series["layers"])
    ]
    return [first, *rest]


def strength_rows(layers: Sequence[str], levels: Sequence[Mapping[str, Any]]) -> Rows:
    """Per layer: mean similarity attacked, the same under noise, and compromise probability, at every strength."""
    return [
        [
            layer,
            *(two(level["attacked"]["mean"][place]) for level in levels),
            *(two(level["noise"]["mean"][place]) for level in levels),
            *(two(level["probability"][place]) for level in levels),
        ]
        for place, layer in enumerate(layers)
    ]


def mod_rows(series: Series, structure: Mapping[str, Any]) -> Rows:
    """Per strength, at the last layer: MOD and quartiles of NISSIM, attacked and under noise."""
    last = len(series["layers"]) - 1
    return [
        [
            f"{strength:g}",
            *(
                cell
                for kind in (structure["attacked"], structure["noise"])
                for cell in _nissim_cells(kind["mod"][level], kind["spread"][level], last)
            ),
        ]
        for level, strength in enumerate(series["strengths"])
    ]


def structure_rows(layers: Sequence[str], structure: Mapping[str, Any], level: int) -> Rows:
    """Per layer: MOD at one strength and VID over all, attacked and under noise."""
    nothing = {part: [None] * len(layers) for part in ("median", "low", "high")} | {"count": [0] * len(layers)}
    vids = [structure[kind]["vid"] or nothing for kind in ("attacked", "noise")]
    return [
        [
            layer,
            three(structure["attacked"]["mod"][level][place]),
            three(structure["noise"]["mod"][level][place]),
            *(
                cell
                for vid in vids
                for cell in (_nissim_cells(vid["median"], vid, place) if vid else [NONE, NONE, "0"])
            ),
        ]
        for place, layer in enumerate(layers)
    ]


def quartiles(spread: Mapping[str, Any], place: int, digits: Callable[[int | None], str]) -> str:
    """The lower and the upper one; a dash if there are none."""
    return f"{digits(spread['low'][place])} to {digits(spread['high'][place])}" if spread["count"][place] else NONE


def _cells(spread: Mapping[str, Any], place: int) -> list[str]:
    """Median, quartiles, mean and count."""
    middle = [two(spread["median"][place]), quartiles(spread, place, two), two(spread["mean"][place])]
    return [*middle, str(spread["count"][place])]


def _nissim_cells(values: Sequence[int | None], spread: Mapping[str, Any], place: int) -> list[str]:
    """Value, quartiles and count."""
    return [three(values[place]), quartiles(spread, place, three), str(spread["count"][place])]
