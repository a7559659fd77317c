"""CAMs and measures of studies that compare maps: those that are named, or all that there are."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import cast

from gazeshift.cams import DrawsMap
from gazeshift.errors import GazeshiftError, SettingsError
from gazeshift.manifest import MeasureEntry
from gazeshift.measures import MapMeasure
from gazeshift.registry import build, find, names, parse, summary

ALL = "all"
FIRST_CAMS = ("grad_cam", "grad_cam_pp", "layer_cam", "noise_cam", "cam")
FIRST_MEASURES = ("cosine", "nissim")


def cam_specs(given: Sequence[str]) -> tuple[str, ...]:
    """The CAMs of a study; ``all``: every usable one, Grad-CAM first."""
    return _usable("cams", FIRST_CAMS, callable) if tuple(given) == (ALL,) else tuple(given)


def open_cams(given: Sequence[str]) -> dict[str, DrawsMap]:
    """CAMs by spec.

    Raises:
        GazeshiftError: no such CAM, or settings that it does not have.
    """
    return {spec: build("cams", spec) for spec in cam_specs(given)}


def measure_specs(given: Sequence[str]) -> tuple[str, ...]:
    """The measures of a study; ``all``: every usable one that compares raw maps, cosine first."""
    return _usable("measures", FIRST_MEASURES, compares_maps) if tuple(given) == (ALL,) else tuple(given)


def open_measures(given: Sequence[str]) -> dict[str, MapMeasure]:
    """Measures by spec.

    Raises:
        UnknownNameError: no such measure.
        SettingsError: one that compares something else, or settings that it does not have.
    """
    specs = measure_specs(given)
    for name in (parse(spec)[0] for spec in specs):
        if not compares_maps(find("measures", name)):
            known = ", ".join(measure_specs([ALL]))
            raise SettingsError(f"the study compares raw maps, and the measure '{name}' does not. Choose from {known}.")
    return {spec: cast("MapMeasure", build("measures", spec)) for spec in specs}


def compares_maps(measure: object) -> bool:
    """Whether a measure gives each pair of raw maps a number, and says what its numbers mean."""
    says = all(hasattr(measure, name) for name in ("lowest", "highest", "same"))
    return says and getattr(measure, "compares", "") == "maps" and getattr(measure, "per", "") == "image"


def measure_entry(name: str, measure: MapMeasure) -> MeasureEntry:
    """What a manifest says of a measure, so that pages need not load it."""
    lowest, highest, same = (
        value if math.isfinite(value) else None for value in (measure.lowest, measure.highest, measure.same)
    )
    about = summary("measures", parse(name)[0])
    return MeasureEntry(name=name, lowest=lowest, highest=highest, same=same, about=about)


def _usable(family: str, first: Iterable[str], fits: Callable[[object], bool]) -> tuple[str, ...]:
    """Names of a family's parts, `first` before the others; another package's broken part harms no study."""

    def works(name: str) -> bool:
        try:
            return fits(find(family, name)) and callable(build(family, name))
        except GazeshiftError:  # `gazeshift list` says what is wrong with it
            return False

    known = names(family)
    order = [*(name for name in first if name in known), *(name for name in known if name not in first)]
    return tuple(filter(works, order))
