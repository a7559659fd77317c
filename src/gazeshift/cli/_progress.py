"""Progress of long steps: a bar with rate and time left on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int, str], None]

QUIET_SECONDS = 15.0


@contextmanager
def progress_shown() -> Iterator[Progress]:
    """A function to call with (done, total, what); shows on standard error, and clears up at the end."""
    if sys.stderr.isatty():
        with _bar() as bar:
            yield bar
    else:
        yield _lines()


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task, started = shown.add_task("", total=None, rate=""), time.monotonic()

        def step(done: int, total: int, what: str) -> None:
            shown.update(task, completed=done, total=total, description=what, rate=_rate(done, started))

        yield step


def _lines() -> Progress:
    started, last = time.monotonic(), [0.0]

    def step(done: int, total: int, what: str) -> None:
        now = time.monotonic()
        if done == total or now - last[0] > QUIET_SECONDS:
            last[0] = now
            left = (now - started) / max(done, 1) * (total - done)
            sys.stderr.write(f"{done} of {total} {what}, {_rate(done, started)}, {left:.0f} s left\n")
            sys.stderr.flush()

    return step


def _rate(done: int, started: float) -> str:
    return f"{done / max(time.monotonic() - started, 1e-9):.2f}/s"
