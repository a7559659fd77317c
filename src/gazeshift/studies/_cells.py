"""Runs a study cell by cell. What exists is complete: a killed study, run again, does what is missing.

Each cell's tables are written beside their place and renamed, the main table (``rows``) last; its file name is the
hash of everything that the cell's rows depend on. At the end the cells are joined in order, so that the final tables
are the same bytes whether the study ran through or was killed on the way.
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gazeshift.errors import OutputError

MAIN = "rows"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A piece of a study: its number in the study, what its rows depend on, and the ids of its images."""

    number: int
    inputs: Mapping[str, Any]
    ids: tuple[str, ...]

    @property
    def key(self) -> str:
        """First 20 digits of SHA-256 over all inputs."""
        return fingerprint({"inputs": self.inputs, "ids": self.ids})


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """What a cell made: tables by name (``rows`` among them) and notes that go into the manifest."""

    tables: Mapping[str, pa.Table]
    notes: Mapping[str, Any]


def fingerprint(content: object) -> str:
    """Short hash of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:20]


class Store:
    """The folder of a study: finished cells in ``parts``, the joined tables and the manifest beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts = folder / "parts"

    def open(self, settings: Mapping[str, Any]) -> None:
        """Make the folder, or accept one that an earlier run with the same settings left.

        Raises:
            OutputError: it holds something else, was made with other settings (says which), or cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            present = sorted(path.name for path in self.folder.iterdir())
            before = self.manifest()
            if before and before.get("status") == "running" and not any(self.parts.glob(f"[!.]*.{MAIN}.parquet")):
                before, present = None, []  # an earlier try that finished nothing binds nobody
            _check_study(self.folder, before, present)
            _check_same(self.folder, before, settings)
            self.parts.mkdir(exist_ok=True)
            for stale in self.parts.glob(".*"):
                stale.unlink()
            self.write_manifest(
                {"schema": 1, "status": "running", "settings": dict(settings)} if before is None else before
            )
        except OutputError:
            raise
        except OSError as cause:
            raise write_error(self.folder, cause) from cause

    def manifest(self) -> dict[str, Any] | None:
        """The manifest, or None if there is none yet."""
        file = self.folder / "manifest.json"
        if not file.is_file():
            return None
        try:
            found = json.loads(file.read_text("utf-8"))
        except ValueError as cause:
            raise OutputError(f"{file} is damaged ({cause}). Name another folder: --out.") from cause
        return found if isinstance(found, dict) else None

    def write_manifest(self, content: Mapping[str, Any]) -> None:
        """Replace the manifest in one step."""
        text = json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"
        self._replace(self.folder / "manifest.json", lambda path: path.write_text(text, "utf-8"))

    def has(self, cell: Cell) -> bool:
        """Whether the cell is finished and whole."""
        return self._notes(cell) is not None

    def save(self, cell: Cell, result: CellResult) -> None:
        """Write a cell's tables, the main one last."""
        order = sorted(result.tables, key=lambda name: name == MAIN)
        for name in order:
            table = result.tables[name]
            if name == MAIN:
                table = table.replace_schema_metadata({"gazeshift": json.dumps(result.notes, default=str)})
            self._replace(self._part(cell, name), lambda path, table=table: _write_table(table, path))

    def notes(self, cells: Sequence[Cell]) -> Iterator[dict[str, Any]]:
        """What each finished cell noted, in order."""
        for cell in cells:
            found = self._notes(cell)
            if found is not None:
                yield found

    def join(self, cells: Sequence[Cell], name: str) -> Path | None:
        """One table from all cells' parts, in the order of the cells, a part at a time; None if no cell has it."""
        parts = [self._part(cell, name) for cell in cells if self._part(cell, name).is_file()]
        if not parts:
            return None
        target = self.folder / f"{name}.parquet"

        def write(path: Path) -> None:
            schema = pq.read_schema(parts[0]).remove_metadata()
            with pq.ParquetWriter(path, schema, compression="zstd") as writer:
                for part in parts:
                    writer.write_table(pq.read_table(part).replace_schema_metadata(None))

        self._replace(target, write)
        return target

    def _notes(self, cell: Cell) -> dict[str, Any] | None:
        file = self._part(cell, MAIN)
        try:
            metadata = pq.read_schema(file).metadata
            return json.loads(metadata[b"gazeshift"])  # type: ignore[no-any-return]
        except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
            return None

    def _part(self, cell: Cell, name: str) -> Path:
        return self.parts / f"{cell.number:06d}-{cell.key}.{name}.parquet"

    def _replace(self, target: Path, write: Any) -> None:
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            write(beside)
            beside.replace(target)
        except OSError as cause:
            beside.unlink(missing_ok=True)
            raise write_error(target, cause) from cause


def _write_table(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd")


def _check_study(folder: Path, before: Mapping[str, Any] | None, present: list[str]) -> None:
    if before is None and present and present != ["parts"]:
        raise OutputError(f"{folder} is not empty and holds no study ({present[0]}). Name another folder: --out.")


def _check_same(folder: Path, before: Mapping[str, Any] | None, settings: Mapping[str, Any]) -> None:
    if before is None:
        return
    old = before.get("settings", {})
    differing = sorted(
        key for key in {*old, *settings} if old.get(key) != json.loads(json.dumps(settings.get(key), default=str))
    )
    if differing:
        shown = "; ".join(f"{key}: {old.get(key)} there, {settings.get(key)} now" for key in differing[:4])
        raise OutputError(
            f"{folder} holds a study made with other settings ({shown}). Nothing was changed: name another folder with "
            "--out, or the same settings to go on."
        )


def write_error(target: Path, cause: OSError) -> OutputError:
    """The error for a file that cannot be written: says what to do, and that nothing finished is lost."""
    if cause.errno == errno.ENOSPC:
        return OutputError(
            f"the disk is full: {target} could not be written. What is finished is kept; free some space and run the "
            "same command again."
        )
    reason = cause.strerror or str(cause)
    return OutputError(f"{target} cannot be written ({reason}). Name a folder you may write to: --out.")
