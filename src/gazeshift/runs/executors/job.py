"""A long run, told so that another process can begin it too."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from gazeshift.runs.settings import Progress, StudySettings

ANY_GPU = ("auto", "cuda")


def _silent(done: int, total: int, what: str, /) -> None:
    """Nobody is told: the process that leads counts."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A long run.

    Args:
        start: called as ``start(settings, out, command=..., progress=...)``; found by its name in other processes.
        settings: of the run.
        out: its folder, as every worker sees it.
        place: working directory that relative paths start from.
        paths: where Python looks for modules, such as a model of one's own.
    """

    start: Callable[..., Path]
    settings: StudySettings
    out: Path
    place: str = field(default_factory=os.getcwd)
    paths: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))

    def __call__(self, *, command: str = "", progress: Progress = _silent) -> Path:
        """Do the run; gives its folder."""
        return self.start(self.settings, self.out, command=command, progress=progress)

    def on(self, device: str) -> "Job":
        """The same job on another device, which is no part of what the settings ask for."""
        return replace(self, settings=self.settings.model_copy(update={"device": device}))

    @property
    def wants_gpu(self) -> bool:
        """Whether its settings leave it a GPU, without naming which."""
        return self.settings.device in ANY_GPU
