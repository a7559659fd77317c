"""Runs with workers as version 0.1 began them; until 0.3. Today: `gazeshift.runs.executors.executor`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from warnings import warn

from gazeshift.runs.executors import Scale, executor
from gazeshift.runs.settings import StudySettings

__all__ = ["Job", "Scale", "run"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A long run.

    Args:
        start: called as ``start(settings, out, command=..., progress=..., executor=...)``, such as ``Deviation.run``.
        settings: of the run.
        out: its folder.
    """

    start: Callable[..., Path]
    settings: StudySettings
    out: Path


def run(job: Job, scale: Scale | None = None, **how: Any) -> Path:
    """Do a run with the workers asked for; `how` is its ``command`` and ``progress``. Gives its folder."""
    warn("gazeshift.scale is gazeshift.runs.executors now: see `executor`.", DeprecationWarning, stacklevel=2)
    with executor(scale, device=job.settings.device) as workers:
        return job.start(job.settings, job.out, executor=workers, **how)
