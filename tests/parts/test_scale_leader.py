"""The process that leads, before workers that do as a script says; and a worker, before a line that is none."""

import os
import pickle
import sys
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pytest
import torch

from gazeshift.errors import WorkerError
from gazeshift.runs.executors import Job, _follow, _lead
from gazeshift.runs.executors.crew import Stage
from gazeshift.runs.executors.messages import Died, Done, Failed, Ready
from gazeshift.runs.executors.scheduler import Leader
from gazeshift.runs.executors.worker import Line, follow
from gazeshift.runs.store import Cell, CellResult, Store
from gazeshift.studies.deviation.settings import Deviation

STILLBORN, IDLE = -1, -2  # dies before it is ready; dies after its first order, when it has no other
EVER = 1000


class Scripted:
    """Workers with a fate each: how many orders it fills before it dies of the next one."""

    card: ClassVar[dict] = {}

    def __init__(self, *fates: int, most: int = 1, poison: Cell | None = None) -> None:
        self.fates, self.most, self.poison = deque(fates), most, poison
        self.stage, self.left, self.busy, self.asked = None, {}, {}, []
        self.news = deque()

    def hire(self) -> int:
        worker = len(self.asked) + len(self.left) + 100  # a number that was there before is not told apart
        self.left[worker] = self.fates.popleft()
        self.news.extend([(worker, Ready())] if self.left[worker] != STILLBORN else [])
        self.news.extend([(worker, Died("no memory"))] if self.left[worker] == STILLBORN else [])
        return worker

    def ask(self, worker: int, order: str) -> None:
        cell = next(cell for cell in self.stage.cells if str(self.stage.store.place(cell)) == order)
        assert self.left[worker] != STILLBORN, "it was dead already"
        assert worker not in self.busy, "it has an order"
        self.busy[worker] = cell
        self.asked.append(cell.number)
        if self.left[worker] != 0 and cell != self.poison:
            self.news.append((worker, Done(self.stage.fill(cell))))
        if self.left[worker] in (0, IDLE) or cell == self.poison:
            self.left[worker] = STILLBORN
            self.news.append((worker, Died("no memory")))
        else:
            self.left[worker] -= 1

    def hear(self) -> tuple:
        worker, word = self.news.popleft()
        self.busy.pop(worker, None)
        return worker, word


def begun(folder: Path, count: int) -> tuple[Stage, list[int]]:
    """A stage of so many cells, and a list of those that are told to be finished."""
    store, cells = Store(folder), [Cell(number=number, inputs={}, ids=(f"{number}.png",)) for number in range(count)]
    store.open({})
    told: list[int] = []
    stage = Stage(store=store, cells=cells, compute=compute, stepped=lambda cell, _: told.append(cell.number))
    return stage, told


def compute(cell: Cell) -> CellResult:
    return CellResult(tables={"rows": pa.table({"number": [cell.number]})}, notes={})


def led(stage: Stage, team: Scripted) -> Scripted:
    team.stage = stage
    Leader(team, team.most).do(stage)
    return team


def test_deaths_that_work_lies_between_are_accidents(tmp_path):
    stage, told = begun(tmp_path, 9)
    team = led(stage, Scripted(*[STILLBORN, 1] * 5, EVER))
    assert sorted(told) == list(range(9))
    assert all(stage.store.has(cell) for cell in stage.cells)
    assert len(team.asked) == 9 + 5


def test_a_dead_workers_cell_is_done_once_and_after_all_others(tmp_path):
    stage, told = begun(tmp_path, 4)
    assert led(stage, Scripted(0, EVER)).asked == [0, 1, 2, 3, 0]
    assert told == [1, 2, 3, 0]


def test_a_worker_that_dies_without_an_order_is_asked_no_more(tmp_path):
    stage, told = begun(tmp_path, 3)
    team = Scripted(EVER, IDLE, EVER, most=2)
    leader, team.stage = Leader(team, 2), stage
    leader.do(stage)
    assert team.asked == [0, 1, 2]
    team.stage = replace(stage, cells=[Cell(number=number, inputs={}, ids=()) for number in range(3, 6)])
    leader.do(team.stage)
    assert sorted(told) == list(range(6))


def test_there_are_no_more_workers_than_cells(tmp_path):
    stage, _ = begun(tmp_path, 2)
    team = led(stage, Scripted(*[EVER] * 5, most=5))
    assert len(team.left) == 2


def test_what_is_there_already_counts_and_is_nobodys_order(tmp_path):
    stage, told = begun(tmp_path, 5)
    for at in (1, 3):
        stage.fill(stage.cells[at])
    assert led(stage, Scripted(EVER)).asked == [0, 2, 4]
    assert sorted(told) == list(range(5))


def test_deaths_are_counted_by_cell_whoever_dies_of_it(tmp_path):
    stage, told = begun(tmp_path, 4)
    team = Scripted(*[EVER] * 9, most=2, poison=stage.cells[1])
    with pytest.raises(WorkerError, match=r"cell 1 \(images 1.png\) ended its worker 3 times \(no memory\)"):
        led(stage, team)
    assert sorted(told) == [0, 2, 3]
    assert team.asked.count(1) == 3


def test_a_part_that_is_not_seen_here_is_not_taken_for_written(tmp_path, monkeypatch):
    monkeypatch.setattr(_lead, "ARRIVAL_SECONDS", 0.0)
    stage, told = begun(tmp_path, 2)
    monkeypatch.setattr(Store, "save", lambda *_: None)  # as if to another disk
    with pytest.raises(WorkerError, match="a folder that all of them share"):
        led(stage, Scripted(EVER))
    assert told == []


def no_order() -> None:
    """Nothing is asked for."""


@pytest.fixture
def settled(tmp_path, monkeypatch):
    """Whatever a worker settles is undone afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(_follow, "keep_freed_memory", no_order)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("settled")
def test_a_worker_stands_where_the_leading_process_does(tmp_path):
    (tmp_path / "there").mkdir()
    seen = []

    def start(*_: object, **__: object) -> Path:
        seen.append((os.getcwd(), sys.path[-1], torch.get_num_threads()))  # noqa: PTH109  # as the job has it
        return tmp_path

    place = os.path.realpath(tmp_path / "there")
    follow(
        Job(start=start, settings=Deviation(), out=tmp_path, place=place, paths=("/mine", *sys.path)),
        Line(hear=no_order, say=lambda _: None),
    )
    assert seen == [(place, "/mine", 1)]


class UnreadableError(Exception):
    """It pickles, and cannot be read back."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} at {where}")


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("kind", [UnreadableError, type("LocalError", (UnreadableError,), {})])
def test_an_error_that_cannot_travel_is_told_in_words_and_keeps_its_notes(kind, tmp_path):
    said = []

    def fail(*_: object, **__: object) -> Path:
        error = kind("a fault", "layer 3")
        error.add_note("in cell 7")
        raise error

    follow(Job(start=fail, settings=Deviation(), out=tmp_path), Line(hear=no_order, say=said.append))
    (failed,) = pickle.loads(pickle.dumps(said))  # noqa: S301  # our own bytes
    assert isinstance(failed, Failed)
    assert str(failed.error) == f"{kind.__name__}: a fault at layer 3"
    assert failed.error.__notes__[0] == "in cell 7"
    assert "test_scale_leader.py" in failed.error.__notes__[1]
