"""The folder of a finished study of any kind, opened for its page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from gazeshift.errors import DataError
from gazeshift.manifest import SCHEMA, StudyManifest

Manifest = TypeVar("Manifest", bound=StudyManifest)
REPAIR = "Run the study again into a new folder."


@dataclass(frozen=True, kw_only=True)
class Study:
    """A finished study: what its manifest says, and its tables."""

    folder: Path
    manifest: Mapping[str, Any]  # as the file has it; `entries` gives it typed

    @property
    def name(self) -> str:
        """Of the study."""
        return str(self.manifest.get("study", "deviation"))  # the first versions had one study, and did not say

    def entries(self, kind: type[Manifest]) -> Manifest:
        """What the manifest says, typed; `kind` is the study's own.

        Raises:
            DataError: an entry is damaged.
        """
        try:
            return kind.model_validate(self.manifest)
        except ValidationError as cause:
            first = cause.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise DataError(
                f"{self.folder / 'manifest.json'} is damaged at {place}: {first['msg']}. {REPAIR}"
            ) from cause

    def has(self, table: str) -> bool:
        """Whether the study wrote that table."""
        return (self.folder / f"{table}.parquet").is_file()

    def table(self, name: str, columns: Sequence[str] | None = None) -> Any:
        """A table of the study, as pyarrow has it.

        Raises:
            DataError: it is absent or damaged.
        """
        path = self.folder / f"{name}.parquet"
        if not path.is_file():
            raise DataError(f"a finished {self.name} study has the table {path.name}, and {path} is absent. {REPAIR}")
        try:
            return pq.read_table(path, columns=None if columns is None else list(columns))
        except (pa.ArrowException, OSError) as cause:
            raise DataError(f"{path} is damaged: {str(cause).splitlines()[0]}. {REPAIR}") from cause


def open_study(folder: Path) -> Study:
    """A finished study.

    Raises:
        DataError: there is no manifest, it is damaged, from a later gazeshift, or of an unfinished study.
    """
    path = Path(folder) / "manifest.json"
    if not path.is_file():
        raise DataError(
            f"{folder} holds no finished study: it has no manifest.json. "
            "Name the folder that 'gazeshift study' wrote, or run the study to its end."
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise DataError(f"{path} cannot be read as JSON ({cause}). {REPAIR}") from cause
    return Study(folder=Path(folder), manifest=_supported(manifest, path))


def _supported(manifest: Any, path: Path) -> Mapping[str, Any]:  # JSON of which nothing is certain
    if not isinstance(manifest, dict):
        raise DataError(f"{path} must hold an object, got {type(manifest).__name__}. {REPAIR}")
    schema = manifest.get("schema")
    if not isinstance(schema, int):
        raise DataError(f"{path} must say its schema as a number, got {schema!r}. {REPAIR}")
    if schema > SCHEMA:
        raise DataError(
            f"{path} has schema {schema} and this gazeshift knows up to {SCHEMA}: it comes from a later version. "
            "Upgrade with 'pip install -U gazeshift'."
        )
    if manifest.get("holds", "study") != "study":
        raise DataError(
            f"{path.parent} holds a {manifest['holds']} and no study, and only studies have reports. "
            "`gazeshift set info` describes a set."
        )
    if manifest.get("status") == "running":
        raise DataError(f"the study in {path.parent} is not finished. Give its command again: it goes on.")
    return manifest
