"""What a page must know of a measure: its name, its range, and which end of it is the same gaze."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from gazeshift.errors import DataError
from gazeshift.manifest import MeasureEntry

COSINE, NISSIM = "cosine", "nissim"
Numbers = TypeVar("Numbers", float, int, Float[np.ndarray, "..."])


@dataclass(frozen=True, kw_only=True)
class MeasureScale:
    """A measure's numbers and their meaning.

    Args:
        name: as the tables have it, with settings if it has some.
        lowest: lower end of its range; may be infinite.
        highest: upper end.
        same: what two equal maps have.
        about: what it measures, in one line.
    """

    name: str
    lowest: float
    highest: float
    same: float
    about: str = ""

    def alike(self, values: Numbers, unit: float = 1) -> Numbers:
        """Numbers that grow as maps become more alike, in the order in which the measure has them.

        Args:
            values: of the measure.
            unit: what they hold for each whole one: 1000 if they are thousandths.
        """
        if self.same >= self.highest:
            return values
        return -values if self.same <= self.lowest else -abs(values - unit * self.same)  # type: ignore[return-value]

    @property
    def reach(self) -> float:
        """How far from `same` its numbers go; rectified maps have none below 0 of a measure that could be negative."""
        return max(self.highest - self.same, self.same - max(self.lowest, 0))

    @property
    def noun(self) -> str:
        """What a larger number means more of."""
        return "similarity" if self.same >= self.highest else "deviation"

    @property
    def meaning(self) -> str:
        """Its range, and what the same map has, in words."""
        return f"From {self.lowest:g} to {self.highest:g}; {self.same:g} is the same map".replace("inf", "∞")


# What studies of version 0.1 have, whose manifests say nothing of measures.
KNOWN = {
    COSINE: MeasureScale(name=COSINE, lowest=-1, highest=1, same=1),
    NISSIM: MeasureScale(name=NISSIM, lowest=0, highest=1, same=0),
}


def scales_of(entries: Sequence[MeasureEntry], names: Sequence[str]) -> tuple[MeasureScale, ...]:
    """The measures that a study's tables have, in the order of its manifest.

    Args:
        entries: of the manifest.
        names: what the tables hold.

    Raises:
        DataError: the manifest does not say what a measure's numbers mean.
    """
    known = {entry.name: _scale(entry) for entry in entries} or KNOWN
    unknown = [name for name in names if name not in known]
    if unknown:
        raise DataError(f"manifest.json does not say what the measure {unknown[0]} means. Run the study again.")
    return tuple(scale for scale in known.values() if scale.name in names)


def _scale(entry: MeasureEntry) -> MeasureScale:
    return MeasureScale(
        name=entry.name,
        lowest=-inf if entry.lowest is None else entry.lowest,
        highest=inf if entry.highest is None else entry.highest,
        same=inf if entry.same is None else entry.same,
        about=entry.about,
    )
