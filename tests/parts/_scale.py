"""What the tests of runs on several workers share: comparing folders, and killing workers."""

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from gazeshift.runs.executors import Scale, executor
from gazeshift.runs.settings import StudySettings


@dataclass(frozen=True, kw_only=True)
class Job:
    """A long run that a test begins, by itself or with workers."""

    start: Callable[..., Path]
    settings: StudySettings
    out: Path

    def __call__(self, **how: object) -> Path:
        return self.start(self.settings, self.out, **how)

    def into(self, out: Path) -> "Job":
        return replace(self, out=out)


def tables(folder: Path) -> dict[str, bytes]:
    """Every joined table, shard and learned weight of a finished run, byte by byte."""
    kinds = ("*.parquet", "shards/*.parquet", "sets/*/shards/*.parquet", "*.safetensors")
    return {str(file.relative_to(folder)): file.read_bytes() for kind in kinds for file in folder.glob(kind)}


def alone(job: Job) -> Path:
    """The run in this process, with the one thread that a worker has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return job()
    finally:
        torch.set_num_threads(threads)


def run(job: Job, scale: Scale | None = None, **how: object) -> Path:
    with executor(scale, device=job.settings.device) as workers:
        return job(executor=workers, **how)


def with_workers(job: Job, count: int = 2, **how: object) -> Path:
    return run(job, Scale(workers=count), **how)


def began(process: multiprocessing.Process) -> float:
    """When a process began, in ticks since the machine did."""
    return float(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19])


class Killer:
    """A progress that kills a worker of this process with kill -9 whenever so many images are done.

    It takes the oldest, so that as many kills as there are workers end all that began the run.
    """

    def __init__(self, *at: int) -> None:
        self.at, self.killed = list(at), []

    def __call__(self, done: int, *_: object) -> None:
        if self.at and done >= self.at[0]:
            self.at.pop(0)
            process = min(multiprocessing.active_children(), key=began)
            process.kill()
            process.join()  # or the next call would find it still there, and kill it again
            self.killed.append(process.pid)
