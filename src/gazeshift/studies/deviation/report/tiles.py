"""The four numbers to see first: the figure, what it is, and what to hold it against."""

from collections.abc import Mapping, Sequence
from typing import Any

from gazeshift.report.document import NONE
from gazeshift.studies.deviation.report.findings import beyond_chance
from gazeshift.studies.deviation.report.outcomes import Outcome
from gazeshift.studies.deviation.report.series import Series, key
from gazeshift.studies.deviation.report.tables import percent, ranking, two

Tile = tuple[str, str, str]


def tiles(series: Series, compare: Mapping[str, Any], outcomes: Sequence[Outcome]) -> tuple[Tile, ...]:
    """Success, the lowest similarity, layers beyond chance, and what remains if the class is held fixed."""
    return (
        _success(series, outcomes),
        _similarity(series, compare),
        _layers(compare),
        _held_fixed(series),
    )


def _success(series: Series, outcomes: Sequence[Outcome]) -> Tile:
    choice = series["chosen"]
    attack, strength = series["attacks"][choice["attack"]], series["strengths"][choice["strength"]]
    found = next(o for o in outcomes if (o.attack.label, o.strength) == (attack, strength))
    noise = percent(found.noise_fooled, found.noise_correct)
    against = f"{found.fooled} of {found.correct} images; noise {noise}"
    return percent(found.fooled, found.correct), f"fooled by {attack}", against


def _similarity(series: Series, compare: Mapping[str, Any]) -> Tile:
    what = "similarity where it moves most"
    order = ranking(compare)
    if not order:
        return NONE, what, "no map is defined"
    noise, place = two(compare["noise"]["median"][order[0]]), order[0]
    return two(compare["attacked"]["median"][place]), what, f"median at {series['layers'][place]}; noise {noise}"


def _layers(compare: Mapping[str, Any]) -> Tile:
    found, what = beyond_chance(compare), "layers beyond chance"
    if found is None or not found[1]:
        return NONE, what, "too few images to tell" if found is None else "no matched noise to compare with"
    return f"{found[0]} of {found[1]}", what, f"compromise probability above {two(compare['band'][1])}"


def _held_fixed(series: Series) -> Tile:
    choice = series["chosen"]
    switched = series["split"][key(choice["attack"], choice["strength"], choice["cam"])]["switched"]
    similarity = switched.get("reference", {}).get("total")
    against = f"mean of {switched['images']} switched images; noise {two(switched['noise']['total'])}"
    return two(similarity), "similarity, class held fixed", against
