"""What pages are made of: one offline HTML file from a finished study's tables. Imports neither torch nor models.

A study's own page is ``report/page.py`` in the study's folder: one function `page` from a `Study` to a `Document`.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gazeshift.errors import DataError, OutputError, UnknownNameError, did_you_mean
from gazeshift.registry import find, names
from gazeshift.report.html import page
from gazeshift.report.study import open_study
from gazeshift.report.tables_read import ReportData, read

__all__ = ["Report", "ReportData", "make", "read", "save", "write"]


@dataclass(frozen=True, kw_only=True)
class Report:
    """A study's page as HTML, and the few sentences that matter."""

    html: str
    findings: Sequence[str]


def make(folder: Path) -> Report:
    """The report of a finished study, made from its folder alone.

    Raises:
        DataError: not the folder of a finished study, or a damaged one.
    """
    study = open_study(Path(folder))
    try:
        settings = find("studies", study.name)
    except UnknownNameError as cause:
        raise DataError(
            f"{study.folder / 'manifest.json'} says '{study.name}', a study that has no report. "
            f"{did_you_mean(study.name, names('studies'))}"
        ) from cause
    document = settings.module("report.page").page(study)
    return Report(html=page(document), findings=tuple(document.findings))


def save(folder: Path, made: Report) -> Path:
    """Write ``report.html`` into a study's folder, whole or not at all, and give its path.

    Raises:
        OutputError: the folder cannot be written to.
    """
    path, beside = Path(folder) / "report.html", Path(folder) / ".report.html.part"
    try:
        beside.write_bytes(made.html.encode("utf-8", "replace"))
        os.replace(beside, path)  # noqa: PTH105
    except OSError as cause:
        raise OutputError(f"the report cannot be written to {path} ({cause}). Check rights and free space.") from cause
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
    return path


def write(folder: Path) -> Path:
    """Make a finished study's report and save it beside its tables; gives its path.

    Raises:
        DataError: not the folder of a finished study, or a damaged one.
        OutputError: the folder cannot be written to.
    """
    return save(folder, make(folder))
