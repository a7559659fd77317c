"""Images and tables at addresses: ``s3://``, ``gs://``, ``https://``, ``hf://``, or whatever else fsspec opens.

Nothing is copied to the disk. A folder is listed once; each file is fetched when it is asked for, and again if the
way to it breaks down meanwhile.
"""

import os
import posixpath
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from gazeshift.data._decode import MAX_BYTES, printable, read_file
from gazeshift.errors import DataError, GazeshiftError, ImageError, MissingPackageError

PAUSES = (0.5, 2.0, 5.0)  # seconds before the second, third and fourth try
CONNECT_SECONDS, READ_SECONDS = 10, 60
FINAL = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError, NotImplementedError)
WEB = ("http", "https")
KEYS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or FSSPEC_S3_ANON=true for a public bucket",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or FSSPEC_GS_TOKEN=anon for a public bucket",
    "hf": "HF_TOKEN",
}
Found = TypeVar("Found")


def is_address(path: object) -> bool:
    """Whether a path is an address, such as ``s3://bucket/images``, and no file of this machine."""
    return isinstance(path, Remote) or (isinstance(path, str) and re.match(r"[a-z][a-z0-9+.-]*://", path) is not None)


@dataclass(frozen=True)
class Remote:
    """A file or folder at an address; the part of a `pathlib.Path` that reading images needs.

    Args:
        address: with its scheme.
        size: in bytes, if a listing told it.
    """

    address: str
    size: int | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if "@" in urlsplit(self.address).netloc and self.scheme != "hf":
            raise DataError(
                f"the address of {printable(self.name)} holds a user name or password, which manifests would show to "
                f"everybody. Leave it out, and set {KEYS.get(self.scheme, 'it in the environment')}."
            )

    def __str__(self) -> str:
        return self.address

    def __truediv__(self, name: str) -> "Remote":
        return Remote(f"{self.address.rstrip('/')}/{name}")

    @property
    def scheme(self) -> str:
        """What comes before ``://``."""
        return self.address.partition("://")[0]

    @property
    def parent(self) -> "Remote":
        """The folder that it lies in."""
        return Remote(self.address.rstrip("/").rpartition("/")[0])

    @property
    def name(self) -> str:
        """The last part of its path, without a query."""
        parts = urlsplit(self.address.rstrip("/"))
        return unquote(posixpath.basename(parts.path)) or parts.netloc

    @property
    def suffix(self) -> str:
        """With its dot; empty if there is none."""
        return posixpath.splitext(self.name)[1]

    def is_file(self) -> bool:
        """Whether there is a file."""
        files = _files(self.scheme)
        return self._tried(lambda: bool(files.isfile(self.address)))

    def read_bytes(self) -> bytes:
        """The whole content; raises DataError if it cannot be had."""
        if self.size is not None and self.size > MAX_BYTES:  # a web server's listing tells no sizes
            raise DataError(f"{self._shown} is larger than {MAX_BYTES >> 20} MiB, too large for one file. Split it.")
        files = _files(self.scheme)
        return self._tried(lambda: bytes(files.cat_file(self.address)))

    def open(self) -> Any:
        """A file to read from in any order, in pieces.

        Raises:
            DataError: it cannot be had, or a web server gives files as a whole only.
        """
        files = _files(self.scheme)
        file = self._tried(lambda: files.open(self.address, "rb"))
        try:
            file.seek(-1, os.SEEK_END)
            file.read(1)
        except ValueError as cause:
            raise DataError(
                f"the server of {self._shown} gives files as a whole only, and a table is read in pieces (HTTP range "
                "requests). Use another server, or copy the file here."
            ) from cause
        file.seek(0)
        return file

    def below(self) -> Iterator[tuple[str, "Remote"]]:
        """Every file below the folder, by its path from there, sorted; hidden folders are left alone."""
        files = _files(self.scheme)
        self._tried(lambda: files.ls(self.address, detail=False))  # `find` would call a folder that fails empty
        found = self._tried(lambda: files.find(self.address, detail=True))
        root = str(files._strip_protocol(self.address)).rstrip("/") + "/"  # noqa: SLF001  # fsspec documents it
        for place, told in sorted(found.items()):
            own = unquote(place.removeprefix(root)) if self.scheme in WEB else place.removeprefix(root)
            if place.startswith(root) and not any(part.startswith(".") for part in own.split("/")[:-1]):
                yield own, Remote(str(files.unstrip_protocol(place)), told.get("size"))

    @property
    def _shown(self) -> str:
        return printable(self.address.partition("?")[0])

    def _tried(self, act: Callable[[], Found]) -> Found:
        """What `act` gives, after a few tries; whatever a backend raises becomes one sentence."""
        for pause in (*PAUSES, None):
            try:
                return act()
            except Exception as cause:  # each backend has errors of its own
                if pause is None or _is_final(cause):
                    raise _explained(self, cause) from cause
                time.sleep(pause)
        raise AssertionError  # the last try returned or raised


AnyFile = Path | Remote


def place_of(path: str | os.PathLike[str] | Remote) -> AnyFile:
    """A path of this machine, or an address."""
    if isinstance(path, Remote):
        return path
    return Remote(str(path)) if is_address(path) else Path(path).expanduser()


def read_place(place: AnyFile, name: str) -> bytes:
    """Content of an image file here or elsewhere; raises ImageError."""
    if isinstance(place, Path):
        return read_file(place, name)
    try:
        return place.read_bytes()
    except DataError as cause:
        raise ImageError(str(cause)) from cause


def opened(place: str) -> Any:
    """What PyArrow reads a Parquet file from, piece by piece: a path, or an open file at an address."""
    return Remote(place).open() if is_address(place) else place


def remote_ids(places: Sequence[Remote]) -> dict[str, Remote]:
    """Ids of single files: their addresses below the folder that they share."""
    folders = [place.parent.address for place in places]
    root = posixpath.commonpath([folder.partition("://")[2] for folder in folders])
    return {
        unquote(place.address.partition("?")[0].partition("://")[2].removeprefix(root).lstrip("/")): place
        for place in places
    }


@cache
def _files(scheme: str) -> Any:
    """Fsspec's file system of a scheme."""
    try:
        import fsspec

        kind, options = fsspec.get_filesystem_class(scheme), _patience(scheme)
        signature(kind.__init__).bind(
            None, **options
        )  # some want a host, and complain without one while they are deleted
        return kind(**options)
    except ImportError as cause:
        raise MissingPackageError(
            f"addresses that begin with {scheme}:// need more packages ({cause}): pip install 'gazeshift[remote]'"
        ) from cause
    except (ValueError, TypeError) as cause:
        raise DataError(
            f"no images can be read from addresses that begin with {printable(scheme)}://. Known are s3, gs, https, "
            "http and hf, and what else fsspec opens without more settings."
        ) from cause


def _patience(scheme: str) -> dict[str, Any]:
    """How long to wait for an answer: a network that is down should be told of in seconds."""
    if scheme in WEB:
        import aiohttp

        wait = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
        return {"client_kwargs": {"timeout": wait}}
    if scheme == "s3":
        return {"config_kwargs": {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}}
    return {}


def _is_final(cause: Exception) -> bool:
    """Whether another try would end in the same way."""
    status = getattr(cause, "status", None)
    refused = isinstance(status, int) and 400 <= status < 500 and status not in (408, 429)
    named = any(word in type(cause).__name__ for word in ("Credential", "NotFound", "ImportError"))
    return refused or named or isinstance(cause, (*FINAL, ImportError, GazeshiftError))


def _explained(place: Remote, cause: Exception) -> GazeshiftError:
    if isinstance(cause, GazeshiftError):
        return cause
    shown, status = place._shown, getattr(cause, "status", None)  # noqa: SLF001
    said = printable(" ".join(str(cause).split()))[:200] or type(cause).__name__
    if isinstance(cause, FileNotFoundError) or status == 404:
        return DataError(f"nothing is found at {shown}. Check the address.")
    if isinstance(cause, PermissionError) or "Credential" in type(cause).__name__ or status in (401, 403):
        keys = KEYS.get(place.scheme, "what the server asks for")
        return DataError(f"{shown} may not be read ({said}). Set {keys}.")
    return DataError(
        f"{shown} cannot be read, after {len(PAUSES) + 1} tries: {type(cause).__name__}: {said}. Check the network and "
        "the address; what is finished is kept."
    )
