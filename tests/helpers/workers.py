"""What the tests of runs on several workers share: comparing folders, and killing workers."""

import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gazeshift.runs.executors import Scale, executor
from gazeshift.runs.settings import StudySettings
from helpers.small_study import NETWORK


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


DEADLY = '''
import multiprocessing, os, signal, sys, time


def harmed(act, where=lambda: os.getpid() != LEADER):
    """A network that does something bad when it sees a white image, in the processes that are meant."""

    class Harmed(Tiny):
        def forward(self, images):
            if where() and bool((images.mean((1, 2, 3)) > 0.99).any()):
                act()
            return super().forward(images)

    torch.manual_seed(0)
    return Harmed()


def fall_asleep():
    open(__file__ + ".asleep", "w").close()
    time.sleep(300)


def object_to_it():
    raise ValueError("white is too much")


def deadly():
    return harmed(lambda: os.kill(os.getpid(), signal.SIGKILL))


def leaving():
    return harmed(lambda: sys.exit(3))


def picky():
    return harmed(object_to_it, where=lambda: True)


def sleepy():
    return harmed(fall_asleep, where=lambda: multiprocessing.parent_process() is not None)  # the leader is a child too


def stillborn():
    if os.getpid() != LEADER:
        os._exit(7)
    return tiny()


def broken():
    if os.getpid() != LEADER:
        raise RuntimeError("no such luck")
    return tiny()
'''


def deadly_network(folder: Path, name: str) -> str:
    """A network that is harmless in this process alone."""
    file = folder / "deadly_network.py"
    file.write_text(f"{NETWORK}\nLEADER = {os.getpid()}\n{DEADLY}")
    return f"module:{file}:{name}"


def make_white(file: Path) -> None:
    Image.fromarray(np.full((32, 40, 3), 255, np.uint8)).save(file)
