"""What a worker does, in a process of its own: it opens what its work needs once, and fills cells."""

import os
import pickle
import sys
import time
import traceback
import warnings
from collections.abc import Sequence

from gazeshift.errors import WorkerError
from gazeshift.runs.executors.memory import keep_freed_memory
from gazeshift.runs.executors.serial import naming
from gazeshift.runs.store import Cell


def settle(folder: str, paths: Sequence[str]) -> None:
    """Stand where the process stands that began this one, with one thread: workers share the machine.

    Args:
        folder: that relative paths start from.
        paths: where Python looks for modules, such as a model of one's own.
    """
    if os.path.isdir(folder):  # noqa: PTH112  # as a string, for it is one on another machine
        os.chdir(folder)
    sys.path.extend(path for path in paths if path not in sys.path)
    warnings.simplefilter("ignore")  # the process that began this one has shown them
    import torch

    torch.set_num_threads(1)
    keep_freed_memory()


def work(pickled: bytes, cell: Cell | None) -> float | Exception:
    """Open what the work needs, and fill a cell if there is one; gives the seconds that it took, or what went wrong.

    Args:
        pickled: a function from a cell to its tables, and the store.
        cell: none: open, and wait for the next call.
    """
    try:
        compute, store = pickle.loads(pickled)  # noqa: S301  # from the process that began this one
        started = time.monotonic()
        if cell is not None:
            with naming(cell):
                store.save(cell, compute(cell))
        return time.monotonic() - started
    except SystemExit as ended:  # the code of a model may call it, and the worker would end without a word
        return portable(WorkerError(f"something ended a worker with sys.exit({ended.code!r})."))
    except Exception as error:
        return portable(error)


def portable(error: Exception) -> Exception:
    """The error with its traceback as a note, or one that says the same if it cannot travel."""
    error.add_note("in a worker:\n" + "".join(traceback.format_exception(error)))
    try:
        found: Exception = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes, a moment old
    except Exception:  # anything at all may happen to an unknown exception
        found = RuntimeError(f"{type(error).__name__}: {error}")
    found.__notes__ = error.__notes__
    return found
