"""renkhoff2022 over real images: from one process, from two, from two with three killed, and from two Ray actors.

Every run is the command in a process of its own, on GAZESHIFT_DATA/imagenet700, one torch thread each. The tables of
all must be the same bytes. What dividing costs is the time of the whole command beyond the time of its cells over the
number of workers, both measured in the same run, so that a busy machine slows both; CPU seconds tell what was computed
twice. Growth is from the serial runs of a seventh of the images and of all, in CPU seconds of the cells.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench._table import show, verdict

WORKERS, KILLS, PART, BATCH = 2, 3, 7, 8
MOST_GROWTH = 1.10  # what counts as linear
TABLES = ("rows", "images", "gallery", "seeds", "coverage", "curves")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one command took.

    Args:
        folder: of its tables.
        wall: seconds of the whole command.
        cpu: seconds of all its processes that have ended, Ray's own servers left out.
        cells: seconds of its cells, on the wall, added up.
        killed: workers that were killed.
    """

    folder: Path
    wall: float
    cpu: float
    cells: float
    killed: int = 0


def main(count: int) -> None:
    """Print the tables, or a sentence if there are no images."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    images = Path(os.environ.get("GAZESHIFT_DATA", default)) / "imagenet700"
    if not images.is_dir():
        print(f"scale is left out: {images} is absent. Set GAZESHIFT_DATA to the folder that holds imagenet700.")
        return
    with tempfile.TemporaryDirectory() as place:
        ways: dict[str, Callable[[], Run]] = {
            "one process": lambda: _run(images, count, Path(place) / "one"),
            f"--workers {WORKERS}": lambda: _run(images, count, Path(place) / "two", *_flags()),
            f"--workers {WORKERS}, {KILLS} times kill -9": lambda: _run(
                images, count, Path(place) / "killed", *_flags(), kill=True
            ),
            f"--ray --workers {WORKERS}": lambda: _run(images, count, Path(place) / "ray", *_flags(), "--ray"),
        }
        found = {}
        for name, way in ways.items():
            try:
                found[name] = way()
                print(f"{name}: {found[name].wall:.0f} s", file=sys.stderr, flush=True)
            except RuntimeError as cause:  # a busy machine may fail to start Ray; the others still count
                print(f"{name} FAILED: {cause}", file=sys.stderr, flush=True)
        _show(count, found)
        _grow(images, count, found["one process"], Path(place))


def _flags() -> tuple[str, str]:
    return "--workers", str(WORKERS)


def _show(count: int, found: dict[str, Run]) -> None:
    first = next(iter(found.values()))
    rows, same = [], True
    for name, run in found.items():
        count_here = 1 if run is first else WORKERS
        ideal, differing = run.cells / count_here, _differing(first.folder, run.folder)
        same = same and not differing
        rows.append(
            [
                name,
                f"{run.wall:.1f}",
                f"{ideal:.1f}",
                f"{run.wall - ideal:.1f} ({run.wall / ideal - 1:.1%})",
                f"{run.cpu:.1f}",
                ", ".join(differing) or "the same",
            ]
        )
    columns = ["", "seconds", "cells / workers", "beyond that", "CPU seconds", "tables"]
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3  # kB on Linux
    notes = (
        f"{sum(run.killed for run in found.values())} workers were killed with kill -9. The largest process, of those "
        f"that are no Ray actors, had {largest:.0f} MB.",
        f"Tables from every run are the same bytes: {'met' if same else 'NOT MET'}",
    )
    show(f"renkhoff2022, EfficientNet-Lite0, {count} images, one thread a process", columns, rows, *notes)


def _grow(images: Path, count: int, many: Run, place: Path) -> None:
    few = max(8, count // PART)
    took = {few: _cost(_run(images, few, place / "few").folder), count: _cost(many.folder)}
    rows = [
        [str(number), f"{cost['seconds'] / number:.3f}", f"{cost['passes'] / number:.1f}", f"{cost['ratio']:.4f}"]
        for number, cost in took.items()
    ]
    show(
        "How cost grows with the number of images (one process)",
        ["images", "CPU seconds an image", "passes an image", "CPU seconds / those of its bare passes"],
        rows,
        "DLFuzz needs more passes for some images than for others; the last column compares like with like.",
        f"Growth of the last column, {verdict(took[count]['ratio'] / took[few]['ratio'], MOST_GROWTH)}",
    )


def _cost(folder: Path) -> dict[str, float]:
    said = json.loads((folder / "manifest.json").read_text())
    return {
        "seconds": said["cost"]["seconds"],
        "passes": sum(said["passes"].values()),
        "ratio": said["cost"]["ratio"],
    }


def _run(images: Path, count: int, out: Path, *more: str, kill: bool = False) -> Run:
    command = [sys.executable, "-m", "gazeshift", "study", "renkhoff2022", "--device", "cpu", *more, "--out", str(out)]
    command += ["--images", str(images / "images"), "--labels", str(images / "labels.csv"), "--limit", str(count)]
    command += ["--batch-size", str(BATCH)]
    started, before = time.monotonic(), _cpu()
    running = subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    killed = sum(1 for _ in _kill(running, out, count)) if kill else 0
    said = running.communicate()[1]
    if running.returncode:
        raise RuntimeError(said.strip().splitlines()[-1] if said.strip() else f"code {running.returncode}")
    cells = json.loads((out / "manifest.json").read_text())["seconds"]
    return Run(folder=out, wall=time.monotonic() - started, cpu=_cpu() - before, cells=cells, killed=killed)


def _kill(running: "subprocess.Popen[str]", out: Path, count: int) -> Iterator[int]:
    """Kill a worker whenever another quarter of the seeds' cells is there."""
    cells = -(-count // BATCH)
    for part in range(1, KILLS + 1):
        enough = cells * part // (KILLS + 1)
        while running.poll() is None and len(list((out / "parts").glob("[!.]*.rows.parquet"))) < enough:
            time.sleep(0.05)
        workers = _workers(running.pid)
        if workers:
            os.kill(workers[part % len(workers)], signal.SIGKILL)
            yield part


def _workers(pid: int) -> list[int]:
    try:
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(own) for own in below if b"spawn_main" in Path(f"/proc/{own}/cmdline").read_bytes()]


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _differing(first: Path, second: Path) -> list[str]:
    """Names of the tables that are not the same bytes."""
    return [name for name in TABLES if _bytes(first, name) != _bytes(second, name)]


def _bytes(folder: Path, name: str) -> bytes:
    file = folder / f"{name}.parquet"
    return file.read_bytes() if file.is_file() else b""
