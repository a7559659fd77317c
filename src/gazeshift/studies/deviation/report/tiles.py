"""The four numbers to see first: the figure, what it is, and what to hold it against."""

from collections.abc import Sequence

from gazeshift.report.document import NONE
from gazeshift.studies.deviation.report.findings import beyond_chance, what
from gazeshift.studies.deviation.report.outcomes import Outcome
from gazeshift.studies.deviation.report.series import SPLIT, AgainstNoise, Series
from gazeshift.studies.deviation.report.tables import percent, ranking, two

Tile = tuple[str, str, str]


def tiles(series: Series, outcomes: Sequence[Outcome]) -> tuple[Tile, ...]:
    """Success, how alike the layer is that moves most, layers beyond chance, and what remains of it by class."""
    compare = series.compared(series.chosen)
    return _success(series, outcomes), _moved(series, compare), _layers(compare), _held_fixed(series)


def _success(series: Series, outcomes: Sequence[Outcome]) -> Tile:
    attack, strength = series.attacks[series.chosen.attack], series.strengths[series.chosen.strength]
    found = next(o for o in outcomes if (o.attack.label, o.strength) == (attack, strength))
    noise = percent(found.noise_fooled, found.noise_correct)
    against = f"{found.fooled} of {found.correct} images; noise {noise}"
    return percent(found.fooled, found.correct), f"fooled by {attack}", against


def _moved(series: Series, compare: AgainstNoise) -> Tile:
    words = f"{what(series)} where it moves most"
    order = ranking(compare, series.measure(series.chosen))
    if not order:
        return NONE, words, "no map is defined"
    noise, place = two(compare.noise.median[order[0]]), order[0]
    return two(compare.attacked.median[place]), words, f"median at {series.layers[place]}; noise {noise}"


def _layers(compare: AgainstNoise) -> Tile:
    found, words = beyond_chance(compare), "layers beyond chance"
    if found is None or not found[1]:
        return NONE, words, "too few images to tell" if found is None else "no matched noise to compare with"
    return f"{found[0]} of {found[1]}", words, f"compromise probability above {two(compare.band[1])}"


def _held_fixed(series: Series) -> Tile:
    switched = series.split[series.chosen.key(SPLIT)].switched
    same = switched.attacked.get("reference")
    against = f"mean of {switched.images} switched images; noise {two(switched.noise.total)}"
    return two(same.total if same else None), f"{what(series)}, class held fixed", against
