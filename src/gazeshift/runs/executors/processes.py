"""Workers as processes of this machine, each an executor of one process, so that a death is told by its own cell."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process

from gazeshift.runs.executors.worker import settle, work
from gazeshift.runs.store import Cell

__all__ = ["Processes"]

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
GPUS = "CUDA_VISIBLE_DEVICES"
GRACE_SECONDS = 5.0


class Processes:
    """Processes of this machine; with several GPUs, each has one of them in turn.

    Args:
        size: how many, side by side.
        wants_gpu: whether they may use one.
    """

    def __init__(self, size: int, *, wants_gpu: bool) -> None:
        self.size, self.gpus = size, _gpus() if wants_gpu else []
        self.workers: dict[int, OneProcess] = {}

    @property
    def card(self) -> Mapping[str, object]:
        """What the manifest says of them."""
        return {"workers": {"kind": "processes", "count": self.size}, "threads": 1}

    def hire(self) -> "OneProcess":
        """Begin one more process, in the first free place."""
        living = {place: worker for place, worker in self.workers.items() if worker.is_alive}
        place = next(place for place in range(self.size) if place not in living)
        environment = {**ONE_THREAD, **({GPUS: self.gpus[place % len(self.gpus)]} if self.gpus else {})}
        self.workers = living | {place: OneProcess(environment)}
        return self.workers[place]

    def close(self) -> None:
        """End them all."""
        for worker in self.workers.values():
            worker.process.terminate()
        for worker in self.workers.values():
            worker.close()
        self.workers.clear()


class OneProcess:
    """One process.

    Args:
        environment: variables that it has from its beginning.
    """

    death = BrokenProcessPool

    def __init__(self, environment: Mapping[str, str]) -> None:
        about = (os.getcwd(), tuple(sys.path))  # noqa: PTH109  # as the worker takes it
        self.pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=_begin, initargs=about)
        before = set(active_children())
        with _environment(environment):
            self.pool.submit(int)  # a process is begun with its first call
        (self.process,) = set(active_children()) - before

    @property
    def is_alive(self) -> bool:
        """Whether it is there."""
        return self.process.is_alive()

    def submit(self, pickled: bytes, cell: Cell | None) -> Future[float | Exception]:
        """Begin a call."""
        try:
            return self.pool.submit(work, pickled, cell)
        except BrokenProcessPool as error:  # it died while it had nothing to do
            dead: Future[float | Exception] = Future()
            dead.set_exception(error)
            return dead

    def cause(self, _error: Exception) -> str:
        """How it died."""
        until = time.monotonic() + GRACE_SECONDS
        while self.process.exitcode is None and time.monotonic() < until:
            time.sleep(0.01)  # the executor's thread waits for the process too: whoever came second knows no code yet
        code = self.process.exitcode or 0
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"it ended with code {code}"

    def close(self) -> None:
        """Wait for its end for a moment."""
        self.process.join(GRACE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
        self.pool.shutdown(wait=True, cancel_futures=True)


def _begin(folder: str, paths: tuple[str, ...]) -> None:
    """Ctrl-C reaches all processes of a terminal: the one that began this one decides. This one ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    settle(folder, paths)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _gpus() -> list[str]:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    given = [name.strip() for name in os.environ.get(GPUS, "").split(",") if name.strip()]
    return given[:count] or [str(number) for number in range(count)]


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """These variables for a process begun inside."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
