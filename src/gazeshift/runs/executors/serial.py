"""Cells computed by this process, one after the other; and what every executor is."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from gazeshift.runs.store import Cell, CellResult, Store

Compute = Callable[[Cell], CellResult]


class Executor(Protocol):
    """Whoever computes cells."""

    @property
    def card(self) -> Mapping[str, object]:
        """What the manifest says of it; nothing of a process by itself."""

    def map(self, compute: Compute, cells: Sequence[Cell], store: Store) -> Iterator[tuple[Cell, float]]:
        """Have every cell that is missing computed and saved; gives each, when it is there, with the seconds it took.

        Args:
            compute: gives a cell's tables; can be pickled.
            cells: in the order in which they are begun; what is there already comes first, with 0 seconds.
            store: where they are kept.

        Raises:
            WorkerError: workers die of a cell, or of opening the model.
            Exception: whatever `compute` raised, with the cell as a note.
        """


class Serial:
    """This process by itself."""

    card: Mapping[str, object] = {}

    def map(self, compute: Compute, cells: Sequence[Cell], store: Store) -> Iterator[tuple[Cell, float]]:
        """Compute what is missing, in order."""
        for cell in cells:
            started = time.monotonic()
            if store.has(cell):
                yield cell, 0.0
                continue
            with naming(cell):
                store.save(cell, compute(cell))
            yield cell, time.monotonic() - started


@contextmanager
def naming(cell: Cell) -> Iterator[None]:
    """An error in the block has the cell as a note."""
    try:
        yield
    except Exception as error:
        error.add_note(f"in {cell}")
        raise
