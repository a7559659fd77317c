"""A finished study's folder, checked once and read whole."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float

from gazeshift.errors import DataError
from gazeshift.manifest import StudyManifest
from gazeshift.report.measure_scale import COSINE, NISSIM
from gazeshift.report.study import REPAIR, open_study

WIDE = (COSINE, NISSIM)  # columns of rows.parquet in version 0.1, in place of `measure` and `value`

_TEXT, _NUMBER, _INDEX, _CLAIM = pa.string(), pa.float64(), pa.int64(), pa.bool_()
_CONDITION = [("image", _TEXT), ("attack", _TEXT), ("kind", _TEXT)]
_STRENGTH = [*_CONDITION, ("epsilon", _NUMBER), ("strength", _NUMBER)]
_PLACE = [("target", _TEXT), ("layer", _TEXT), ("layer_index", _INDEX), ("cam", _TEXT)]
_MARKS = [("blank", _INDEX), ("switched", _CLAIM), ("fooled", _CLAIM)]
_ROWS = pa.schema([*_STRENGTH, *_PLACE, ("measure", _TEXT), ("value", _NUMBER), *_MARKS])
_WIDE_ROWS = pa.schema([*_STRENGTH, *_PLACE, *((name, _NUMBER) for name in WIDE), *_MARKS])
_IMAGES = pa.schema(
    [
        *_STRENGTH,
        ("clean_name", _TEXT),
        ("clean_confidence", _NUMBER),
        ("changed_name", _TEXT),
        ("changed_confidence", _NUMBER),
        *((name, _NUMBER) for name in ("margin", "psnr", "linf", "l2", "rms")),
        *((name, _CLAIM) for name in ("switched", "success", "clean_correct")),
    ]
)
_GALLERY = pa.schema(
    [
        *_CONDITION,
        *_PLACE,
        ("height", _INDEX),
        ("width", _INDEX),
        ("map", pa.list_(pa.float32())),
        ("picture", pa.binary()),
    ]
)
_KEYS = ("image", "attack", "kind", "strength", "target", "layer", "layer_index", "cam", "measure")


@dataclass(frozen=True, kw_only=True)
class KeptMap:
    """A row of the gallery's table: a picture, or a map of it.

    Args:
        image, attack, kind, target, layer, cam: as the table has them; a picture has no layer.
        height, width: of the map; None for a picture.
        map: its values.
        picture: the file, or None for a map.
    """

    image: str
    attack: str
    kind: str
    target: str
    layer: str
    cam: str
    height: int | None
    width: int | None
    map: Float[np.ndarray, " hw"]
    picture: bytes | None


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """What a deviation study left in its folder.

    Args:
        manifest: settings, model, images, versions and preflight findings.
        rows: one row per image, attack, strength, kind, target, layer, CAM and measure.
        images: one row per image, attack, strength and kind.
        gallery: pictures and raw maps of a few images.
    """

    manifest: StudyManifest
    rows: pa.Table
    images: pa.Table
    gallery: pa.Table


def read(folder: Path) -> ReportData:
    """Everything a report is made of.

    Raises:
        DataError: not the folder of a finished deviation study, a damaged file, or one of a later gazeshift.
    """
    study = open_study(Path(folder))
    if study.name != "deviation":
        raise DataError(
            f"this page is of 'deviation' studies, and {folder} holds one of {study.name!r}. Name another folder."
        )
    rows, images = read_rows(Path(folder)), _table(Path(folder) / "images.parquet", _IMAGES)
    gallery = _table(Path(folder) / "gallery.parquet", _GALLERY)
    if not rows.num_rows or not images.num_rows:
        raise DataError(f"a report needs results, and the tables in {folder} have no rows. {REPAIR}")
    return ReportData(manifest=study.entries(StudyManifest), rows=rows, images=images, gallery=gallery)


def read_rows(folder: Path) -> pa.Table:
    """How alike the maps are: the rows of a study that compares maps, one for each measure.

    Raises:
        DataError: the table is absent or damaged.
    """
    path = folder / "rows.parquet"
    wide = _is_wide(path)
    return _long(_table(path, _WIDE_ROWS)) if wide else _table(path, _ROWS)


def kept_maps(gallery: pa.Table) -> list[KeptMap]:
    """Rows of a gallery with their maps as arrays; lists of Python numbers would take a hundred times the room."""
    maps = gallery["map"].combine_chunks()
    starts, values = maps.offsets.to_numpy(), maps.values.to_numpy(zero_copy_only=False)
    rows = gallery.select([field.name for field in fields(KeptMap) if field.name != "map"]).to_pylist()
    return [KeptMap(**row, map=values[starts[at] : starts[at + 1]]) for at, row in enumerate(rows)]


def _is_wide(path: Path) -> bool:
    """Whether it is a table of version 0.1, which had a column for each of its two measures."""
    try:
        return set(WIDE) <= set(pq.read_schema(path).names)
    except (pa.ArrowException, OSError):
        return False  # reading it says what is wrong


def _long(wide: pa.Table) -> pa.Table:
    """A row for each measure of a map; where one was computed for no map of a CAM, there is none."""
    pieces = []
    for name in WIDE:
        computed = pc.unique(wide["cam"].filter(pc.is_finite(wide[name]))) if name != COSINE else pc.unique(wide["cam"])
        piece = wide.filter(pc.is_in(wide["cam"], computed)).rename_columns({name: "value"})
        pieces.append(piece.append_column("measure", pa.array([name] * len(piece), _TEXT)).select(_ROWS.names))
    return pa.concat_tables(pieces)


def _table(path: Path, columns: pa.Schema) -> pa.Table:
    """The columns that a report uses, in the types that it uses; others are left in the file."""
    if not path.is_file():
        raise DataError(f"a finished study has the table {path.name}, and {path} is absent. Run the study to its end.")
    try:
        present = pq.read_schema(path).names
        missing = [name for name in columns.names if name not in present]
        if missing:
            raise DataError(f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}. {REPAIR}")
        table = pq.read_table(path, columns=columns.names).select(columns.names).cast(columns)
    except (pa.ArrowException, OSError) as cause:
        raise DataError(f"{path} is damaged: {str(cause).splitlines()[0]}. {REPAIR}") from cause
    empty = [name for name in _KEYS if name in columns.names and table[name].null_count]
    if empty:
        raise DataError(f"{path} has rows without {', '.join(empty)}. {REPAIR}")
    return table
