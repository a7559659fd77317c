"""Images and tables at addresses: ``s3://``, ``gs://``, ``https://``, ``hf://``, or whatever else fsspec opens.

Nothing is copied to the disk. A folder is listed once; each file is fetched when it is asked for, and again if the
way to it breaks down meanwhile.
"""

import io
import os
import posixpath
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from inspect import signature
from pathlib import Path
from typing import Any, TypedDict, TypeVar
from urllib.parse import unquote, urlsplit

from gazeshift.data.decode import MAX_BYTES, read_file
from gazeshift.errors import DataError, GazeshiftError, ImageError, MissingPackageError, UnreachableError
from gazeshift.packages import KeywordArguments
from gazeshift.summaries import printable

PAUSES = (0.5, 2.0, 5.0)  # seconds before the second, third and fourth try
CONNECT_SECONDS, READ_SECONDS = 10, 60
FINAL = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError, NotImplementedError)
WEB = ("http", "https")
QUERY = re.compile(r"(?<=://)([^\s?'\"]*)\?[^\s'\"]*")  # of an address in a backend's words: it may hold a signature
KEYS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or FSSPEC_S3_ANON=true for a public bucket",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or FSSPEC_GS_TOKEN=anon for a public bucket",
    "hf": "HF_TOKEN",
}
Found = TypeVar("Found")


class FileInfo(TypedDict):
    """What fsspec tells of a file or folder; `type` is ``file`` or ``directory``."""

    name: str
    type: str
    size: int | None


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
        return Remote(f"{self.path.rstrip('/')}/{name}{self.query}")

    @property
    def scheme(self) -> str:
        """What comes before ``://``."""
        return self.address.partition("://")[0]

    @property
    def path(self) -> str:
        """The address without a query, which only web servers know: elsewhere a name may hold a question mark."""
        return self.address.partition("?")[0] if self.scheme in WEB else self.address

    @property
    def query(self) -> str:
        """What follows the path: ``?key=value``, or nothing."""
        return self.address[len(self.path) :]

    @property
    def parent(self) -> "Remote":
        """The folder that it lies in."""
        return Remote(self.path.rstrip("/").rpartition("/")[0] + self.query)

    @property
    def name(self) -> str:
        """The last part of its path, without a query."""
        last = posixpath.basename(self.path.rstrip("/"))
        return unquote(last.partition("#")[0]) if self.scheme in WEB else last

    @property
    def suffix(self) -> str:
        """With its dot; empty if there is none."""
        return posixpath.splitext(self.name)[1]

    def is_file(self) -> bool:
        """Whether there is a file that may be read; raises UnreachableError if nobody can tell now."""
        files = _files(self.scheme)
        try:
            told = self._tried(lambda: files.info(self.address))
        except DataError as cause:
            if isinstance(cause.__cause__, Exception) and _is_final(cause.__cause__):
                return False
            raise
        return bool(told["type"] == "file")

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
        whole = DataError(
            f"the server of {self._shown} gives files as a whole only, and a table is read in pieces (HTTP range "
            "requests). Use another server, or copy the file here."
        )
        if getattr(file, "size", None) is None:
            raise whole
        found = _Patient(self, file)
        try:
            found.seek(-1, os.SEEK_END)
            found.read(1)
        except UnreachableError as cause:
            raise (whole if isinstance(cause.__cause__, ValueError) else cause) from cause.__cause__
        found.seek(0)
        return found

    def below(self) -> Iterator[tuple[str, "Remote"]]:
        """Every file below the folder, by its path from there, sorted; hidden folders are left alone."""
        files = _files(self.scheme)
        root = str(files._strip_protocol(self.path)).rstrip("/") + "/"  # noqa: SLF001  # fsspec documents it
        if self.scheme in WEB:
            found = self._walked(files, root)
        else:
            self._tried(lambda: files.ls(self.address, detail=False))  # `find` would call a folder that fails empty
            found = self._tried(lambda: files.find(self.address, detail=True))
        for place, told in sorted(found.items()):
            own = unquote(place.removeprefix(root)) if self.scheme in WEB else place.removeprefix(root)
            if place.startswith(root) and not any(part.startswith(".") for part in own.split("/")[:-1]):
                yield own, Remote(str(files.unstrip_protocol(place)), told.get("size"))

    def _walked(self, files: Any, root: str) -> dict[str, FileInfo]:
        """Files by their addresses, page by page: fsspec would call a folder empty whose page does not come."""
        found: dict[str, FileInfo] = {}
        seen, waiting = {root}, [self]
        while waiting:
            folder = waiting.pop()
            try:
                listing = folder._tried(partial(files.ls, folder.address, detail=True))  # noqa: SLF001
            except DataError as cause:
                if folder is self or not isinstance(cause.__cause__, FileNotFoundError):
                    raise
                continue  # a dead link
            for told in listing:
                place = _resolved(str(told["name"]))
                if told["type"] != "directory":
                    found[place] = told
                elif place.startswith(root) and place.rstrip("/") + "/" not in seen:
                    seen.add(place.rstrip("/") + "/")
                    waiting.append(Remote(place))
        return found

    @property
    def _shown(self) -> str:
        return printable(self.path)

    def _tried(self, act: Callable[[], Found]) -> Found:
        """What `act` gives, after a few tries; whatever a backend raises becomes one sentence."""
        for pause in (*PAUSES, None):
            try:
                return act()
            except Exception as error:  # each backend has errors of its own
                cause = _behind(error) if self.scheme in WEB else error
                if pause is None or _is_final(cause):
                    raise _explained(self, cause) from cause
                time.sleep(pause)
        raise AssertionError  # the last try returned or raised


class _Patient(io.RawIOBase):
    """A file at an address whose reading is tried a few times, too; raises UnreachableError.

    Args:
        place: of the file.
        file: opened.
    """

    def __init__(self, place: Remote, file: Any) -> None:
        self.place, self.file, self.at = place, file, 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self.at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go somewhere; nothing is asked for yet."""
        self.at = {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: int(self.file.size)}[whence] + offset
        return self.at

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        found = self.place._tried(partial(self._read, size))  # noqa: SLF001
        self.at += len(found)
        return found

    def _read(self, size: int) -> bytes:
        self.file.seek(self.at)
        return bytes(self.file.read(size))

    def close(self) -> None:
        """Let go of it."""
        if not self.closed:
            self.file.close()
        super().close()


AnyFile = Path | Remote


def place_of(path: str | os.PathLike[str] | Remote) -> AnyFile:
    """A path of this machine, or an address."""
    if isinstance(path, Remote):
        return path
    return Remote(str(path)) if is_address(path) else Path(path).expanduser()


def read_place(place: AnyFile, name: str) -> bytes:
    """Content of an image file here or elsewhere.

    Raises:
        ImageError: it will not be there the next time either.
        UnreachableError: it may be.
    """
    if isinstance(place, Path):
        return read_file(place, name)
    try:
        return place.read_bytes()
    except UnreachableError:
        raise
    except DataError as cause:
        raise ImageError(str(cause)) from cause


def opened(place: str) -> Any:
    """What PyArrow reads a Parquet file from, piece by piece: a path, or an open file at an address."""
    return Remote(place).open() if is_address(place) else place


def remote_ids(places: Sequence[Remote]) -> dict[str, Remote]:
    """Ids of single files: their paths below the folder that they share, with the query where that tells them apart."""
    places = list(dict.fromkeys(places))
    paths = [_path_below_host(place) for place in places]
    root = posixpath.commonpath([posixpath.dirname(path) for path in paths])
    owns = [path.removeprefix(root).lstrip("/") for path in paths]
    often = Counter(owns)
    return {own + place.query * (often[own] > 1): place for own, place in zip(owns, places, strict=True)}


def _path_below_host(place: Remote) -> str:
    path = place.path.partition("://")[2]
    return unquote(path) if place.scheme in WEB else path


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


def _patience(scheme: str) -> KeywordArguments:
    """How long to wait for an answer: a network that is down should be reported within seconds."""
    if scheme in WEB:
        import aiohttp

        wait = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
        return {"client_kwargs": {"timeout": wait}}
    if scheme == "s3":
        return {"config_kwargs": {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}}
    return {}


def _resolved(address: str) -> str:
    """Without the steps ``.`` and ``..`` that links have: a page that refers to itself has one address.

    >>> _resolved("https://example.org/a/./b/../c.png?v=1")
    'https://example.org/a/c.png?v=1'
    """
    parts, steps = urlsplit(address), list[str]()
    for step in parts.path.split("/"):
        if step == "..":
            del steps[max(1, len(steps) - 1) :]
        elif step != ".":
            steps.append(step)
    return parts._replace(path="/".join(steps)).geturl()


def _behind(cause: Exception) -> Exception:
    """What happened: fsspec calls a web server's file missing whenever it cannot ask for its size."""
    behind = cause.__cause__
    return behind if isinstance(cause, FileNotFoundError) and isinstance(behind, Exception) else cause


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
    said = printable(QUERY.sub(r"\1", " ".join(str(cause).split())))[:200] or type(cause).__name__
    if isinstance(cause, FileNotFoundError) or status == 404:
        return DataError(f"nothing is found at {shown}. Check the address.")
    if isinstance(cause, PermissionError) or "Credential" in type(cause).__name__ or status in (401, 403):
        keys = KEYS.get(place.scheme, "what the server asks for")
        return UnreachableError(f"{shown} may not be read ({said}). Set {keys}; what is finished is kept.")
    return UnreachableError(
        f"{shown} cannot be read, after {len(PAUSES) + 1} tries: {type(cause).__name__}: {said}. Check the network and "
        "the address; what is finished is kept."
    )
