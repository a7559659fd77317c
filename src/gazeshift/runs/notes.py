"""What cells note beside their tables: what went wrong, what was counted, what it cost."""

from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict

from gazeshift.manifest import PassesEntry, SkippedEntry, UndefinedMaps


class CellNotes(BaseModel):
    """Notes of one cell. A study that notes more has a subclass.

    Args:
        skipped: images that could not be used.
        used: images that could.
        seconds: wall time of the work, without reading images.
        cpu_seconds: CPU time of this process.
        forwards: images sent through the model.
        backwards: images sent back through it.
        pass_seconds: of a bare forward and a bare backward pass per image, timed beside the work.
        right: images that the model classifies as labelled.
        examples: adversarial examples found.
        undefined: maps with nothing to compare.
        poles: places where a map's formula divides by zero.
    """

    model_config = ConfigDict(frozen=True, from_attributes=True)

    skipped: tuple[SkippedEntry, ...] = ()
    used: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    forwards: int = 0
    backwards: int = 0
    pass_seconds: tuple[float, float] | None = None
    right: int = 0
    examples: int = 0
    undefined: tuple[UndefinedMaps, ...] = ()
    poles: int = 0

    def beside(self) -> Self:
        """The same of images that are counted elsewhere."""
        return self.model_copy(update={"used": 0, "skipped": ()})


def passes_of(notes: Sequence[CellNotes]) -> PassesEntry:
    """All passes of the cells."""
    return PassesEntry(forwards=sum(note.forwards for note in notes), backwards=sum(note.backwards for note in notes))
