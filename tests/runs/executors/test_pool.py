"""The pool, before workers that do as a script says; and what a worker does, called here."""

import os
import pickle
import sys
from collections import deque
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pytest
import torch

from gazeshift.errors import WorkerError
from gazeshift.runs.executors import pool as pools
from gazeshift.runs.executors import worker as workers
from gazeshift.runs.executors.pool import Pool
from gazeshift.runs.reopen import Reopened
from gazeshift.runs.store import Cell, CellResult, Store

STILLBORN, IDLE = -1, -2  # dies before it is ready; dies after its first cell, when it has no other
EVER = 1000


class DeathError(Exception):
    """Of a worker."""


class Scripted:
    """A worker with a fate: how many cells it fills before it dies of the next one."""

    death = DeathError

    def __init__(self, team: "Team", fate: int) -> None:
        self.team, self.left = team, fate

    def submit(self, pickled: bytes, cell: Cell | None) -> Future:
        call: Future = Future()
        if cell is not None:
            self.team.asked.append(cell.number)
        if self.left == STILLBORN or (cell is not None and (self.left == 0 or cell == self.team.poison)):
            call.set_exception(DeathError("no memory"))
        else:
            call.set_result(workers.work(pickled, cell))
            if cell is not None:
                self.left = STILLBORN if self.left == IDLE else self.left - 1
        return call

    def cause(self, error: Exception) -> str:
        return str(error)


class Team:
    """Workers that each have a fate."""

    card: ClassVar[dict] = {}

    def __init__(self, *fates: int, size: int = 1, poison: Cell | None = None) -> None:
        self.fates, self.size, self.poison = deque(fates), size, poison
        self.asked: list[int] = []
        self.hired = 0

    def hire(self) -> Scripted:
        self.hired += 1
        return Scripted(self, self.fates.popleft())

    def close(self) -> None:
        """Nothing is open."""


def compute(cell: Cell) -> CellResult:
    return CellResult(tables={"rows": pa.table({"number": [cell.number]})})


def begun(folder: Path, count: int) -> tuple[Store, list[Cell]]:
    store = Store(folder)
    store.open({})
    return Store(folder), [Cell(number=number, inputs={}, ids=(f"{number}.png",)) for number in range(count)]


def finished(team: Team, cells: list[Cell], store: Store, done: list[int] | None = None) -> list[int]:
    """Numbers of the cells in the order in which they are finished."""
    done = [] if done is None else done
    for cell, _ in Pool(team).map(compute, cells, store):
        done.append(cell.number)
    return done


def test_deaths_that_work_lies_between_are_accidents(tmp_path):
    store, cells = begun(tmp_path, 9)
    team = Team(*[STILLBORN, 1] * 5, EVER)
    assert sorted(finished(team, cells, store)) == list(range(9))
    assert all(store.has(cell) for cell in cells)
    assert len(team.asked) == 9 + 5


def test_a_dead_workers_cell_is_done_once_and_after_all_others(tmp_path):
    store, cells = begun(tmp_path, 4)
    team = Team(0, EVER)
    assert finished(team, cells, store) == [1, 2, 3, 0]
    assert team.asked == [0, 1, 2, 3, 0]


def test_a_worker_that_dies_without_a_cell_is_replaced(tmp_path):
    store, cells = begun(tmp_path, 6)
    pool = Pool(Team(EVER, IDLE, *[EVER] * 3, size=2))
    done = [cell.number for part in (cells[:3], cells[3:]) for cell, _ in pool.map(compute, part, store)]
    assert sorted(done) == list(range(6))


def test_there_are_no_more_workers_than_cells(tmp_path):
    store, cells = begun(tmp_path, 2)
    team = Team(*[EVER] * 5, size=5)
    finished(team, cells, store)
    assert team.hired == 2


def test_workers_stay_from_one_map_to_the_next(tmp_path):
    store, cells = begun(tmp_path, 8)
    team = Team(*[EVER] * 5, size=2)
    pool = Pool(team)
    for part in (cells[:4], cells[4:]):
        assert len(list(pool.map(compute, part, store))) == 4
    assert team.hired == 2


def test_what_is_there_already_comes_first_and_is_not_computed(tmp_path):
    store, cells = begun(tmp_path, 5)
    for at in (1, 3):
        store.save(cells[at], compute(cells[at]))
    team = Team(EVER)
    assert finished(team, cells, store) == [1, 3, 0, 2, 4]
    assert team.asked == [0, 2, 4]


def test_deaths_are_counted_by_cell_whoever_dies_of_it(tmp_path):
    store, cells = begun(tmp_path, 4)
    team, done = Team(*[EVER] * 9, size=2, poison=cells[1]), []
    with pytest.raises(WorkerError, match=r"cell 1 \(images 1.png\) ended its worker 3 times \(no memory\)"):
        finished(team, cells, store, done)
    assert sorted(done) == [0, 2, 3]
    assert team.asked.count(1) == 3


def test_workers_that_all_die_at_work_are_not_replaced_for_ever(tmp_path):
    store, cells = begun(tmp_path, 100)
    team = Team(*[0] * 100, size=2)
    with pytest.raises(WorkerError, match=r"5 workers in a row died while they computed, .* \(no memory\)"):
        finished(team, cells, store)
    assert team.hired <= 7


def test_workers_that_die_before_they_are_ready_are_not_replaced_for_ever(tmp_path):
    store, cells = begun(tmp_path, 100)
    team = Team(*[STILLBORN] * 100, size=2)
    with pytest.raises(WorkerError, match=r"3 workers in a row died before they had opened the model .* \(no memory\)"):
        finished(team, cells, store)
    assert team.hired <= 4


def test_a_part_that_is_not_seen_here_is_not_taken_for_written(tmp_path, monkeypatch):
    monkeypatch.setattr(pools, "ARRIVAL_SECONDS", 0.0)
    store, cells = begun(tmp_path, 2)
    monkeypatch.setattr(Store, "save", lambda *_: None)  # as if to another disk
    done: list[int] = []
    with pytest.raises(WorkerError, match="a folder that all of them share"):
        finished(Team(EVER), cells, store, done)
    assert done == []


def test_a_worker_stands_where_the_process_does_that_began_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(workers, "keep_freed_memory", lambda: None)
    (tmp_path / "there").mkdir()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    workers.settle(os.path.realpath(tmp_path / "there"), ["/mine", *sys.path])
    seen = os.getcwd(), sys.path[-1], torch.get_num_threads()  # noqa: PTH109  # as the worker has it
    torch.set_num_threads(before)
    assert seen == (os.path.realpath(tmp_path / "there"), "/mine", 1)


class UnreadableError(Exception):
    """It pickles, and cannot be read back."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} at {where}")


def fail(_cell: Cell, *, kind: type[Exception]) -> CellResult:
    raise kind("an error", "layer 3")


def leave(_cell: Cell) -> CellResult:
    raise SystemExit(4)


def test_an_error_that_cannot_travel_is_told_in_words_and_keeps_its_notes(tmp_path):
    store, (cell,) = begun(tmp_path, 1)
    found = workers.work(pickle.dumps((partial(fail, kind=UnreadableError), store)), cell)
    found = pickle.loads(pickle.dumps(found))  # noqa: S301  # our own bytes
    assert str(found) == "UnreadableError: an error at layer 3"
    assert found.__notes__[0] == "in cell 0 (images 0.png)"
    assert "test_pool.py" in found.__notes__[1]


def test_a_model_that_calls_exit_does_not_end_the_worker_without_a_word(tmp_path):
    store, (cell,) = begun(tmp_path, 1)
    found = workers.work(pickle.dumps((leave, store)), cell)
    assert isinstance(found, WorkerError)
    assert "sys.exit(4)" in str(found)


class Heavy(Reopened):
    """Takes long to open."""

    opened: ClassVar[list[str]] = []

    def __init__(self, name: str) -> None:
        self.recipe, self.name, self.open = (Heavy, (name,)), name, lambda: None  # a lambda cannot be pickled
        Heavy.opened.append(name)

    def use(self, cell: Cell) -> str:
        return f"{self.name} {cell.number}"


def test_what_is_opened_is_opened_once_in_each_process():
    Heavy.opened.clear()
    cell = Cell(number=3, inputs={}, ids=())
    pickled = [pickle.dumps(partial(Heavy(name).use, cell)) for name in "aab"]
    assert Heavy.opened == ["a", "a", "b"]
    assert [pickle.loads(one)() for one in [*pickled, *pickled]] == ["a 3", "a 3", "b 3"] * 2  # noqa: S301
    assert Heavy.opened == ["a", "a", "b", "a", "b"]
