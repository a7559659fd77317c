"""Reads the shards of a saved set: each checked against its hash when it is loaded, one in memory at a time."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Self, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from gazeshift.data._set_layout import FACTS, SET, VERSION, check_layout, put_together
from gazeshift.data._sets import AdversarialSet, Pairs, SetManifest, ShardEntry
from gazeshift.errors import DataError
from gazeshift.summaries import printable

BROKEN = (pa.ArrowException, OSError)
AGAIN = "Copy the set again, or type the command that made it: what is damaged is made anew."
ANEW = "Copy the set again, or make it in another folder."


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One file of a set.

    Args:
        file: where it is.
        count: its examples, as the manifest says.
        size: its bytes, likewise.
        sha256: of the whole file, likewise.
    """

    file: Path
    count: int
    size: int
    sha256: str

    @property
    def identity(self) -> str:
        """The hash that the manifest promises, and that every reading compares."""
        return self.sha256

    def __len__(self) -> int:
        """Number of examples."""
        return self.count

    def column(self, name: str) -> Sequence[Any]:
        """One column, without the pixels; KeyError if there is none."""
        try:
            with pq.ParquetFile(self.file, page_checksum_verification=True) as table:
                if name not in table.schema_arrow.names:
                    raise KeyError(name)
                return table.read(columns=[name]).column(0).to_pylist()  # type: ignore[no-any-return]
        except BROKEN as cause:
            raise _damaged(self.file, cause) from cause

    def batches(self, size: int) -> Iterator[Pairs]:
        """The examples, at most `size` of one size at a time; the file is held compressed, and decoded as asked for."""
        for rows in self.read(size):
            yield from self._decoded(rows)

    def pick(self, places: Sequence[int]) -> Iterator[Pairs]:
        """The examples at these places, in that order, of one size at a time; the whole file is checked first."""
        rows = pa.Table.from_batches(self.read(self.count)).take(list(places)).combine_chunks()
        for batch in rows.to_batches():
            yield from self._decoded(batch)

    def for_channels(self, count: int) -> Self:  # noqa: ARG002
        """The shard itself: its values are stored as the model saw them."""
        return self

    def _decoded(self, rows: pa.RecordBatch) -> Iterator[Pairs]:
        """The rows as tensors, those of one shape at a time."""
        try:
            for start, count in _runs(rows):
                yield _pairs(rows.slice(start, count))
        except (ValueError, TypeError, IndexError) as cause:
            raise DataError(f"the shard {self._name} holds rows that are no images ({cause}). {AGAIN}") from cause

    def read(self, size: int) -> Iterator[pa.RecordBatch]:
        """Rows of the shard, `size` at a time, after the whole file was checked.

        Raises:
            DataError: missing, cut short, changed, or not of the layout.
        """
        try:
            content = self.file.read_bytes()
        except OSError as cause:
            raise DataError(f"the shard {self._name} cannot be read: {cause.strerror}. {AGAIN}") from cause
        self._check(content)
        try:
            with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
                check_layout(file.schema_arrow, self._name)
                if file.metadata.num_rows != self.count:
                    found = file.metadata.num_rows
                    raise DataError(f"the shard {self._name} must hold {self.count} images, got {found}. {AGAIN}")
                yield from file.iter_batches(batch_size=size)
        except BROKEN as cause:
            raise _damaged(self.file, cause) from cause

    def check_size(self) -> None:
        """Refuse a file that is absent or of another length, without reading it."""
        try:
            found = self.file.stat().st_size
        except OSError as cause:
            raise DataError(f"the shard {self._name} cannot be read: {cause.strerror}. {AGAIN}") from cause
        if found != self.size:
            how = "cut short" if found < self.size else "changed"
            raise DataError(f"the shard {self._name} was {how}: it has {found} bytes, wanted {self.size}. {AGAIN}")

    def _check(self, content: bytes) -> None:
        if len(content) != self.size:
            self.check_size()
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise DataError(
                f"the shard {self._name} was changed or damaged: its SHA-256 is {found[:12]}, and the manifest says "
                f"{self.sha256[:12]}. {AGAIN}"
            )

    @property
    def _name(self) -> str:
        return printable(str(self.file))


def is_saved(folder: Path) -> bool:
    """Whether the folder has a manifest; `open_saved` says of what."""
    return (folder / "manifest.json").is_file()


def open_saved(folder: Path) -> AdversarialSet:
    """The set in the folder, from its manifest; every shard's length is checked and none is read.

    Raises:
        DataError: no set, an unfinished one, one of a later version, or a shard that is absent or cut short.
    """
    manifest = _manifest(folder)
    shards = _shards(folder, manifest)
    for shard in shards:
        shard.check_size()
    return AdversarialSet(path=folder, manifest=manifest, pieces=shards)


def describe_shard(folder: Path, file: Path) -> ShardEntry:
    """What the manifest says of a finished shard: read through, every page's checksum compared, then hashed.

    Raises:
        DataError: it is damaged.
    """
    content = file.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as table:
            count = sum(len(rows) for rows in table.iter_batches(batch_size=8))
    except BROKEN as cause:
        raise _damaged(file, cause) from cause
    return {"file": file.relative_to(folder).as_posix(), "images": count, "bytes": len(content), "sha256": sha256}


def _damaged(file: Path, cause: Exception) -> DataError:
    reason = printable(str(cause).strip().split("\n")[0].rstrip("."))
    return DataError(f"the shard {printable(str(file))} is damaged ({reason}). {AGAIN}")


def _manifest(folder: Path) -> SetManifest:
    file, shown = folder / "manifest.json", printable(str(folder))
    try:
        found: Any = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as cause:
        raise DataError(f"{printable(str(file))} cannot be read as a manifest ({cause}). {ANEW}") from cause
    if not isinstance(found, dict):
        raise DataError(f"{printable(str(file))} is no manifest of a set. {ANEW}")
    holds = found.get("holds", "study")
    if holds != SET["holds"]:
        raise DataError(f"{shown} holds a {holds} and no adversarial set. `gazeshift attack` makes one.")
    version = found.get("schema")
    if not isinstance(version, int) or version > VERSION:
        raise DataError(
            f"{shown} was written by a later gazeshift (schema {version}, this one reads up to {VERSION}). "
            "Update gazeshift."
        )
    if found.get("status") != "finished":
        done = len(list((folder / SET["cells"]).glob("[!.]*.parquet")))
        raise DataError(f"{shown} is unfinished ({done} shards so far). Type the command that began it to go on.")
    return cast("SetManifest", found)


def _shards(folder: Path, manifest: SetManifest) -> tuple[Shard, ...]:
    try:
        return tuple(
            Shard(
                file=folder / _inside(str(entry["file"])),
                count=int(entry["images"]),
                size=int(entry["bytes"]),
                sha256=str(entry["sha256"]),
            )
            for entry in manifest["shards"]
        )
    except (KeyError, TypeError, ValueError) as cause:
        file = printable(str(folder / "manifest.json"))
        raise DataError(f"{file} does not list its shards as it should ({cause!r}). {ANEW}") from cause


def _inside(name: str) -> str:
    """The name of a shard; a manifest from elsewhere may not point out of its folder."""
    if not re.fullmatch(r"shards/[A-Za-z0-9._-]+\.parquet", name):
        raise ValueError(name)
    return name


def _runs(rows: pa.RecordBatch) -> Iterator[tuple[int, int]]:
    """Start and length of each run of rows whose images have one shape."""
    sides = (rows.column(name).to_pylist() for name in ("height", "width"))
    shapes = zip(*sides, pc.list_value_length(rows.column("clean")).to_pylist(), strict=True)
    start = 0
    for _, group in groupby(shapes):
        count = len(list(group))
        yield start, count
        start += count


def _pairs(rows: pa.RecordBatch) -> Pairs:
    """Rows of one shape as tensors. The layout has no column for the channels: they follow from the number of values.

    Raises:
        ValueError: the values fill no image of this height and width.
    """
    height, width = (rows.column(name)[0].as_py() for name in ("height", "width"))
    values, pixels = len(rows.column("clean")[0].values), height * width
    if not pixels or values < pixels or values % pixels:
        raise ValueError(f"{values} values for {height} x {width} pixels")
    shape = (len(rows), values // pixels, height, width)
    clean, perturbation = (_pixels(rows, name, shape) for name in ("clean", "perturbation"))
    columns = (rows.column("exact_at"), rows.column("exact_value"))
    exact = [(at.values.to_numpy(), value.values.to_numpy()) for at, value in zip(*columns, strict=True)]
    return Pairs(
        ids=tuple(rows.column("id").to_pylist()),
        images=clean,
        attacked=put_together(clean, perturbation, exact),
        labels=torch.tensor(rows.column("label").to_pylist(), dtype=torch.int64),
        facts={name: rows.column(name).to_numpy(zero_copy_only=False) for name in FACTS.names},
    )


def _pixels(rows: pa.RecordBatch, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A copy of the rows' values as a tensor: Arrow's own memory may not be written to."""
    return torch.from_numpy(rows.column(name).flatten().to_numpy().reshape(shape).copy())
