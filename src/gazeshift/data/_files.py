"""What lies in a folder: images, Parquet files, and how many files that are neither."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from gazeshift.data._decode import SUFFIXES, printable
from gazeshift.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Files below a folder.

    Args:
        images: id to path; an id is the path below the folder, with ``/``.
        tables: id to path, of Parquet files.
        others: number of other and hidden files.
    """

    images: dict[str, Path]
    tables: dict[str, Path]
    others: int

    @property
    def flat(self) -> list[str]:
        """Images directly in the folder."""
        return [own for own in self.images if "/" not in own]

    @property
    def folders(self) -> list[str]:
        """Sub-folders that hold images, at any depth."""
        return sorted({own.split("/", 1)[0] for own in self.images if "/" in own})


def list_folder(root: Path) -> Listing:
    """Everything below the folder. Links are followed, each real folder once; hidden folders are left alone."""
    images, tables, others = {}, {}, 0
    for path in _walk(root):
        suffix, hidden = path.suffix.lower(), path.name.startswith(".")
        if suffix in SUFFIXES and not hidden:
            images[_id(path, root)] = path
        elif suffix == ".parquet" and not hidden:
            tables[_id(path, root)] = path
        else:
            others += 1
    return Listing(images=images, tables=tables, others=others)


def file_ids(paths: Sequence[Path]) -> dict[str, Path]:
    """Ids of single files: their paths below the folder that they share."""
    root = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    return {_id(path.absolute(), root): path for path in paths}


def display_name(path: Path) -> str:
    """The folder's own name, also of ``.`` and ``..``."""
    return _text(path.name if path.name not in {"", ".."} else path.resolve().name or str(path))


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
