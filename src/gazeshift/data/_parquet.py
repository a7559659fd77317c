"""Parquet tables of images in the Hugging Face layout, read one row group at a time."""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypedDict, cast

import pyarrow as pa
import pyarrow.parquet as pq

from gazeshift.data._classes import Classes, first_few
from gazeshift.data.image_source import ImageSource, assemble
from gazeshift.data.remote import AnyFile, opened
from gazeshift.errors import DataError, ImageError
from gazeshift.summaries import printable

BROKEN = (pa.ArrowException, OSError)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an image's bytes are: which file, which row group, which row of it."""

    file: str
    group: int
    row: int


class Feature(TypedDict, total=False):
    """What Hugging Face's metadata say of a column; of one of labels, the classes' names."""

    _type: str
    names: list[str]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns hold the images and labels; `names` are the table's own class names, if it gives any."""

    image: str
    label: str | None
    names: tuple[str, ...]


def parquet_source(files: Mapping[str, AnyFile], *, name: str, classes: Classes | None) -> ImageSource:
    """The images of Parquet files. Ids are row numbers, after the file's name if there are several files.

    The images are in the column ``image`` (binary, or a struct with ``bytes``), the labels, if any, in ``label``; or
    in the one column that the table's Hugging Face features call Image, or ClassLabel. Without `classes`
    no label is read.

    Raises:
        DataError: not such a table, or labels that fit no class of the model.
    """
    places: dict[str, Place] = {}
    given: list[tuple[dict[str, object], tuple[str, ...]]] = []
    columns: Columns | None = None
    for file, path in sorted(files.items()):
        own, found, values = _scan(path)
        columns = columns or own
        if columns.image != own.image or bool(columns.label) != bool(own.label):
            raise DataError(f"{printable(file)} has other columns than the files beside it. Open it alone.")
        ids = [f"{file}#{row:08d}" if len(files) > 1 else f"{row:08d}" for row in range(len(found))]
        places |= dict(zip(ids, found, strict=True))
        given.append((dict(zip(ids, values, strict=True)), own.names))
    fetch = ParquetRows(columns.image if columns else "image")
    labels = None if classes is None else _labels(given, classes, name)
    return assemble(name=name, kind="parquet", places=places, labels=labels or None, fetch=fetch)


class ParquetRows:
    """Bytes of one row. Keeps the last two row groups, so that reading in order reads each of them once."""

    def __init__(self, column: str) -> None:
        self._column = column
        self._lock = threading.Lock()
        self._group = lru_cache(maxsize=2)(self._read)

    def __reduce__(self) -> tuple[type["ParquetRows"], tuple[str]]:
        """Another process starts with no row group read."""
        return ParquetRows, (self._column,)

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
    return Columns(image=image, label=label, names=tuple(features.get(label or "", Feature()).get("names", ())))


def _features(schema: Any) -> dict[str, Feature]:
    """What Hugging Face's metadata say of the columns; nothing if they are absent or odd."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: cast("Feature", feature) for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _column(usual: str, kind: str, names: Sequence[str], features: Mapping[str, Feature]) -> str | None:
    if usual in names:
        return usual
    fitting = [name for name in names if features.get(name, Feature()).get("_type") == kind]
    return fitting[0] if len(fitting) == 1 else None


def _labels(
    given: Sequence[tuple[Mapping[str, object], Sequence[str]]], classes: Classes, where: str
) -> dict[str, int]:
    """Class of each row that has one; null, blank and -1 (Hugging Face's "unknown") have none.

    Args:
        given: of each file, id to label, and the file's own class names.
        classes: the model's.
        where: the files, for messages.
    """
    words = [value for values, _ in given for value in values.values() if isinstance(value, str) and value.strip()]
    meant, unclear = classes.read(words)
    problems, labels = list(unclear.values()), dict[str, int]()
    for values, names in given:
        known: dict[Any, int] = {**meant}
        own = names if _goes_by_name(names, classes) else ()
        for value in dict.fromkeys(values.values()):
            if value is None or value == -1 or isinstance(value, str):
                continue
            try:
                known[value] = _class(value, own, classes)
            except DataError as cause:
                problems.append(str(cause))
        labels |= {row: known[value] for row, value in values.items() if value in known}
    if problems:
        raise DataError(f"labels in {printable(where)} do not fit the model: {first_few(problems)}. {classes.accepted}")
    return labels


def _goes_by_name(names: Sequence[str], classes: Classes) -> bool:
    """Whether the table's own class names decide: it has some, and so has the model, or it knows one of them."""
    return bool(names and classes.names) or any(classes.find(str(name)) for name in names)


def _class(value: Any, names: Sequence[str], classes: Classes) -> int:
    """Class of a label that is a number: an index of the table's own class names, if these decide, else the model's."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise DataError(f"'{printable(str(value))}' is neither a number nor a name")
    if not names:
        return classes.in_range(value)
    if not 0 <= value < len(names):
        raise DataError(f"{value} is not one of the table's {len(names)} classes")
    return _named_class(value, str(names[value]), classes)


def _named_class(value: int, name: str, classes: Classes) -> int:
    """Class of the table's class `value` with this name. Of several with the same name, the one with its index.

    A name that is the index itself, as Hugging Face gives to classes without names, says no more than the index does.
    """
    fitting = classes.find(name)
    if value in fitting or (name == str(value) and not fitting):
        return classes.in_range(value)
    meant, unclear = classes.read([name])
    if unclear or not fitting:
        raise DataError(unclear.get(name, f"'{printable(name)}' fits no class"))
    return meant[name]


def _short(cause: Exception) -> str:
    return printable(str(cause).strip().split("\n")[0].rstrip("."))
