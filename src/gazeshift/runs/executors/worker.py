"""A worker: begins the same run as the process that leads, and fills the cells that it is asked for.

It goes through the run as if it resumed it, one stage behind: whatever was joined, trained or chosen between two
stages lies in the folder before the first order of the later stage comes, and is read back from there.
"""

import os
import pickle
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gazeshift.errors import WorkerError
from gazeshift.runs.executors.crew import Stage, working
from gazeshift.runs.executors.job import Job
from gazeshift.runs.executors.memory import keep_freed_memory
from gazeshift.runs.executors.messages import Done, Failed, Ready, Word


class Dismissed(BaseException):
    """The run needs this worker no more. No `Exception`, because nothing on the way may catch it."""


@dataclass
class Line:
    """The worker's end of what ties it to the process that leads.

    Args:
        hear: waits for an order: a part's path, or None when there are no more.
        say: answers it.
    """

    hear: Callable[[], str | None]
    say: Callable[[Word], None]
    order: str | None = None
    is_open: bool = field(default=False, init=False)

    def asked(self) -> str:
        """The order that is not yet answered; waits for one."""
        if not self.is_open:
            self.say(Ready())
            self.is_open = True
        self.order = self.order or self.hear()
        if self.order is None:
            raise Dismissed
        return self.order

    def done(self, seconds: float) -> None:
        """Answer the order."""
        self.order = None
        self.say(Done(seconds))


@dataclass(frozen=True)
class Follower:
    """The crew inside a worker: fills a stage's cells as long as it is asked for them."""

    line: Line
    follows: bool = True
    card: Mapping[str, Any] = field(default_factory=dict)

    def do(self, stage: Stage) -> None:
        """Return when a cell of another stage is asked for: this stage is then finished."""
        mine = {str(stage.store.place(cell)): cell for cell in stage.cells}
        while self.line.asked() in mine:
            self.line.done(stage.fill(mine[self.line.asked()]))


def follow(job: Job, line: Line) -> None:
    """Serve until dismissed; an error ends it, and goes to the process that leads."""
    try:
        _settle(job)
        with warnings.catch_warnings(), working(Follower(line)):
            warnings.simplefilter("ignore")  # the process that leads has shown them
            job()
    except Dismissed:
        return
    except SystemExit as ended:  # the code of a model may call it, and nobody would hear of it
        line.say(Failed(_portable(WorkerError(f"something ended a worker with sys.exit({ended.code!r})."))))
    except Exception as error:  # the process that leads raises it
        line.say(Failed(_portable(error)))


def _settle(job: Job) -> None:
    """Where the leading process is, with one thread: several workers share the machine, and sums depend on it."""
    if os.path.isdir(job.place):  # noqa: PTH112  # as a string, for it is one on another machine
        os.chdir(job.place)
    sys.path.extend(path for path in job.paths if path not in sys.path)
    import torch

    torch.set_num_threads(1)
    keep_freed_memory()


def _portable(error: Exception) -> Exception:
    """The error with its traceback as a note, or one that says the same if it cannot travel."""
    error.add_note("in a worker:\n" + "".join(traceback.format_exception(error)))
    try:
        found: Exception = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes, a moment old
    except Exception:  # anything at all may happen to an unknown exception
        found = RuntimeError(f"{type(error).__name__}: {error}")
    found.__notes__ = error.__notes__
    return found
