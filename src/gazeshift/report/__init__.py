"""One offline HTML file from a finished study's tables. Imports neither torch nor studies nor models."""

import os
from pathlib import Path

from gazeshift.errors import OutputError
from gazeshift.report._read import ReportData, read
from gazeshift.report._render import findings, render

__all__ = ["ReportData", "findings", "read", "render", "write"]


def write(folder: Path) -> Path:
    """Write ``report.html`` into a study's folder, whole or not at all, and give its path.

    Raises:
        DataError: not the folder of a finished deviation study, or a damaged one.
        OutputError: the folder cannot be written to.
    """
    page = render(read(Path(folder)))
    path, beside = Path(folder) / "report.html", Path(folder) / ".report.html.part"
    try:
        beside.write_bytes(page.encode("utf-8", "replace"))
        os.replace(beside, path)  # noqa: PTH105
    except OSError as cause:
        raise OutputError(f"the report cannot be written to {path} ({cause}). Check rights and free space.") from cause
    return path
