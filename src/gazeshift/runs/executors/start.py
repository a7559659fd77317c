"""Does a long run: here, on processes of this machine, or on Ray."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from gazeshift.runs.executors.job import Job
from gazeshift.runs.executors.settings import Scale
from gazeshift.runs.settings import Progress


def run(job: Job, scale: Scale | None = None, *, command: str = "", progress: Progress = lambda *_: None) -> Path:
    """Do a run with the workers asked for; its tables are the same whoever computes them. Gives its folder.

    Args:
        job: the run.
        scale: how many workers, and where; none: this process alone.
        command: for the manifest.
        progress: called with (done, total, what).

    Raises:
        GazeshiftError: what the run itself raises; a cell that kills its workers; no Ray.
    """
    if scale is None or scale.is_alone:
        return job(command=command, progress=progress)
    from gazeshift.runs.executors.crew import working
    from gazeshift.runs.executors.scheduler import Leader

    with _one_thread(), closing(_team(job, scale)) as team, working(Leader(team, team.most)):
        return job(command=command, progress=progress)


@contextmanager
def _one_thread() -> Iterator[None]:
    """As in every worker, so that what the leading process computes itself has the same last bits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _team(job: Job, scale: Scale) -> Any:
    if scale.ray is None:
        from gazeshift.runs.executors.processes import Processes

        return Processes(job, scale.workers or 1)
    from gazeshift.runs.executors.ray import Actors

    return Actors(job, scale.workers, scale.ray)
