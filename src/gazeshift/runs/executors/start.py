"""Begins the workers that were asked for, and ends them."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from gazeshift.runs.executors.settings import Scale

if TYPE_CHECKING:
    from gazeshift.runs.executors.serial import Executor  # loads torch, which --help need not wait for


@contextmanager
def executor(scale: Scale | None = None, *, device: str = "auto") -> "Iterator[Executor]":
    """Who computes the cells of a run; the tables are the same whoever it is.

    Args:
        scale: how many workers, and where; none: this process alone.
        device: that the run's settings name: ``auto`` and ``cuda`` leave each worker a GPU of its own.

    Raises:
        MissingPackageError: no Ray.
        SettingsError: no Ray cluster answers at the address.
    """
    if scale is None or scale.is_alone:
        from gazeshift.runs.executors.serial import Serial

        yield Serial()
        return
    from gazeshift.runs.executors.pool import Pool, Team

    team: Team
    wants_gpu = device in ("auto", "cuda")
    if scale.ray is None:
        from gazeshift.runs.executors.processes import Processes

        team = Processes(scale.workers or 1, wants_gpu=wants_gpu)
    else:
        from gazeshift.runs.executors.ray import Actors

        team = Actors(scale.workers, scale.ray, wants_gpu=wants_gpu)
    with _one_thread(), closing(Pool(team)) as pool:
        yield pool


@contextmanager
def _one_thread() -> Iterator[None]:
    """As in every worker, so that what this process computes itself has the same last bits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
