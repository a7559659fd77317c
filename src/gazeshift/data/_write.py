"""Files that appear whole or not at all: written beside their place, flushed to the disk, then renamed."""

import errno
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from gazeshift.errors import OutputError


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


def write_error(target: Path, cause: OSError) -> OutputError:
    """The error for a file that cannot be written: says what to do, and that nothing finished is lost."""
    if cause.errno == errno.ENOSPC:
        return OutputError(
            f"the disk is full: {target} could not be written. What is finished is kept; free some space and run the "
            "same command again."
        )
    reason = cause.strerror or str(cause)
    return OutputError(f"{target} cannot be written ({reason}). Name a folder you may write to: --out.")


def _flush(file: Path) -> None:
    """Ask the system to put the content on the disk, so that a power cut after the rename leaves no empty file."""
    with file.open("rb") as written:
        os.fsync(written.fileno())
