"""Files that appear whole or not at all: written beside their place, flushed to the disk, then renamed."""

import errno
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from gazeshift.errors import OutputError

OUT = "Name a folder you may write to: --out."


def replace_file(target: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a hidden file beside the target, then put it in the target's place in one step.

    Any number of threads and processes may write the same target; the last one's file stays.

    Raises:
        OutputError: it cannot be written; what was at the target before is still there.
    """
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.{os.getpid()}")
    try:
        write(beside)
        _flush(beside)
        beside.replace(target)
    except OSError as cause:
        raise write_error(target, cause) from cause
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def made_folder(folder: Path) -> list[str]:
    """Make a folder if there is none; gives the names of what lies in it, sorted.

    Raises:
        OutputError: it cannot be made or read.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return sorted(path.name for path in folder.iterdir())
    except OSError as cause:
        raise write_error(folder, cause) from cause


def write_error(target: Path, cause: OSError, advice: str = OUT) -> OutputError:
    """The error for a file that cannot be written: says what to do, and that nothing finished is lost.

    Args:
        target: the file.
        cause: what the system says.
        advice: what to do; the usual one is for runs that go on from what is finished.
    """
    if cause.errno == errno.ENOSPC and advice == OUT:
        return OutputError(
            f"the disk is full: {target} could not be written. What is finished is kept; free some space and run the "
            "same command again."
        )
    reason = cause.strerror or str(cause)
    return OutputError(f"{target} cannot be written ({reason}). {advice}")


def _flush(file: Path) -> None:
    """Ask the system to put the content on the disk, so that a power cut after the rename leaves no empty file."""
    with file.open("rb") as written:
        os.fsync(written.fileno())
