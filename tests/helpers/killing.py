"""Work that is killed with kill -9 while it goes on, again and again, and then let through.

The processes to kill are forked from one that has imported torch already, so that each of them begins in milliseconds.
"""

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

from gazeshift.runs.store import LOCK

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


def check_killed(study: type, settings: Mapping[str, Any], folder: Path, tables: Sequence[str], *, times: int) -> Path:
    """A study that is killed so many times, anywhere, and then let through ends with the bytes of an undisturbed one.

    Args:
        study: its class.
        settings: of the study.
        folder: for both of them.
        tables: to compare.
        times: that it is killed.
    """
    reports, moments, killed = list[tuple[object, ...]](), random.Random(0), folder / "killed"
    whole = study(**settings).run(folder / "whole", progress=lambda *told: reports.append(told))
    work = partial(study(**settings).run, killed)
    half = max(2, len(reports) // 2)  # what is finished is not reported again, or only in part
    places = sorted((moments.randrange(1, half), moments.uniform(0, 0.01)) for _ in range(times))
    assert sum(strike(work, after=after, seconds=seconds) for after, seconds in places) > times / 2
    work()
    for name in tables:
        assert (killed / f"{name}.parquet").read_bytes() == (whole / f"{name}.parquet").read_bytes(), name
    assert {file.name for file in (killed / "parts").glob(".*")} <= {
        LOCK
    }  # which goes with the last of the run's objects
    return killed
