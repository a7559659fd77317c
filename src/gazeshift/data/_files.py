"""What lies in a folder: images, Parquet files, and how many files that are neither."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from gazeshift.data._decode import SUFFIXES, printable
from gazeshift.data._remote import AnyFile, Remote, remote_ids
from gazeshift.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Files below a folder.

    Args:
        images: id to path or address; an id is the path below the folder, with ``/``.
        tables: id to path or address, of Parquet files.
        others: number of other and hidden files.
    """

    images: dict[str, Any]
    tables: dict[str, Any]
    others: int

    @property
    def flat(self) -> list[str]:
        """Images directly in the folder."""
        return [own for own in self.images if "/" not in own]

    @property
    def folders(self) -> list[str]:
        """Sub-folders that hold images, at any depth."""
        return sorted({own.split("/", 1)[0] for own in self.images if "/" in own})


def list_folder(root: AnyFile) -> Listing:
    """Everything below the folder. Links are followed, each real folder once; hidden folders are left alone."""
    images: dict[str, AnyFile] = {}
    tables: dict[str, AnyFile] = {}
    others = 0
    for own, place in _below(root):
        suffix, hidden = place.suffix.lower(), place.name.startswith(".")
        if suffix in SUFFIXES and not hidden:
            images[own] = place
        elif suffix == ".parquet" and not hidden:
            tables[own] = place
        else:
            others += 1
    return Listing(images=images, tables=tables, others=others)


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


def _below(root: AnyFile) -> Iterable[tuple[str, AnyFile]]:
    return root.below() if isinstance(root, Remote) else ((_id(path, root), path) for path in _walk(root))


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
