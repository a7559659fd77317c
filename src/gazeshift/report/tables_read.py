"""A finished study's folder, checked once and read whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gazeshift.errors import DataError
from gazeshift.report.study import REPAIR, open_study

_TEXT, _NUMBER, _INDEX, _CLAIM = pa.string(), pa.float64(), pa.int64(), pa.bool_()
_CONDITION = {"image": _TEXT, "attack": _TEXT, "kind": _TEXT}
_ROWS = _CONDITION | {
    "epsilon": _NUMBER,
    "strength": _NUMBER,
    "target": _TEXT,
    "layer": _TEXT,
    "layer_index": _INDEX,
    "cam": _TEXT,
    "cosine": _NUMBER,
    "nissim": _NUMBER,
    "blank": _INDEX,
    "switched": _CLAIM,
    "fooled": _CLAIM,
}
_IMAGES = _CONDITION | {
    "epsilon": _NUMBER,
    "strength": _NUMBER,
    "clean_name": _TEXT,
    "clean_confidence": _NUMBER,
    "changed_name": _TEXT,
    "changed_confidence": _NUMBER,
    "margin": _NUMBER,
    "psnr": _NUMBER,
    "linf": _NUMBER,
    "l2": _NUMBER,
    "rms": _NUMBER,
    "switched": _CLAIM,
    "success": _CLAIM,
    "clean_correct": _CLAIM,
}
_GALLERY = _CONDITION | {
    "target": _TEXT,
    "layer": _TEXT,
    "layer_index": _INDEX,
    "cam": _TEXT,
    "height": _INDEX,
    "width": _INDEX,
    "map": pa.list_(pa.float32()),
    "picture": pa.binary(),
}
_TABLES: Mapping[str, Mapping[str, Any]] = {"rows": _ROWS, "images": _IMAGES, "gallery": _GALLERY}
_KEYS = ("image", "attack", "kind", "strength", "target", "layer", "layer_index", "cam")


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """What a deviation study left in its folder.

    Args:
        manifest: settings, model, images, versions and preflight findings.
        rows: one row per image, attack, strength, kind, target, layer and CAM.
        images: one row per image, attack, strength and kind.
        gallery: pictures and raw maps of a few images.
    """

    manifest: Mapping[str, Any]
    rows: pa.Table
    images: pa.Table
    gallery: pa.Table


def read(folder: Path) -> ReportData:
    """Everything a report is made of.

    Raises:
        DataError: not the folder of a finished deviation study, a damaged file, or one of a later gazeshift.
    """
    manifest = open_study(Path(folder)).manifest
    if manifest.get("study") != "deviation":
        raise DataError(
            f"this page is of 'deviation' studies, and {folder} holds one of {manifest.get('study')!r}. "
            "Name another folder."
        )
    tables = {name: _table(Path(folder) / f"{name}.parquet", columns) for name, columns in _TABLES.items()}
    if not tables["rows"].num_rows or not tables["images"].num_rows:
        raise DataError(f"a report needs results, and the tables in {folder} have no rows. {REPAIR}")
    return ReportData(manifest=manifest, **tables)


def _table(path: Path, columns: Mapping[str, Any]) -> Any:
    """The columns that a report uses, in the types that it uses; others are left in the file."""
    if not path.is_file():
        raise DataError(f"a finished study has the table {path.name}, and {path} is absent. Run the study to its end.")
    try:
        present = pq.read_schema(path).names
        missing = [name for name in columns if name not in present]
        if missing:
            raise DataError(f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}. {REPAIR}")
        table = pq.read_table(path, columns=list(columns)).select(list(columns))
        table = table.cast(pa.schema(list(columns.items())))
    except (pa.ArrowException, OSError) as cause:
        raise DataError(f"{path} is damaged: {str(cause).splitlines()[0]}. {REPAIR}") from cause
    empty = [name for name in _KEYS if name in columns and table[name].null_count]
    if empty:
        raise DataError(f"{path} has rows without {', '.join(empty)}. {REPAIR}")
    return table
