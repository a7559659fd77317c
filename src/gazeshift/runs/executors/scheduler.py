"""The process that leads: hands out cells, counts them, and replaces workers that die."""

import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, Protocol

from gazeshift.errors import WorkerError
from gazeshift.runs.executors.crew import Stage
from gazeshift.runs.executors.messages import Died, Done, Failed, Ready, Word
from gazeshift.runs.store import Cell, Store

MOST_DEATHS = 3  # of workers, by one cell or while opening, before it is no accident
ARRIVAL_SECONDS = 10.0  # that a file written on another machine may take to be seen here


class Team(Protocol):
    """Workers of one kind, each known by its number."""

    @property
    def card(self) -> Mapping[str, Any]:
        """What the manifest says of them."""

    def hire(self) -> int:
        """Begin one more; its first word is `Ready`."""

    def ask(self, worker: int, order: str) -> None:
        """Give an order to a worker that has none; one that is dead says so to `hear`."""

    def hear(self) -> tuple[int, Word]:
        """Wait for the next word of any worker. One that `Died` is forgotten."""


class Leader:
    """The crew of a run that has workers: one order at a time for each, so that nothing piles up.

    Args:
        team: the workers.
        most: of them side by side.
    """

    follows = False

    def __init__(self, team: Team, most: int) -> None:
        self.team, self.most = team, most
        self.opening: set[int] = set()
        self.free: list[int] = []
        self.busy: dict[int, Cell] = {}
        self.deaths: Counter[str] = Counter()
        self.stillborn = self.in_vain = 0

    @property
    def card(self) -> Mapping[str, Any]:
        """Kind and number of the workers."""
        return self.team.card

    def do(self, stage: Stage) -> None:
        """Have every cell that is missing filled; none is given to two workers.

        Raises:
            WorkerError: a cell has killed a worker three times, or workers die and none finishes anything.
            Exception: whatever a worker raised.
        """
        todo: deque[Cell] = deque()
        for cell in stage.cells:
            if stage.store.has(cell):
                stage.stepped(cell, 0.0)
            else:
                todo.append(cell)
        while todo or self.busy:
            self._hire(len(todo))
            while todo and self.free:
                self._ask(self.free.pop(), todo.popleft(), stage)
            self._listen(todo, stage)

    def _hire(self, waiting: int) -> None:
        """As many workers as there are cells for, and no more than wanted."""
        while len(self.opening) + len(self.free) < waiting and self._count < self.most:
            self.opening.add(self.team.hire())

    @property
    def _count(self) -> int:
        return len(self.opening) + len(self.free) + len(self.busy)

    def _ask(self, worker: int, cell: Cell, stage: Stage) -> None:
        self.busy[worker] = cell
        self.team.ask(worker, str(stage.store.place(cell)))

    def _listen(self, todo: deque[Cell], stage: Stage) -> None:
        worker, word = self.team.hear()
        match word:
            case Ready():
                self.stillborn = 0
                self.opening.discard(worker)
                self.free.append(worker)
            case Done(seconds):
                self.in_vain = 0
                cell = self.busy.pop(worker)
                _await(stage.store, cell)
                self.free.append(worker)
                stage.stepped(cell, seconds)
            case Failed(error):
                raise error
            case Died(how):
                self._bury(worker, how, todo)

    def _bury(self, worker: int, how: str, todo: deque[Cell]) -> None:
        """Give a dead worker's cell to another one, after all others."""
        self.opening.discard(worker)
        if worker in self.free:
            self.free.remove(worker)
            return
        cell = self.busy.pop(worker, None)
        if cell is None:
            self.stillborn += 1
            if self.stillborn == MOST_DEATHS:
                raise WorkerError(
                    f"{MOST_DEATHS} workers in a row died before they had opened the model and the images ({how}). "
                    "Take fewer workers, or run it without any to see why."
                )
            return
        self.deaths[cell.key] += 1
        if self.deaths[cell.key] == MOST_DEATHS:
            raise WorkerError(_poisonous(cell, how))
        self.in_vain += 1
        if self.in_vain == MOST_DEATHS + self.most:
            raise WorkerError(
                f"{self.in_vain} workers in a row died at work and finished nothing ({how}). If memory ran out, take a "
                "smaller --batch-size or fewer workers; otherwise run it without any to see why."
            )
        todo.append(cell)


def _poisonous(cell: Cell, how: str) -> str:
    return (
        f"{cell} ended its worker {MOST_DEATHS} times ({how}). If memory ran out, take a smaller --batch-size or fewer "
        "workers; otherwise leave its images out. Everything else is kept: the same command goes on from there."
    )


def _await(store: Store, cell: Cell) -> None:
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
