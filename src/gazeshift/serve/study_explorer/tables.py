"""A finished study's tables, asked page by page: what can be chosen, a page of images, and all about one image.

Queries are ours, values are bound, and names are looked up in what the tables hold: nothing of a request is ever part
of a query's text or of a path.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Protocol, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from gazeshift.errors import BoundsError, DataError, UnknownNameError, did_you_mean
from gazeshift.report.measure_scale import MeasureScale
from gazeshift.report.study import REPAIR
from gazeshift.serve.explorer.serialize import EightBitMap
from gazeshift.summaries import finite

Kind = TypeVar("Kind")
MAX_ROWS = 200
MAX_START = 2**31
MAX_ROWS_IN_MEMORY = 2_000_000  # rows of a table that is read once and held
ALL = "all"
SHOWN = ("rows", "images")
PLAIN = {"VARCHAR", "BOOLEAN", "FLOAT", "DOUBLE", "TINYINT", "SMALLINT", "INTEGER", "BIGINT"}
PLAIN |= {"UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Something that the list can be narrowed by.

    Args:
        name: in requests.
        label: for people.
        options: value to what people read.
        first: the value chosen at first; empty: the first of the options.
    """

    name: str
    label: str
    options: Mapping[str, str]
    first: str = ""

    def as_dict(self) -> dict[str, object]:
        """For the page."""
        return {
            "name": self.name,
            "label": self.label,
            "first": self.taken({}),
            "options": [{"value": value, "label": label} for value, label in self.options.items()],
        }

    def taken(self, chosen: Mapping[str, str]) -> str:
        """What a request chose, or the first.

        Raises:
            UnknownNameError: no such option.
        """
        usual = self.first if self.first in self.options else next(iter(self.options))
        value = chosen.get(self.name, usual)
        if value not in self.options:
            raise UnknownNameError(f"{self.name} has no option '{value[:60]}'. {did_you_mean(value, self.options)}")
        return value


@dataclass(frozen=True, kw_only=True)
class Page:
    """Which part of the list is asked for.

    Args:
        chosen: choice to value.
        search: part of an image's name.
        sort: name of an order.
        reverse: the other way round.
        start: images before it, 0 to 2,147,483,648.
        size: images on it, 1 to 200.
    """

    chosen: Mapping[str, str] = field(default_factory=dict)
    search: str = ""
    sort: str = ""
    reverse: bool = False
    start: int = 0
    size: int = 50

    def __post_init__(self) -> None:
        if not 1 <= self.size <= MAX_ROWS or not 0 <= self.start <= MAX_START:
            raise BoundsError(
                f"a page has 1 to {MAX_ROWS} images from 0 to {MAX_START} on, got {self.size} from {self.start}."
            )


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A page of the list.

    Args:
        total: how many images meet the choices.
        rows: those of the page, with all columns that the study's table has for them.
    """

    total: int
    rows: Sequence[Mapping[str, object]]


@dataclass(frozen=True, kw_only=True)
class ImageDetails:
    """All about one image.

    Args:
        layers: names, in order.
        moved: by condition, class, CAM and measure (``pgd|1|noise|predicted|grad_cam|cosine``), a number per layer.
        conditions: rows of the study's table of images, if it compares maps.
        verdicts: rows of what detectors said, if it is a scorecard.
    """

    layers: Sequence[str] = ()
    moved: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    conditions: Sequence[Mapping[str, object]] | None = None
    verdicts: Sequence[Mapping[str, object]] | None = None

    def as_dict(self) -> dict[str, object]:
        """For the page: what there is."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(kw_only=True)
class KeptSide:
    """A picture that a study kept of an image, with its maps.

    Args:
        picture: as a data URL.
        maps: by target, CAM and layer; None where no map was kept.
    """

    picture: str
    maps: dict[str, dict[str, list[EightBitMap | None]]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """As the page has a side that is drawn anew: `gazeshift.serve.explorer.serialize.side_json`."""
        return {"picture": self.picture, "answers": [], "verdict": None, "maps": self.maps}


def as_dicts(sides: Mapping[str, KeptSide]) -> dict[str, dict[str, object]]:
    """Sides by kind of picture, for the page."""
    return {kind: side.as_dict() for kind, side in sides.items()}


class StudyTables(Protocol):
    """What every kind of study offers to the page."""

    @property
    def store(self) -> "TableStore":
        """The tables."""

    @property
    def choices(self) -> Sequence[Filter]:
        """What the list can be narrowed by."""

    @property
    def measures(self) -> Sequence[MeasureScale]:
        """How maps were compared; none if they were not."""

    @property
    def sorts(self) -> Mapping[str, str]:
        """Orders of the list, with what people call them."""

    @property
    def columns(self) -> Sequence[tuple[str, str, str]]:
        """Name, heading and kind of each column of the list."""

    def listed(self, page: Page) -> Listed:
        """The images of a page, and how many there are in all."""

    def image(self, name: str) -> ImageDetails:
        """All about one image."""

    def pictured(self) -> frozenset[str]:
        """Images whose picture the study kept."""

    def kept(self, name: str, attack: str, strength: float) -> Mapping[str, KeptSide]:
        """Pictures and maps of it that the study kept, by kind of picture."""


class TableStore:
    """The tables of a study's folder, in DuckDB; any thread may ask.

    Args:
        folder: of the study.
        names: of its tables. Of those that are shown row by row, columns that JSON has no word for are left out.
        listing: the smallest one that names every image; held in memory if it is not too large.
    """

    def __init__(self, folder: Path, names: Sequence[str], listing: str = "rows") -> None:
        self.folder, self.connection = folder, duckdb.connect()
        self.connection.execute("SET parquet_metadata_cache = true")  # a table has thousands of row groups
        for name in names:
            path = folder / f"{name}.parquet"
            try:
                found = self.connection.read_parquet(_unglobbed(path))
                if name in SHOWN:
                    found = found.select(*(duckdb.ColumnExpression(column) for column in _plain(found)))
                small = name == listing and pq.read_metadata(path).num_rows <= MAX_ROWS_IN_MEMORY
                (found.create if small else found.create_view)(f"study_{name}")
            except duckdb.Error as cause:
                raise DataError(f"{path} is damaged: {str(cause).splitlines()[0]}. {REPAIR}") from cause
        self.images = self.values(listing, "image")
        self.places = {name: place for place, name in enumerate(self.images)}
        if not self.images:
            raise DataError(f"the tables in {folder} have no rows. {REPAIR}")

    def close(self) -> None:
        """Let go of the tables."""
        self.connection.close()

    def ask(self, query: str, **values: object) -> list[dict[str, object]]:
        """Rows of a query with bound values.

        Raises:
            DataError: a table turned out to be damaged.
        """
        try:
            with self.connection.cursor() as cursor:
                found = cursor.execute(query, values) if values else cursor.execute(query)
                names = [column[0] for column in found.description]
                return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        except duckdb.IOException as cause:
            raise DataError(f"a table of the study cannot be read: {str(cause).splitlines()[0]}. {REPAIR}") from cause

    def read(self, kind: Callable[..., Kind], query: str, **values: object) -> list[Kind]:
        """The same, each row as a dataclass that has its columns."""
        return [kind(**row) for row in self.ask(query, **values)]

    def count(self, table: str, where: str, **values: object) -> int:
        """Rows of a table that meet a condition; the texts are ours, the values bound."""
        (row,) = self.ask(f"SELECT count(*) AS n FROM study_{table} WHERE {where}", **values)  # noqa: S608
        return int(str(row["n"]))

    def values(self, table: str, column: str) -> tuple[str, ...]:
        """Texts that a table holds in a column, sorted; both names are ours."""
        rows = self.ask(f"SELECT DISTINCT {column} FROM study_{table} ORDER BY {column}")  # noqa: S608
        return tuple(str(row[column]) for row in rows)

    def distinct(self, table: str, kind: type[Kind]) -> list[Kind]:
        """What a table holds in the columns of a dataclass, sorted by them."""
        columns = ", ".join(field.name for field in fields(kind))  # type: ignore[arg-type]  # any dataclass
        return self.read(kind, f"SELECT DISTINCT {columns} FROM study_{table} ORDER BY {columns}")  # noqa: S608

    def sampled(self, table: str, kind: type[Kind]) -> list[Kind]:
        """The same by its first and last row group: every cell of a study has them all."""
        columns = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # any dataclass
        with pq.ParquetFile(self.folder / f"{table}.parquet") as file:
            groups = sorted({0, file.num_row_groups - 1})
            found = file.read_row_groups(groups, columns=columns).group_by(columns).aggregate([])
        found = found.select(columns).sort_by([(column, "ascending") for column in columns])
        return [kind(**row) for row in found.to_pylist()]

    def name(self, place: int) -> str:
        """The image at a place in the order of names.

        Raises:
            UnknownNameError: there are not so many.
        """
        if not 0 <= place < len(self.images):
            raise UnknownNameError(f"the study has images 0 to {len(self.images) - 1}, got {place}.")
        return self.images[place]


def _plain(table: duckdb.DuckDBPyRelation) -> list[str]:
    """Columns that hold text, numbers, yes or no."""
    return [column for column, kind in zip(table.columns, table.types, strict=True) if str(kind) in PLAIN]


def _unglobbed(path: Path) -> str:
    """The path with letters that would be a pattern put in brackets, where they are themselves."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path))


def columns_of(folder: Path, table: str) -> set[str]:
    """Names of a table's columns; empty if it is not there.

    Raises:
        DataError: it is damaged.
    """
    path = folder / f"{table}.parquet"
    if not path.is_file():
        return set()
    try:
        return set(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as cause:
        raise DataError(f"{path} is damaged: {str(cause).splitlines()[0]}. {REPAIR}") from cause


def rounded(row: Mapping[str, object]) -> dict[str, object]:
    """The row with numbers as JSON has them."""
    return {key: finite(value) if isinstance(value, float) else value for key, value in row.items()}


def contains(search: str) -> str:
    """Condition on the image's name, to be used with the bound value `search`."""
    return "contains(lower(image), lower($search))" if search else "TRUE"
