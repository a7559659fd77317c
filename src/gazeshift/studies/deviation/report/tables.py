"""Rows of the tables, as text. Numbers come in whole thousandths and are rounded in whole numbers, halves up."""

from collections.abc import Callable, Sequence

from gazeshift.report.document import NONE
from gazeshift.report.measure_scale import MeasureScale
from gazeshift.studies.deviation.report.series import (
    AgainstNoise,
    RoundedSpread,
    Series,
    SplitByClass,
    Structure,
    Thousandths,
)

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


def layer_rows(layers: Sequence[str], compare: AgainstNoise) -> Rows:
    """One row per layer: the measure attacked and under noise, difference, compromise, least alike."""
    return [
        [
            layer,
            *_cells(compare.attacked, place),
            *_cells(compare.noise, place),
            two(difference(compare, place)),
            two(compare.probability[place]),
            two(compare.paired[place]),
            str(compare.lowest[place]),
        ]
        for place, layer in enumerate(layers)
    ]


def difference(compare: AgainstNoise, place: int) -> int | None:
    """Mean attacked minus mean under noise, in thousandths."""
    attacked, noise = compare.attacked.mean[place], compare.noise.mean[place]
    return None if attacked is None or noise is None else attacked - noise


def ranking(compare: AgainstNoise, measure: MeasureScale) -> list[int]:
    """Places of the layers, the one that moves furthest beyond noise first; without noise, the least alike first."""
    alike = {
        kind: [None if mean is None else measure.alike(mean, 1000) for mean in compare.side(kind).mean]
        for kind in ("attacked", "noise")
    }
    pairs = zip(alike["attacked"], alike["noise"], strict=True)
    beyond = [None if ours is None or noise is None else ours - noise for ours, noise in pairs]
    keys = beyond if any(value is not None for value in beyond) else alike["attacked"]
    return [place for _, place in sorted((value, place) for place, value in enumerate(keys) if value is not None)]


def rank_rows(layers: Sequence[str], compare: AgainstNoise, measure: MeasureScale) -> Rows:
    """The layers that move furthest, with the count of images in which each is the least alike."""
    return [
        [
            str(rank),
            layers[place],
            two(difference(compare, place)),
            two(compare.attacked.mean[place]),
            two(compare.noise.mean[place]),
            f"{compare.lowest[place]} of {sum(compare.lowest)}",
        ]
        for rank, place in enumerate(ranking(compare, measure)[:RANKED], 1)
    ]


def histogram_rows(histogram: Sequence[int]) -> Rows:
    """Compromised layers, images, share of the images."""
    return [[str(layers), str(count), percent(count, sum(histogram))] for layers, count in enumerate(histogram)]


def split_rows(series: Series, split: SplitByClass) -> Rows:
    """All layers first, then each: means by group and target; a class that stayed has one target."""
    columns = [split.switched.attacked[target] for target in series.targets]
    columns += [split.switched.noise, split.stayed.attacked[series.targets[0]], split.stayed.noise]
    first = ["all layers", *(two(column.total) for column in columns)]
    rest = [[layer, *(two(column.mean[place]) for column in columns)] for place, layer in enumerate(series.layers)]
    return [first, *rest]


def strength_rows(layers: Sequence[str], levels: Sequence[AgainstNoise]) -> Rows:
    """Per layer: mean attacked, mean under noise, and compromise probability, at every strength."""
    return [
        [
            layer,
            *(two(level.attacked.mean[place]) for level in levels),
            *(two(level.noise.mean[place]) for level in levels),
            *(two(level.probability[place]) for level in levels),
        ]
        for place, layer in enumerate(layers)
    ]


def mod_rows(series: Series, structure: Structure) -> Rows:
    """Per strength, at the last layer: MOD and quartiles of NISSIM, attacked and under noise."""
    last = len(series.layers) - 1
    return [
        [
            f"{strength:g}",
            *(
                cell
                for kind in (structure.attacked, structure.noise)
                for cell in _nissim_cells(kind.mod[level], kind.spread[level], last)
            ),
        ]
        for level, strength in enumerate(series.strengths)
    ]


def structure_rows(layers: Sequence[str], structure: Structure, level: int) -> Rows:
    """Per layer: MOD at one strength and VID over all, attacked and under noise."""
    vids = [structure.attacked.vid, structure.noise.vid]
    return [
        [
            layer,
            three(structure.attacked.mod[level][place]),
            three(structure.noise.mod[level][place]),
            *(cell for vid in vids for cell in (_nissim_cells(vid.median, vid, place) if vid else [NONE, NONE, "0"])),
        ]
        for place, layer in enumerate(layers)
    ]


def quartiles(spread: RoundedSpread, place: int, digits: Callable[[int | None], str]) -> str:
    """The lower and the upper one; a dash if there are none."""
    return f"{digits(spread.low[place])} to {digits(spread.high[place])}" if spread.count[place] else NONE


def _cells(spread: RoundedSpread, place: int) -> list[str]:
    """Median, quartiles, mean and count."""
    middle = [two(spread.median[place]), quartiles(spread, place, two), two(spread.mean[place])]
    return [*middle, str(spread.count[place])]


def _nissim_cells(values: Thousandths, spread: RoundedSpread, place: int) -> list[str]:
    """Value, quartiles and count."""
    return [three(values[place]), quartiles(spread, place, three), str(spread.count[place])]
