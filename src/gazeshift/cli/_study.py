"""Runs a study from the command line: progress, report, and what was found."""

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from gazeshift.cli._progress import progress_shown
from gazeshift.errors import DataError
from gazeshift.runs.executors import Scale, executor
from gazeshift.runs.settings import Progress
from gazeshift.summaries import printable

if TYPE_CHECKING:  # these load torch, which --help need not wait for
    from gazeshift.records import Skipped
    from gazeshift.runs.executors.serial import Executor


class RunArguments(TypedDict):
    """What every long run takes beside its settings and its folder."""

    command: str
    progress: Progress
    executor: "Executor"


@contextmanager
def long_run(scale: Scale | None, device: str) -> Iterator[RunArguments]:
    """The workers asked for, and a progress that is shown, while a long run goes on inside."""
    command = "gazeshift " + shlex.join(argument for argument in sys.argv[1:] if argument != "--debug")
    with progress_shown() as progress, executor(scale, device=device) as workers:
        try:
            yield {"command": command, "progress": progress, "executor": workers}
        except KeyboardInterrupt as stopped:
            stopped.add_note("What is finished is kept; the same command goes on from there.")
            raise


def left_out(folder: Path, told: str = "report") -> list[str]:
    """Lines on the images that a run could not use, and on what else lay beside them.

    Args:
        folder: of the finished run.
        told: what names all that was skipped.
    """
    images = json.loads((folder / "manifest.json").read_text()).get("images") or {}
    images = images if isinstance(images, dict) else {}
    lines, skipped = [f"note: {note}" for note in images.get("notes", ())], images.get("skipped")
    if not skipped:
        return lines
    first = f"{skipped[0]['id']}: {skipped[0]['reason']}"
    many = f"skipped {len(skipped)} images, all in the {told}; {first}"
    return [f"skipped {first}" if len(skipped) == 1 else many, *lines]


def none_usable(count: int, which: str, skipped: Sequence["Skipped"]) -> DataError:
    """The error for images of which none can be used, with the reason of the first."""
    first = f" The first: {printable(skipped[0].id)}: {skipped[0].reason}" if skipped else ""
    return DataError(f"none of the {count} images{which} can be used.{first}")


def write_report(folder: Path) -> list[str]:
    """Write the report of a finished study; lines on what it found, and where it is."""
    from gazeshift import report

    made = report.make(folder)
    page = report.save(folder, made)
    tables = sorted(path.name for path in folder.glob("[!.]*.parquet"))
    files = [str(folder / name) for name in (page.name, *tables, "manifest.json")]
    return [*(f"* {finding}" for finding in made.findings), *left_out(folder), *files]
