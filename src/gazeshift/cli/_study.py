"""Runs a study from the command line: progress, report, and what was found."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from gazeshift.cli._progress import progress_shown


def run_study(settings: Any, out: Path) -> None:
    """Do the study, write its report, print where it is and the findings that matter."""
    command = "gazeshift " + shlex.join(argument for argument in sys.argv[1:] if argument != "--debug")
    with progress_shown() as progress:
        settings.run(out, command=command, progress=progress)
    show_report(out)


def _skipped(folder: Path) -> list[str]:
    """A line on the images that a study could not use; its report names them all."""
    images = json.loads((folder / "manifest.json").read_text()).get("images") or {}
    skipped = images.get("skipped") if isinstance(images, dict) else None
    if not skipped:
        return []
    first = f"{skipped[0]['id']}: {skipped[0]['reason']}"
    return [f"skipped {first}" if len(skipped) == 1 else f"skipped {len(skipped)} images, all in the report; {first}"]


def show_report(folder: Path) -> None:
    """Write the report of a finished study and print what it found."""
    from gazeshift import report

    made = report.make(folder)
    page = report.save(folder, made)
    for finding in made.findings:
        print(f"* {finding}")  # noqa: T201
    for line in _skipped(folder):
        print(line)  # noqa: T201
    tables = sorted(path.name for path in folder.glob("[!.]*.parquet"))
    for name in (page.name, *tables, "manifest.json"):
        print(folder / name)  # noqa: T201
