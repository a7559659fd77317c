"""The model's own thread: one job after the other, and those that belong together in one batch."""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

Work = Callable[[Sequence[Any]], Sequence[Any]]
SMOOTHING = 0.2  # weight of the last batch in the running mean of seconds per job


@dataclass(frozen=True, kw_only=True, eq=False)
class QueuedJob:
    """One thing to do for one request.

    Args:
        work: does a list of things and gives one result for each.
        item: the thing.
        key: things of one key may be done in one call of `work`; None: alone.
        result: of this one; cancelled before its turn, it costs nothing.
    """

    work: Work
    item: Any
    key: Hashable
    result: Future[Any] = field(default_factory=Future)


class BatchQueue:
    """Runs jobs on one thread of its own, so that they block neither the event loop nor each other.

    The thread takes the oldest job and waits a moment for others of its key. Jobs of requests that have
    gone away are skipped. If a batch fails, its jobs are done one by one, so that one bad image fails alone.

    Args:
        max_batch: jobs in one batch.
        wait: seconds to wait for more.
        on_batch: called after each batch with its jobs and seconds.

    Attributes:
        seconds_per_job: running mean of jobs with a key; one that is done alone may take many times as long.
    """

    def __init__(
        self, *, max_batch: int, wait: float, on_batch: Callable[[int, float], None] = lambda *_: None
    ) -> None:
        self.max_batch, self.wait, self.on_batch = max_batch, wait, on_batch
        self.seconds_per_job = 0.0
        self._jobs: deque[QueuedJob] = deque()
        self._ready = threading.Condition()
        self._is_open = True
        self._thread = threading.Thread(target=self._serve, name="model", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def submit(self, work: Work, item: Any, *, key: Hashable) -> Future[Any]:
        """Line up a job; its result comes in the future."""
        job = QueuedJob(work=work, item=item, key=key)
        with self._ready:
            if not self._is_open:
                raise RuntimeError("the queue is closed")
            self._jobs.append(job)
            self._ready.notify()
        return job.result

    def run(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Line up a call that is done alone."""
        return self.submit(lambda items: [function(*items[0])], arguments, key=None)

    def close(self, seconds: float = 0.0) -> bool:
        """Cancel what waits, let the running job end within so many seconds; whether it did."""
        with self._ready:
            self._is_open = False
            while self._jobs:
                self._jobs.popleft().result.cancel()
            self._ready.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _serve(self) -> None:
        while (batch := self._next()) is not None:
            alive = [job for job in batch if job.result.set_running_or_notify_cancel()]
            if alive:
                self._do(alive)

    def _next(self) -> list[QueuedJob] | None:
        """The oldest job that somebody waits for, and others of its key; None if the queue is closed."""
        with self._ready:
            self._ready.wait_for(self._first)
            if not self._jobs:
                return None
            key = self._jobs[0].key
            if key is None:
                return [self._jobs.popleft()]
            self._ready.wait_for(lambda: self._count(key) >= self.max_batch or not self._is_open, self.wait)
            batch = [job for job in self._jobs if job.key == key][: self.max_batch]
            self._jobs = deque(job for job in self._jobs if job not in batch)
            return batch

    def _first(self) -> bool:
        """Whether there is something to do, or nothing ever again."""
        while self._jobs and self._jobs[0].result.cancelled():
            self._jobs.popleft().result.set_running_or_notify_cancel()
        return bool(self._jobs) or not self._is_open

    def _count(self, key: Hashable) -> int:
        return sum(job.key == key for job in self._jobs)

    def _do(self, batch: Sequence[QueuedJob]) -> None:
        start = time.perf_counter()
        try:
            results = batch[0].work([job.item for job in batch])
        except Exception as error:  # raised where the result is awaited
            if len(batch) > 1:
                for job in batch:
                    self._do([job])
                return
            batch[0].result.set_exception(error)
        else:
            for job, result in zip(batch, results, strict=True):
                job.result.set_result(result)
        seconds = time.perf_counter() - start
        if batch[0].key is not None:
            latest = seconds / len(batch)
            self.seconds_per_job += (latest - self.seconds_per_job) * (SMOOTHING if self.seconds_per_job else 1)
        self.on_batch(len(batch), seconds)
