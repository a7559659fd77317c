"""Workers as processes of this machine, each begun anew and tied to the one that leads by a pipe of its own."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from gazeshift.runs.executors.job import Job
from gazeshift.runs.executors.messages import Died, Word
from gazeshift.runs.executors.parent import end_with_parent
from gazeshift.runs.executors.worker import Dismissed, Line, follow

__all__ = ["Processes"]

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
GRACE_SECONDS = 5.0


class Processes:
    """Processes of this machine; with several GPUs, each has one of them in turn.

    Args:
        job: what they work on.
        most: of them side by side.
    """

    def __init__(self, job: Job, most: int) -> None:
        self.job, self.most, self.gpus = job, most, _gpus() if job.wants_gpu else 0
        self.members: dict[int, tuple[SpawnProcess, Connection]] = {}

    @property
    def card(self) -> Mapping[str, Any]:
        """What the manifest says of them."""
        return {"workers": {"kind": "processes", "count": self.most}, "threads": 1}

    def hire(self) -> int:
        """Begin one more process, in the first free place."""
        place = next(at for at in range(self.most) if at not in self.members)
        job = self.job.on(f"cuda:{place % self.gpus}") if self.gpus else self.job
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(job, theirs), name=f"gazeshift-worker-{place}", daemon=True)
        with _environment(ONE_THREAD):
            process.start()
        theirs.close()
        self.members[place] = process, ours
        return place

    def ask(self, worker: int, order: str) -> None:
        """Send an order."""
        with suppress(OSError):  # dead: `hear` will find out
            self.members[worker][1].send(order)

    def hear(self) -> tuple[int, Word]:
        """The next word of any process; a closed pipe is the last word of a dead one."""
        numbers = {id(pipe): number for number, (_, pipe) in self.members.items()}
        pipe = wait([pipe for _, pipe in self.members.values()])[0]
        number = numbers[id(pipe)]
        try:
            word: Word = self.members[number][1].recv()
        except (EOFError, OSError):
            return number, Died(self._bury(number))
        return number, word

    def close(self) -> None:
        """Dismiss them all; one that computes is ended, for what it computes is not wanted any more."""
        for process, pipe in self.members.values():
            with suppress(OSError):
                pipe.send(None)
            pipe.close()
            process.join(0.2)
            process.terminate()
        for process, _ in self.members.values():
            process.join(GRACE_SECONDS)
            if process.is_alive():
                process.kill()
        self.members.clear()

    def _bury(self, number: int) -> str:
        process, pipe = self.members.pop(number)
        pipe.close()
        process.join(GRACE_SECONDS)
        code = process.exitcode or 0
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"it ended with code {code}"


def _serve(job: Job, pipe: Connection) -> None:
    """What a process does. Ctrl-C reaches all processes of a terminal: the leading one decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()

    def hear() -> str | None:
        try:
            order: str | None = pipe.recv()
        except (EOFError, OSError) as cause:  # the leading process is no more
            raise Dismissed from cause
        return order

    with suppress(OSError):  # nobody listens any more
        follow(job, Line(hear=hear, say=pipe.send))


def _gpus() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


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
