"""Long work done cell by cell. What exists is complete: a killed run, started again, does what is missing.

Each cell's tables are written beside their place and renamed, the main one last; its file name is the hash of
everything that the cell's rows depend on, and its pages carry checksums. A study's cells are joined in order at the
end, so that its tables are the same bytes whether it ran through or was killed on the way; an adversarial set's cells
are its shards and stay as they are.
"""

import hashlib
import json
import os
import re
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from typing_extensions import TypeVar

from gazeshift.data import replace_file, write_error
from gazeshift.errors import OutputError
from gazeshift.manifest import SCHEMA
from gazeshift.runs.notes import CellNotes

Notes = TypeVar("Notes", bound=CellNotes, default=CellNotes)
DAMAGED = (OSError, pa.ArrowException)
NOTES, BESIDE = "gazeshift", "tables"  # keys of a main table's metadata
LOCK = ".lock"
UNFINISHED = re.compile(r"\..+\.\d+")  # what `replace_file` leaves when it is killed


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A piece of the work: its number, what its rows depend on, and the ids of its images."""

    number: int
    inputs: Mapping[str, Any]  # of the stage's own kinds
    ids: tuple[str, ...]

    @property
    def key(self) -> str:
        """First 20 digits of SHA-256 over all inputs."""
        return fingerprint({"inputs": self.inputs, "ids": self.ids})

    def __str__(self) -> str:
        """In words: its number, and some of its images."""
        more = f" and {len(self.ids) - 2} more" if len(self.ids) > 2 else ""
        return f"cell {self.number}" + (f" (images {', '.join(self.ids[:2])}{more})" if self.ids else "")


@dataclass(frozen=True)
class CellResult:
    """What a cell made: tables by name (the main one among them) and notes that go into the manifest.

    Args:
        tables: by name.
        notes: of the cell.
        options: for the Parquet writer, beside its compression and checksums.
    """

    tables: Mapping[str, pa.Table]
    notes: CellNotes = field(default_factory=CellNotes)
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Store:
    """The folder of a long piece of work: a manifest, and finished cells in a folder beside it.

    Args:
        folder: where everything goes.
        holds: what the folder holds, in the words of messages and of the manifest: ``study`` or ``set``.
        cells: name of the folder of cells.
        main: the table that a cell ends with; a cell that has it, and what it names, is finished.
        held: the lock of an opened folder; other processes may have it when the last of these is gone.
    """

    folder: Path
    holds: str = "study"
    cells: str = "parts"
    main: str = "rows"
    held: list["Held"] = field(default_factory=list, init=False, compare=False, repr=False)

    @property
    def parts(self) -> Path:
        """The folder of finished cells."""
        return self.folder / self.cells

    def open(self, settings: Mapping[str, object]) -> None:
        """Make the folder, or accept one that an earlier run with the same settings left. It is then this process's.

        Raises:
            OutputError: it holds something else, was made with other settings (says which), cannot be written, or
                another process works in it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._check_kind(self.manifest(), sorted(path.name for path in self.folder.iterdir()))
            self.parts.mkdir(exist_ok=True)
            self._lock()
            before = self.manifest()
            if before and before.get("status") == "running" and not any(self.parts.glob("[!.]*.parquet")):
                before = None  # an earlier try that finished nothing does not count
            self._check_same(before, settings)
            for stale in (*self.parts.iterdir(), *self.folder.iterdir(), *self.folder.glob("scratch/.*")):
                if UNFINISHED.fullmatch(stale.name):
                    stale.unlink()
            if before is None:
                first = {"schema": SCHEMA, "holds": self.holds, "status": "running", "settings": dict(settings)}
                self.write_manifest(first)
        except OutputError:
            raise
        except OSError as cause:
            raise write_error(self.folder, cause) from cause

    def _lock(self) -> None:
        """Keep other processes out, on other machines too where the file system knows locks."""
        try:
            import fcntl
        except ImportError:  # Windows
            return
        place = self.parts / LOCK
        file = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as cause:
            os.close(file)
            raise OutputError(
                f"another command is at work in {self.folder}. Wait until it ends, or name another folder: --out."
            ) from cause
        except OSError:  # not every file system has them
            os.close(file)
            place.unlink(missing_ok=True)
        else:
            if place.is_file() and os.path.samestat(place.stat(), os.fstat(file)):
                self.held.append(Held(place, file))
            else:  # whoever had it before has just removed it
                os.close(file)
                self._lock()

    def manifest(self) -> dict[str, Any] | None:  # JSON, perhaps of a later version
        """The manifest, or None if there is none yet."""
        file = self.folder / "manifest.json"
        if not file.is_file():
            return None
        try:
            found = json.loads(file.read_text("utf-8"))
        except ValueError as cause:
            raise OutputError(f"{file} is damaged ({cause}). Name another folder: --out.") from cause
        return found if isinstance(found, dict) else None

    def write_manifest(self, content: Mapping[str, object]) -> None:
        """Replace the manifest in one step."""
        text = json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"
        replace_file(self.folder / "manifest.json", lambda path: path.write_text(text, "utf-8"))

    def has(self, cell: Cell) -> bool:
        """Whether the cell is finished and whole: its tables are read through, and every checksum fits."""
        return self.is_written(cell) and all(map(_is_whole, self._tables(cell)))

    def is_written(self, cell: Cell) -> bool:
        """Whether all of a cell's tables are there."""
        return self._said(cell, NOTES) is not None and all(place.is_file() for place in self._tables(cell))

    def save(self, cell: Cell, result: CellResult) -> None:
        """Write a cell's tables, the main one last."""
        order = sorted(result.tables, key=lambda name: name == self.main)
        for name in order:
            table = result.tables[name]
            if name == self.main:
                told = {NOTES: result.notes.model_dump_json(exclude_unset=True)}
                beside = {BESIDE: json.dumps(order[:-1])} if len(order) > 1 else {}
                table = table.replace_schema_metadata(told | beside)
            options = {"compression": "zstd", "write_page_checksum": True, **result.options}
            replace_file(self.place(cell, name), partial(pq.write_table, table, **options))

    def notes(self, cells: Sequence[Cell], kind: type[Notes]) -> Iterator[Notes]:
        """What each finished cell noted, in order."""
        found = (self._said(cell, NOTES) for cell in cells)
        return (kind.model_validate(notes) for notes in found if notes is not None)

    def join(self, cells: Sequence[Cell], name: str) -> Path | None:
        """One table from all cells' parts, in the order of the cells, a part at a time; None if no cell has it."""
        parts = [self.place(cell, name) for cell in cells if self.place(cell, name).is_file()]
        if not parts:
            return None
        target = self.folder / f"{name}.parquet"

        def write(path: Path) -> None:
            schema = pq.read_schema(parts[0]).remove_metadata()
            with pq.ParquetWriter(path, schema, compression="zstd") as writer:
                for part in parts:
                    writer.write_table(pq.read_table(part).replace_schema_metadata(None))

        replace_file(target, write)
        return target

    def place(self, cell: Cell, name: str | None = None) -> Path:
        """The file of a cell's table; of its main one if no name is given."""
        return self.parts / f"{cell.number:06d}-{cell.key}.{name or self.main}.parquet"

    def _tables(self, cell: Cell) -> list[Path]:
        return [self.place(cell, name) for name in (*(self._said(cell, BESIDE) or ()), self.main)]

    def _said(self, cell: Cell, key: str) -> Any:
        """What a cell's main table says beside its rows; None if it says nothing or cannot be read."""
        try:
            return json.loads(pq.read_schema(self.place(cell)).metadata[key.encode()])
        except (*DAMAGED, KeyError, TypeError, ValueError):
            return None

    def _check_kind(self, before: Mapping[str, Any] | None, present: list[str]) -> None:
        strangers = [name for name in present if name != self.cells and not name.startswith(".manifest.json.")]
        if before is None and strangers:
            found = f"holds no {self.holds} ({strangers[0]})"
            raise OutputError(f"{self.folder} is not empty and {found}. Name another folder: --out.")
        holds, schema = (before or {}).get("holds", "study"), (before or {}).get("schema", SCHEMA)
        if before is not None and holds != self.holds:
            raise OutputError(f"{self.folder} holds a {holds} and no {self.holds}. Name another folder: --out.")
        if not isinstance(schema, int) or schema > SCHEMA:
            raise OutputError(
                f"{self.folder} was written by a later gazeshift (schema {schema}, this one knows {SCHEMA}). "
                "Update gazeshift, or name another folder: --out."
            )

    def _check_same(self, before: Mapping[str, Any] | None, settings: Mapping[str, object]) -> None:
        if before is None:
            return
        old, new = before.get("settings", {}), json.loads(json.dumps(dict(settings), default=str))
        differing = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
        if differing:
            shown = "; ".join(f"{key}: {old.get(key)} there, {new.get(key)} now" for key in differing[:4])
            raise OutputError(
                f"{self.folder} holds a {self.holds} made with other settings ({shown}). Nothing was changed: name "
                "another folder with --out, or the same settings to go on."
            )


class Held:
    """A lock on a folder, for as long as somebody keeps this.

    Args:
        place: of the locked file.
        file: its descriptor.
    """

    def __init__(self, place: Path, file: int) -> None:
        weakref.finalize(self, _release, place, file)


def _release(place: Path, file: int) -> None:
    with suppress(OSError):  # the folder may be gone
        place.unlink()
    os.close(file)


def _is_whole(part: Path) -> bool:
    try:
        with pq.ParquetFile(part, page_checksum_verification=True) as table:
            for _ in table.iter_batches(batch_size=64):
                pass
    except DAMAGED:
        return False
    return True


def fingerprint(content: object) -> str:
    """Short hash of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:20]
