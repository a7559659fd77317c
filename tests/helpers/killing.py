"""Work that is killed with kill -9 while it goes on, again and again, and then let through.

The processes to kill are forked from one that has imported torch already, so that each of them begins in milliseconds.
"""

import gc
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

FORKED = get_context("forkserver")
FORKED.set_forkserver_preload(["torch", "gazeshift.runs.run"])


def strike(work: Callable[..., object], *, after: int, seconds: float) -> bool:
    """Begin work in a process and kill it; gives whether it was still at work.

    Args:
        work: called with `progress`; can be pickled.
        after: so many calls of `progress`,
        seconds: and so many seconds.
    """
    heard, said = FORKED.Pipe(duplex=False)
    process = FORKED.Process(target=_begin, args=(work, said))
    process.start()
    said.close()
    with suppress(EOFError):  # it is through
        for _ in range(after):
            heard.recv()
        time.sleep(seconds)
    process.kill()
    process.join()
    heard.close()
    return process.exitcode == -signal.SIGKILL


def _begin(work: Callable[..., object], said: Connection) -> None:
    torch.set_num_threads(1)
    work(progress=lambda *_: said.send(None))


def run_killed(study: type, settings: Mapping[str, Any], out: Path, *, times: int, within: float) -> None:
    """Kill a study so many times, each within so many seconds after its first cell; then run it to its end."""
    work, moments = partial(study(**settings).run, out), random.Random(0)
    struck = sum(strike(work, after=1, seconds=moments.uniform(0, within)) for _ in range(times))
    assert struck > times / 2, "it was through before it could be killed"
    work()


def check_same(out: Path, undisturbed: Path, tables: Sequence[str]) -> None:
    """The same bytes in every table, and nothing half written is left."""
    for name in tables:
        assert (out / f"{name}.parquet").read_bytes() == (undisturbed / f"{name}.parquet").read_bytes(), name
    gc.collect()  # the folder's lock goes with the run
    assert not list((out / "parts").glob(".*"))
