"""Progress of long steps: a bar with rate and time left on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from gazeshift.runs.settings import Progress

QUIET_SECONDS = 15.0
FOUND_SECONDS = 0.05  # reading a finished piece takes less, and making one more


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
        task, pace = shown.add_task("", total=None, rate=""), Pace()

        def step(done: int, total: int, what: str) -> None:
            rate = pace(done, what)
            shown.update(task, completed=done, total=total, description=what, rate=f"{rate:.2f}/s" if rate else "")

        yield step


def _lines() -> Progress:
    pace, last = Pace(), [0.0]

    def step(done: int, total: int, what: str) -> None:
        now, rate = time.monotonic(), pace(done, what)
        if done == total or now - last[0] > QUIET_SECONDS:
            last[0] = now
            speed = f", {rate:.2f}/s, {(total - done) / rate:.0f} s left" if rate else ""
            sys.stderr.write(f"{done} of {total} {what}{speed}\n")
            sys.stderr.flush()

    return step


class Pace:
    """How fast a step goes: what a resumed run finds done already, all at once, is none of its work."""

    def __init__(self) -> None:
        self.what, self.done, self.began, self.last = "", 0, 0.0, 0.0

    def __call__(self, done: int, what: str) -> float | None:
        """So much is done of what is counted; gives it per second, or None while nothing is known."""
        now = time.monotonic()
        if what != self.what or done < self.done:
            self.what, self.done, self.began = what, done, now
        elif now - self.last < FOUND_SECONDS and self.began == self.last:
            self.done, self.began = done, now  # still being found
        self.last = now
        return (done - self.done) / (now - self.began) if now > self.began and done > self.done else None
