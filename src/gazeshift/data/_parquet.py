"""Parquet tables of images in the Hugging Face layout, read one row group at a time."""

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gazeshift.data._classes import Classes
from gazeshift.data._decode import printable
from gazeshift.data._remote import AnyFile, opened
from gazeshift.data._source import ImageSource, assemble
from gazeshift.errors import DataError, ImageError

BROKEN = (pa.ArrowException, OSError)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an image's bytes are: which file, which row group, which row of it."""

    file: str
    group: int
    row: int


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns hold the images and labels; `names` are the table's own class names, if it gives any."""

    image: str
    label: str | None
    names: tuple[str, ...]


def parquet_source(files: Mapping[str, AnyFile], *, name: str, classes: Classes | None) -> ImageSource:
    """Rows of Parquet files. Ids are row numbers, after the file's name if there are several files.

    The images are in the column ``image`` (binary, or a struct with ``bytes``), the labels, if any, in ``label``; or
    in the one column that the table's Hugging Face features call Image, or ClassLabel. Without `classes`
    no label is read.

    Raises:
        DataError: not such a table, or labels that fit no class of the model.
    """
    places: dict[str, Place] = {}
    labels: dict[str, int] = {}
    columns: Columns | None = None
    for file, path in sorted(files.items()):
        own, found, values = _scan(path)
        columns = columns or own
        if columns.image != own.image or bool(columns.label) != bool(own.label):
            raise DataError(f"{printable(file)} has other columns than the files beside it. Open it alone.")
        ids = [f"{file}#{row:08d}" if len(files) > 1 else f"{row:08d}" for row in range(len(found))]
        places |= dict(zip(ids, found, strict=True))
        if classes is not None:
            labels |= _labels(dict(zip(ids, values, strict=True)), own.names, classes, file)
    fetch = Rows(columns.image if columns else "image")
    return assemble(name=name, kind="parquet", places=places, labels=labels or None, fetch=fetch)


class Rows:
    """Bytes of one row. Keeps the last two row groups, so that reading in order reads each of them once."""

    def __init__(self, column: str) -> None:
        self._column = column
        self._lock = threading.Lock()
        self._group = lru_cache(maxsize=2)(self._read)

    def __reduce__(self) -> tuple[type["Rows"], tuple[str]]:
        """Another process starts with no row group read."""
        return Rows, (self._column,)

    def __call__(self, place: Place, name: str) -> bytes:
        """The encoded image; raises ImageError if the cell is empty or its row group unreadable."""
        try:
            with self._lock:
                cell = self._group(place.file, place.group)[place.row].as_py()
        except BROKEN as cause:
            raise ImageError(f"{printable(name)} is in a damaged part of its Parquet file: {_short(cause)}.") from cause
        content: bytes | None = cell.get("bytes") if isinstance(cell, dict) else cell
        if content is None:
            raise ImageError(f"{printable(name)} holds no bytes. Embed the images in the Parquet file.")
        return content

    def _read(self, file: str, group: int) -> Any:
        with pq.ParquetFile(opened(file)) as table:
            return table.read_row_group(group, columns=[self._column]).column(self._column)


def _scan(path: AnyFile) -> tuple[Columns, list[Place], list[Any]]:
    """Columns, the place of every row, and the labels; the images are not read."""
    try:
        with pq.ParquetFile(opened(str(path))) as table:
            columns = _columns(table.schema_arrow, path.name)
            sizes = [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)]
            read = table.read(columns=[columns.label]).column(0).to_pylist() if columns.label else None
    except BROKEN as cause:
        raise DataError(f"{printable(str(path))} cannot be read as Parquet: {_short(cause)}. Copy it again.") from cause
    places = [Place(file=str(path), group=group, row=row) for group, size in enumerate(sizes) for row in range(size)]
    return columns, places, read if read is not None else [None] * len(places)


def _columns(schema: Any, file: str) -> Columns:
    features = _features(schema)
    image = _column("image", "Image", schema.names, features)
    label = _column("label", "ClassLabel", schema.names, features)
    kind: Any = schema.field(image).type if image else None
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if image is None or not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        shown = ", ".join(printable(f"{field.name} ({field.type})") for field in schema)
        raise DataError(
            f"{printable(file)} has the columns {shown}; wanted a column image of bytes, or of a struct with bytes. "
            "Rename the column, or write the encoded images into it."
        )
    return Columns(image=image, label=label, names=tuple(features.get(label or "", {}).get("names", ())))


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """What Hugging Face's metadata say of the columns; nothing if they are absent or odd."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _column(usual: str, kind: str, names: Sequence[str], features: Mapping[str, Any]) -> str | None:
    if usual in names:
        return usual
    fitting = [name for name in names if features.get(name, {}).get("_type") == kind]
    return fitting[0] if len(fitting) == 1 else None


def _labels(values: Mapping[str, Any], names: Sequence[str], classes: Classes, file: str) -> dict[str, int]:
    """Class of each row that has one; null and -1 (Hugging Face's "unknown") have none."""
    meant: dict[Any, int] = {}
    problems = []
    by_name = _goes_by_name(names, classes)
    for value in dict.fromkeys(value for value in values.values() if value is not None and value != -1):
        try:
            meant[value] = _class(value, names if by_name else (), classes)
        except DataError as cause:
            problems.append(str(cause))
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise DataError(
            f"labels in {printable(file)} do not fit the model: {'; '.join(problems[:5])}{more}. {classes.accepted}"
        )
    return {own: meant[value] for own, value in values.items() if value in meant}


def _goes_by_name(names: Sequence[str], classes: Classes) -> bool:
    """Whether the table's own class names decide: it has some, and so has the model, or it knows one of them."""
    return bool(names and classes.names) or any(classes.find(str(name)) for name in names)


def _class(value: Any, names: Sequence[str], classes: Classes) -> int:
    """One label's class. Of several classes with the same name, the one with the table's index."""
    if isinstance(value, str):
        return classes.index(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise DataError(f"'{printable(str(value))}' is neither a number nor a name")
    if not names:
        return classes.in_range(value)
    if not 0 <= value < len(names):
        raise DataError(f"{value} is not one of the table's {len(names)} classes")
    return value if value in classes.find(str(names[value])) else _by_name(str(names[value]), classes)


def _by_name(name: str, classes: Classes) -> int:
    found: Iterable[int] = classes.find(name)
    indices = list(found)
    if len(indices) != 1:
        fits = f"classes {' and '.join(map(str, indices[:3]))}" if indices else "no class"
        raise DataError(f"'{printable(name)}' fits {fits}")
    return indices[0]


def _short(cause: Exception) -> str:
    return printable(str(cause).strip().split("\n")[0].rstrip("."))
