"""The model's thread: batches of what belongs together, nothing for those who left, and one bad job fails alone."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError

import pytest

from gazeshift.serve.gateway._batch_queue import BatchQueue
from helpers.gateways import until


@pytest.fixture
def queue() -> Iterator[BatchQueue]:
    made = BatchQueue(max_batch=4, wait=0.2)
    yield made
    made.close(5)


def held(queue: BatchQueue) -> threading.Event:
    """Keep the thread busy until the event is set."""
    go, began = threading.Event(), threading.Event()
    queue.run(lambda: (began.set(), go.wait(20)))
    assert began.wait(5)
    return go


def test_jobs_of_one_key_are_done_together_and_each_gets_its_own_result(queue: BatchQueue) -> None:
    sizes: list[int] = []

    def double(given: list[int]) -> list[int]:
        sizes.append(len(given))
        return [2 * one for one in given]

    go = held(queue)
    results = [queue.submit(double, number, key="a") for number in range(6)]
    go.set()
    assert [one.result(5) for one in results] == [0, 2, 4, 6, 8, 10]
    assert sizes == [4, 2]


def test_other_keys_and_lone_calls_are_done_apart(queue: BatchQueue) -> None:
    seen: list[list[int]] = []

    def note(given: list[int]) -> list[int]:
        seen.append(list(given))
        return given

    go = held(queue)
    results = [queue.submit(note, number, key=number % 2) for number in range(4)] + [queue.run(lambda: 9)]
    go.set()
    assert [one.result(5) for one in results] == [0, 1, 2, 3, 9]
    assert seen == [[0, 2], [1, 3]]


def test_a_full_batch_does_not_wait() -> None:
    queue = BatchQueue(max_batch=2, wait=60)
    results = [queue.submit(list, number, key="a") for number in range(2)]
    assert [one.result(5) for one in results] == [0, 1]
    assert queue.close(5)


def test_a_job_whose_request_left_costs_nothing(queue: BatchQueue) -> None:
    done: list[int] = []
    go = held(queue)
    results = [queue.submit(lambda given: done.extend(given) or given, number, key="a") for number in range(3)]
    assert results[1].cancel()
    go.set()
    assert results[2].result(5) == 2
    assert done == [0, 2]


def test_one_bad_job_fails_alone(queue: BatchQueue) -> None:
    def invert(given: list[float]) -> list[float]:
        return [1 / one for one in given]

    go = held(queue)
    results = [queue.submit(invert, number, key="a") for number in (1, 0, 2)]
    go.set()
    assert results[0].result(5) == 1
    assert results[2].result(5) == 0.5
    with pytest.raises(ZeroDivisionError):
        results[1].result(5)


def test_closing_cancels_what_waits_and_lets_the_running_job_end() -> None:
    queue = BatchQueue(max_batch=1, wait=0)
    go = held(queue)
    waiting = queue.run(lambda: 1)
    assert not queue.close(0.05)
    with pytest.raises(CancelledError):
        waiting.result(1)
    with pytest.raises(RuntimeError, match="closed"):
        queue.run(lambda: 1)
    go.set()
    assert queue.close(5)


def test_batches_are_told_with_their_size() -> None:
    told: list[int] = []
    queue = BatchQueue(max_batch=8, wait=0, on_batch=lambda size, seconds: told.append(size if seconds >= 0 else -1))
    assert queue.run(lambda: 7).result(5) == 7
    assert queue.close(5)
    assert told == [1]


def test_calls_that_are_done_alone_do_not_change_what_a_job_is_said_to_take(queue: BatchQueue) -> None:
    queue.run(time.sleep, 0.3).result(5)
    assert queue.seconds_per_job == 0
    queue.submit(list, 1, key="a").result(5)
    until(lambda: queue.seconds_per_job > 0)
    queue.run(time.sleep, 0.3).result(5)
    queue.run(int).result(5)
    assert queue.seconds_per_job < 0.3


def test_what_a_job_takes_is_its_part_of_the_batch() -> None:
    told: list[tuple[int, float]] = []
    queue = BatchQueue(max_batch=4, wait=0, on_batch=lambda size, seconds: told.append((size, seconds)))
    go = held(queue)
    results = [queue.submit(list, number, key="a") for number in range(4)]
    go.set()
    assert [one.result(5) for one in results] == [0, 1, 2, 3]
    assert queue.close(5)
    size, seconds = told[-1]
    assert size == 4
    assert queue.seconds_per_job == pytest.approx(seconds / 4)
