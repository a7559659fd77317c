"""What lies in a folder: images, Parquet files, and files that are neither."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Generic, TypeVar

from gazeshift.data._classes import named
from gazeshift.data.decode import SUFFIXES
from gazeshift.data.remote import AnyFile, Remote, remote_ids
from gazeshift.errors import DataError
from gazeshift.summaries import printable

AnyPlace = TypeVar("AnyPlace", bound=AnyFile)
AnyPlace_co = TypeVar("AnyPlace_co", bound=AnyFile, covariant=True)
OF_THE_SYSTEM = {"thumbs.db", "ehthumbs.db", "desktop.ini"}  # of Windows; macOS and Linux put a dot before theirs


@dataclass(frozen=True, kw_only=True)
class Listing(Generic[AnyPlace_co]):
    """Files below a folder.

    Args:
        images: id to path or address; an id is the path below the folder, with ``/``.
        tables: id to path or address, of Parquet files.
        others: ids of other files.
        hidden: number of hidden files, and of those that systems put there.
    """

    images: Mapping[str, AnyPlace_co]
    tables: Mapping[str, AnyPlace_co]
    others: tuple[str, ...] = ()
    hidden: int = 0

    @property
    def flat(self) -> list[str]:
        """Images directly in the folder."""
        return [own for own in self.images if "/" not in own]

    @property
    def folders(self) -> list[str]:
        """Sub-folders that hold images, at any depth."""
        return sorted({own.split("/", 1)[0] for own in self.images if "/" in own})

    def left_out(self, but: Collection[str] = ()) -> str:
        """How many files are left out, and some by name, one of every kind first; empty if there are none.

        Beside images, Parquet files are left out, too.

        Args:
            but: files that are not meant, such as the table of labels.

        >>> Listing(images={}, tables={}, others=("a.txt", "b.txt", "ct.dcm"), hidden=1).left_out()
        "4 ('a.txt', 'ct.dcm', 'b.txt', 1 hidden)"
        """
        beside = self.tables if self.images else ()
        others = [own for own in (*self.others, *beside) if own not in but]
        firsts = {PurePath(own).suffix.lower(): own for own in reversed(others)}
        ordered = sorted(others, key=lambda own: firsts[PurePath(own).suffix.lower()] != own)
        told = [*([named(ordered)] if others else []), *([f"{self.hidden} hidden"] if self.hidden else [])]
        return f"{len(others) + self.hidden} ({', '.join(told)})" if told else ""


def ignored(listing: Listing[AnyFile], but: Collection[str] = ()) -> list[str]:
    """A sentence on the files of a folder that are no images, for a source's notes; none if there are none."""
    told = listing.left_out(but)
    return [f"Other files ignored: {told}."] if told else []


def list_folder(root: AnyPlace) -> Listing[AnyPlace]:
    """Everything below the folder. Links are followed, each real folder once; hidden folders are left alone."""
    images: dict[str, AnyPlace] = {}
    tables: dict[str, AnyPlace] = {}
    others: list[str] = []
    hidden = 0
    for own, place in _below(root):
        suffix = place.suffix.lower()
        if place.name.startswith(".") or place.name.lower() in OF_THE_SYSTEM:
            hidden += 1
        elif suffix in SUFFIXES:
            images[own] = place
        elif suffix == ".parquet":
            tables[own] = place
        else:
            others.append(own)
    return Listing(images=images, tables=tables, others=tuple(sorted(others)), hidden=hidden)


def file_ids(places: Sequence[AnyFile]) -> dict[str, AnyFile]:
    """Ids of single files: their paths below the folder that they share.

    Raises:
        DataError: some lie here, and some at addresses.
    """
    paths = [place for place in places if isinstance(place, Path)]
    remote = [place for place in places if isinstance(place, Remote)]
    if paths and remote:
        raise DataError(
            f"a list of files holds {printable(str(paths[0]))} and {remote[0].name} from elsewhere. Part it."
        )
    if remote:
        return {**remote_ids(remote)}
    root = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    return {_id(path.absolute(), root): path for path in paths}


def display_name(path: AnyFile) -> str:
    """The folder's own name, also of ``.`` and ``..``."""
    if isinstance(path, Remote):
        return path.name
    return _text(path.name if path.name not in {"", ".."} else path.resolve().name or str(path))


def _below(root: AnyPlace) -> Iterable[tuple[str, AnyPlace]]:
    found: Any = root.below() if isinstance(root, Remote) else ((_id(path, root), path) for path in _walk(root))
    return found  # type: ignore[no-any-return]


def _walk(root: Path) -> Iterable[Path]:
    seen = {os.path.realpath(root)}
    for folder, below, files in os.walk(root, onerror=_refuse, followlinks=True):
        below[:] = [name for name in sorted(below) if not name.startswith(".") and _new(Path(folder, name), seen)]
        yield from (Path(folder, name) for name in sorted(files))


def _new(folder: Path, seen: set[str]) -> bool:
    real = os.path.realpath(folder)
    is_new = real not in seen
    seen.add(real)
    return is_new


def _refuse(cause: OSError) -> None:
    where = printable(str(cause.filename))
    raise DataError(f"the folder {where} cannot be listed: {cause.strerror}. Check its permissions.") from cause


def _id(path: PurePath, root: PurePath) -> str:
    return _text(path.relative_to(root).as_posix())


def _text(name: str) -> str:
    """The name with bytes that are no UTF-8 spelled out, so that tables and pages can hold it."""
    return name.encode("utf-8", "backslashreplace").decode()
