"""Cells computed by several workers: one cell at a time for each, and another worker for one that dies."""

import pickle
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Protocol

from gazeshift.errors import WorkerError
from gazeshift.runs.executors.serial import Compute
from gazeshift.runs.store import Cell, Store

MAX_DEATHS = 3  # of workers, by one cell or while opening, before it is no accident
ARRIVAL_SECONDS = 10.0  # that a file written on another machine may take to be seen here


class Worker(Protocol):
    """A process that calls `gazeshift.runs.executors.worker.work`."""

    @property
    def death(self) -> type[Exception]:
        """What a call raises when the worker is dead."""

    def submit(self, pickled: bytes, cell: Cell | None) -> Future[float | Exception]:
        """Begin a call."""

    def cause(self, error: Exception) -> str:
        """How it died."""


class Team(Protocol):
    """Workers of one kind."""

    size: int  # of them side by side

    @property
    def card(self) -> Mapping[str, object]:
        """What the manifest says of them."""

    def hire(self) -> Worker:
        """Begin one more."""

    def close(self) -> None:
        """End them all, whatever they are doing."""


class Pool:
    """An executor that has workers. They stay from one map to the next.

    Args:
        team: begins them.
    """

    def __init__(self, team: Team) -> None:
        self.team = team
        self.idle: list[Worker] = []
        self.calls: dict[Future[float | Exception], tuple[Worker, Cell | None]] = {}  # no cell: it opens the model
        self.deaths: Counter[str] = Counter()
        self.deaths_in_a_row = {"opening": 0, "computing": 0}

    @property
    def card(self) -> Mapping[str, object]:
        """Kind and number of the workers."""
        return self.team.card

    def close(self) -> None:
        """End all workers."""
        self.team.close()

    def map(self, compute: Compute, cells: Sequence[Cell], store: Store) -> Iterator[tuple[Cell, float]]:
        """As every executor does it; a cell of a worker that died is given to another one, after all others."""
        pickled, missing = pickle.dumps((compute, store)), deque[Cell]()
        for one in cells:
            if store.has(one):
                yield one, 0.0
            else:
                missing.append(one)
        while missing or any(cell for _, cell in self.calls.values()):
            self._hire(len(missing), pickled)
            while missing and self.idle:
                self._call(self.idle.pop(), pickled, missing.popleft())
            for call in wait(self.calls, return_when=FIRST_COMPLETED).done:
                worker, cell = self.calls.pop(call)
                try:
                    seconds = call.result()
                except worker.death as error:
                    self._count_death(worker.cause(error), cell)
                    if cell is not None:
                        missing.append(cell)
                    continue
                if isinstance(seconds, Exception):
                    raise seconds
                self.deaths_in_a_row["opening" if cell is None else "computing"] = 0
                self.idle.append(worker)
                if cell is not None:
                    _wait_for(cell, store)
                    yield cell, seconds

    def _hire(self, waiting: int, pickled: bytes) -> None:
        """As many workers as there are cells for, and no more than wanted."""
        opening = sum(cell is None for _, cell in self.calls.values())
        room = self.team.size - len(self.idle) - len(self.calls)
        for _ in range(min(room, waiting - opening - len(self.idle))):
            self._call(self.team.hire(), pickled, None)

    def _call(self, worker: Worker, pickled: bytes, cell: Cell | None) -> None:
        self.calls[worker.submit(pickled, cell)] = worker, cell

    def _count_death(self, how: str, cell: Cell | None) -> None:
        """Refuse to go on where it is no accident.

        Raises:
            WorkerError: says what to do.
        """
        what = "opening" if cell is None else "computing"
        self.deaths_in_a_row[what] += 1
        in_a_row, memory = self.deaths_in_a_row[what], "If memory ran out, take a smaller --batch-size or fewer workers"
        if cell is None:
            if in_a_row == MAX_DEATHS:
                raise WorkerError(
                    f"{MAX_DEATHS} workers in a row died before they had opened the model and the images ({how}). "
                    "Take fewer workers, or run it without any to see why."
                )
            return
        self.deaths[cell.key] += 1
        if self.deaths[cell.key] == MAX_DEATHS:
            raise WorkerError(
                f"{cell} ended its worker {MAX_DEATHS} times ({how}). {memory}; otherwise leave its images out. "
                "Everything else is kept: the same command goes on from there."
            )
        if in_a_row == MAX_DEATHS + self.team.size:
            raise WorkerError(
                f"{in_a_row} workers in a row died while they computed, and none finished a cell ({how}). {memory}; "
                "otherwise run it without any to see why."
            )


def _wait_for(cell: Cell, store: Store) -> None:
    """Wait until a cell's tables are seen here.

    Raises:
        WorkerError: they are not.
    """
    for _ in range(20):
        if store.is_written(cell):
            return
        time.sleep(ARRIVAL_SECONDS / 20)
    raise WorkerError(
        f"a worker wrote {store.place(cell).name}, and it is not in {store.parts} as seen from here. Workers on other "
        "machines need a folder that all of them share at the same path: --out."
    )
