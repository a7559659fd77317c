"""What a page must know of a measure: its name, its range, and which end of it is the same gaze."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from gazeshift.errors import DataError

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


def scales_of(cards: Iterable[Mapping[str, Any]], names: Sequence[str]) -> tuple[MeasureScale, ...]:
    """The measures that a study's tables have, in the order of its manifest.

    Args:
        cards: what the manifest says of each measure; None where its range does not end.
        names: what the tables hold.

    Raises:
        DataError: the manifest does not say what a measure's numbers mean.
    """
    told = [_of_card(card) for card in cards] or list(KNOWN.values())
    known = {scale.name: scale for scale in told}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise DataError(f"manifest.json does not say what the measure {unknown[0]} means. Run the study again.")
    return tuple(scale for scale in known.values() if scale.name in names)


def _of_card(card: Mapping[str, Any]) -> MeasureScale:
    try:
        ends = {"lowest": card["lowest"], "highest": card["highest"], "same": card["same"]}
        default = {"lowest": -inf, "highest": inf, "same": inf}
        numbers = {end: default[end] if value is None else float(value) for end, value in ends.items()}
        return MeasureScale(name=str(card["name"]), about=str(card.get("about", "")), **numbers)
    except (KeyError, TypeError, ValueError, AttributeError) as cause:
        raise DataError(
            f"manifest.json has a measure that cannot be understood: {card!r}. Run the study again."
        ) from cause
