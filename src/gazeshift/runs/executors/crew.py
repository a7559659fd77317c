"""Who computes the cells of a long run: this process, one after the other, unless a crew was set to work.

A stage of a run hands its cells to the crew and goes on when all are finished, whoever filled them.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from gazeshift.runs.store import Cell, CellResult, Store


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Cells that one function fills.

    Args:
        store: where they are kept.
        cells: in the order in which they are counted.
        compute: gives a cell's tables.
        stepped: called with each cell that is finished and the seconds that it took; 0 if it was there already.
    """

    store: Store
    cells: Sequence[Cell]
    compute: Callable[[Cell], CellResult]
    stepped: Callable[[Cell, float], None]

    def fill(self, cell: Cell) -> float:
        """Compute a cell and save it; gives the seconds that it took. An error has the cell as a note."""
        started = time.monotonic()
        try:
            self.store.save(cell, self.compute(cell))
        except Exception as error:
            error.add_note(f"in {cell}")
            raise
        return time.monotonic() - started


class Crew(Protocol):
    """Whoever finishes a stage's cells."""

    @property
    def follows(self) -> bool:
        """Whether another process leads the run: it opens, joins and tells, and this one only fills cells."""

    @property
    def card(self) -> Mapping[str, Any]:
        """What the manifest says of it; nothing of a process by itself."""

    def do(self, stage: Stage) -> None:
        """Return when every cell of the stage is finished."""


class Alone:
    """This process by itself."""

    follows = False
    card: Mapping[str, Any] = {}

    def do(self, stage: Stage) -> None:
        """Fill what is missing, in order."""
        for cell in stage.cells:
            stage.stepped(cell, 0.0 if stage.store.has(cell) else stage.fill(cell))


_PRESENT: ContextVar[Crew] = ContextVar("crew", default=Alone())  # noqa: B039  # it holds nothing


def crew() -> Crew:
    """The crew at work here."""
    return _PRESENT.get()


@contextmanager
def working(crew: Crew) -> Iterator[None]:
    """Let a crew finish the cells of whatever runs inside."""
    token = _PRESENT.set(crew)
    try:
        yield
    finally:
        _PRESENT.reset(token)
