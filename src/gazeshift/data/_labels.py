"""Tables of labels: CSV with a header (file, label, and perhaps wnid), or ImageNet's ``val.txt`` of "name label" lines.

A label may be a class index, a WordNet id or a class name. The order of rows and files never matters.
"""

import csv
import io
import posixpath
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from gazeshift.data._classes import Classes, first_few, named
from gazeshift.data.decode import SUFFIXES
from gazeshift.data.remote import AnyFile
from gazeshift.errors import DataError
from gazeshift.records import Skipped
from gazeshift.summaries import printable

DELIMITERS = ",;\t|"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table, as written."""

    line: int
    file: str
    label: str
    wnid: str = ""
    id: str = ""


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """What a table says.

    Args:
        name: the table's file name, for messages.
        labels: image file to class; None where the label's cell is empty.
        lines: image file to line number in the table.
        repeated: rows that say again what another row said.
        ids: image file to the name that the table's column ``id`` gives it; empty without that column.
    """

    name: str
    labels: Mapping[str, int | None]
    lines: Mapping[str, int]
    repeated: int
    ids: Mapping[str, str]


def read_labels(path: AnyFile, classes: Classes | None) -> LabelTable:
    """The table, with every label turned into a class of the model; without `classes` no label is read.

    Raises:
        DataError: not such a table; labels that fit no class (the first few with their lines); an image with two
            different labels.
    """
    text = _text(path)
    rows = list(_lines(text, path.name) if path.suffix.lower() == ".txt" else _csv(text, path.name))
    if not rows:
        raise DataError(f"{printable(path.name)} names no image. Give one row per image: file, label.")
    found: list[int | None] = [None] * len(rows) if classes is None else _resolved(path.name, rows, classes)
    return _merged(path.name, rows, found)


def match(
    table: LabelTable, ids: Collection[str], *, prefix: str = "", chosen: bool = False
) -> tuple[dict[str, int], tuple[Skipped, ...]]:
    """Labels of the images of a source, and the rows whose image is not there.

    Args:
        table: what the table says.
        ids: the images that are there.
        prefix: a folder that the table may write before each file (``images/``).
        chosen: the images were picked one by one, so that rows about others are no loss.
    """
    labels: dict[str, int] = {}
    absent = []
    for file, label in table.labels.items():
        own = next((name for name in spellings(file, prefix) if name in ids), None)
        if own is None:
            where = f"named in {printable(table.name)} (line {table.lines[file]}), but {_why_absent(file)}"
            absent.append(Skipped(id=file, reason=where))
        elif label is not None and labels.setdefault(own, label) != label:
            raise DataError(
                f"{printable(table.name)} gives {named([own])} two labels: {labels[own]} and {label}. Keep one row."
            )
    if not labels:
        raise DataError(
            f"none of the {len(ids)} images has a label in {printable(table.name)}, which names "
            f"{named(table.labels, 3)}; the images are {named(sorted(ids), 3)}. Make the file column match."
        )
    return labels, () if chosen else tuple(absent)


def spellings(file: str, prefix: str = "") -> Iterator[str]:
    r"""How a table may write the path of an image: as it is, below a folder, or with the backslashes of Windows.

    >>> list(spellings(r"images\cats\1.png", "images/"))[-2:]
    ['images/cats/1.png', 'cats/1.png']
    """
    for written in (file, posixpath.normpath(file.replace("\\", "/"))):
        yield from (written, written.removeprefix(prefix))


def _why_absent(file: str) -> str:
    suffix = PurePosixPath(file).suffix
    if suffix and suffix.lower() not in SUFFIXES:
        return f"files ending in {printable(suffix)} are not read"
    return "there is no such image"


def _text(path: AnyFile) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as cause:
        reason = cause.strerror or cause
        raise DataError(f"the labels {printable(str(path))} cannot be read: {reason}. Check the path.") from cause
    except UnicodeDecodeError as cause:
        raise DataError(f"the labels {printable(str(path))} are not UTF-8 text. Save them as UTF-8 CSV.") from cause


def _lines(text: str, name: str) -> Iterator[Row]:
    """Lines "name label"; with tabs, the first two cells. A name may hold spaces."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        cells = line.strip("\r").split("\t") if "\t" in line else line.rsplit(maxsplit=1)
        if len(cells) < 2:
            raise DataError(f'{printable(name)} line {number}: wanted "name label", got {named([line.strip()])}.')
        yield Row(line=number, file=cells[0].strip(), label=cells[1].strip())


def _csv(text: str, name: str) -> Iterator[Row]:
    header, delimiter = _header(text, name)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        next(cells for cells in reader if any(cells))
        for cells in reader:
            if any(cells):
                row = dict(zip(header, cells, strict=False))
                wnid, own = row.get("wnid", "").strip(), row.get("id", "")
                yield Row(line=reader.line_num, file=row["file"], label=row["label"].strip(), wnid=wnid, id=own)
    except KeyError as cause:
        raise DataError(f"{printable(name)} line {reader.line_num}: the row has no {cause} cell. Add it.") from cause
    except csv.Error as cause:
        raise DataError(f"{printable(name)} line {reader.line_num} is not CSV: {cause}. Mend its quotes.") from cause


def _header(text: str, name: str) -> tuple[list[str], str]:
    """Names of the columns, and the delimiter: the one that makes the first line hold both needed columns."""
    first = text.lstrip("\r\n").split("\n", 1)[0].strip("\r")
    for delimiter in DELIMITERS:
        header = [cell.strip().strip('"').strip().lower() for cell in first.split(delimiter)]
        if {"file", "label"} <= set(header):
            return header, delimiter
    raise DataError(
        f"{printable(name)} starts with {named([first[:80]])}, wanted a header with the columns file and label. "
        "Add the header, or name the file .txt if its lines are image names and labels."
    )


def _resolved(name: str, rows: list[Row], classes: Classes) -> list[int | None]:
    """Class of every row; None where neither label nor wnid is given."""
    words = [row.label or row.wnid for row in rows]
    meant, unclear = classes.read(word for word in words if word)
    found = [meant.get(word) for word in words]
    whys = (
        _problem(row, unclear.get(word), index, classes) for row, word, index in zip(rows, words, found, strict=True)
    )
    problems = [f"line {row.line}: {why}" for row, why in zip(rows, whys, strict=True) if why]
    if problems:
        raise DataError(
            f"{len(problems)} of {len(rows)} labels in {printable(name)} do not fit the model: "
            f"{first_few(problems)}. {classes.accepted}"
        )
    return found


def _problem(row: Row, unclear: str | None, index: int | None, classes: Classes) -> str | None:
    """What is wrong with a row. Its wnid, if it has one and the model knows wnids, must agree with its label."""
    if not row.file.strip():
        return "the file cell is empty"
    own = classes.find(row.wnid) if row.wnid and classes.wnids else (index,)
    if unclear or own == (index,):
        return unclear
    which = f"is class {own[0]}" if own else "fits no class"
    return f"label '{printable(row.label)}' is class {index}, but wnid '{printable(row.wnid)}' {which}"


def _merged(name: str, rows: list[Row], found: list[int | None]) -> LabelTable:
    labels: dict[str, int | None] = {}
    lines: dict[str, int] = {}
    for row, label in zip(rows, found, strict=True):
        file = posixpath.normpath(row.file)
        if labels.setdefault(file, label) != label:
            raise DataError(
                f"{printable(name)} gives {named([file])} two labels: {labels[file]} (line {lines[file]}) and {label} "
                f"(line {row.line}). Keep one of the rows."
            )
        lines.setdefault(file, row.line)
    ids = {posixpath.normpath(row.file): row.id for row in rows if row.id}
    return LabelTable(name=name, labels=labels, lines=lines, repeated=len(rows) - len(labels), ids=ids)
