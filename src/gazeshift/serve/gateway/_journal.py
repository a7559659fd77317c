"""The record of verdicts: one JSON line each, with the image's hash and never the image, unless that is asked for."""

import json
import logging
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from gazeshift.data import replace_file
from gazeshift.errors import OutputError
from gazeshift.serve.gateway.intake import Upload

SUFFIXES = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "BMP": "bmp", "GIF": "gif"}
logger = logging.getLogger("gazeshift.serve")


@dataclass(frozen=True, kw_only=True)
class Journal:
    """Appends lines to a file, which may be moved away at any time (logrotate), and keeps images if asked to.

    Args:
        file: of the lines; None writes none.
        images: folder of the images; None keeps none.
    """

    file: Path | None = None
    images: Path | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def check(self) -> None:
        """Make the folder and the file.

        Raises:
            OutputError: they cannot be written.
        """
        for folder, flag in ((self.images, "--keep-images"), (self.file.parent if self.file else None, "--log")):
            if folder is not None:
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                except OSError as cause:
                    raise _unwritable(folder, flag, cause) from cause
        self._append(b"")

    def write(self, picture: Upload, entry: Mapping[str, object]) -> bool:
        """Add a line, and the image if images are kept; whether both could be written. Never raises: an answer goes out
        even when the disk is full, and the failure is logged.
        """
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **entry, "bytes": len(picture.encoded)}
        try:
            self._append(json.dumps(line).encode() + b"\n")
            if self.images is not None:
                self._keep(self.images, picture)
        except OutputError as error:
            logger.error("a verdict is not on record: %s", error)  # noqa: TRY400
            return False
        return True

    def _append(self, line: bytes) -> None:
        """In one write, so that lines of several processes do not mix; what did not fit is tried again, to learn why.

        A line that an earlier failure tore is ended first, so that it spoils no other.
        """
        if self.file is None:
            return
        try:
            with self._lock, self.file.open("ab", buffering=0) as file:
                _wait_for_turn(file)
                rest = b"\n" + line if line and _is_torn(self.file) else line
                while rest:
                    rest = rest[file.write(rest) or 0 :]
        except OSError as cause:
            raise _unwritable(self.file, "--log", cause) from cause

    def _keep(self, folder: Path, picture: Upload) -> None:
        target = folder / f"{picture.sha256}.{SUFFIXES.get(picture.form, 'bin')}"
        if not target.exists():
            replace_file(target, lambda beside: beside.write_bytes(picture.encoded))


def _unwritable(place: Path, flag: str, cause: OSError) -> OutputError:
    return OutputError(f"{place} cannot be written ({cause.strerror or cause}). Name another place: {flag}.")


def _wait_for_turn(file: IO[bytes]) -> None:
    """Until no other process writes: half a line of its would look torn. Closing the file ends the turn."""
    with suppress(ImportError, OSError):  # Windows, and file systems without locks
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)


def _is_torn(file: Path) -> bool:
    """Whether a file's last line does not end; no if that cannot be read."""
    with suppress(OSError):
        if file.is_file():
            with file.open("rb") as written:
                return written.seek(0, 2) > 0 and written.seek(-1, 2) >= 0 and written.read(1) != b"\n"
    return False
