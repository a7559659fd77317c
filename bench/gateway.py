"""The gateway under load, against judge() in a loop: 1, 8 and 32 clients on loopback, then twice what it carries.

In each of three turns judge() with the best batch size goes first, then the gateway with each number of clients, so
that a slow minute is slow for all. The gateway is a process of its own, its clients are another; judge() is called with
images that are decoded already, the gateway decodes JPEG files of photographs. Both have the same torch threads.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from bench._gateways import Served, serving
from bench._table import show
from bench.hostile import megabytes
from gazeshift.calibrated import CalibratedDetector
from gazeshift.data import demo_images, read_image
from gazeshift.models import Classifier, load
from gazeshift.pipeline import judge
from gazeshift.runs.executors.memory import keep_freed_memory

CLIENTS, SIZES, TURNS = (1, 8, 32), (1, 2, 4, 8), 3
LEAST = 0.85
OVERLOAD = 2.0
Turn = tuple[tuple[float, float], dict[int, dict[str, Any]]]  # judge() and, by number of clients, the gateway
WAITS = ("--timeout", "300")  # of 32 clients on one core the last waits long; no limit shall hide that


def main(seconds: float, threads: int) -> None:
    """Print a table of the load, and one of the overload.

    Args:
        seconds: for each number of clients, over all turns.
        threads: of torch, in this process and in the gateway.
    """
    torch.set_num_threads(threads)
    loop = Loop()
    best = min(SIZES, key=lambda size: loop.rate(size, seconds / 6)[1])
    files = [str(file) for file in demo_images().places]
    with serving(None, *WAITS) as served:
        turns, memory = [], []
        for _ in range(TURNS):
            turns.append(_turn(loop, best, served, files, seconds / TURNS))
            memory.append(megabytes(served.process.pid))
    rows = [["judge() in a loop", f"{median(bare[0] for bare, _ in turns):.2f}", "1", "1", "", "", ""]]
    rows += [_row(clients, turns) for clients in CLIENTS]
    show(
        f"Gateway on {loop.classifier.name}, {seconds:g} s for each number of clients",
        ["", "images/s", "of judge()", "by CPU time", "p50, s", "p99, s", "errors"],
        rows,
        f"judge() at its best batch size, {best}. Memory of the gateway after each turn, MB: "
        f"{', '.join(f'{one:.0f}' for one in memory)}.",
        f"Asked: at least {LEAST} of judge(). By CPU time: CPU seconds an image of judge() to those of the whole "
        "gateway; other programs on the machine hardly change it.",
    )
    carried = median(found[CLIENTS[-1]]["rate"] for _, found in turns)
    _overload(carried, files, seconds / 2)


class Loop:
    """Calls judge() again and again."""

    def __init__(self) -> None:
        keep_freed_memory()  # as the gateway does
        self.deployed = CalibratedDetector.shipped()
        self.classifier: Classifier = load("efficientnet_lite0", device="cpu")
        images = [read_image(file, self.classifier.preprocessing) for file in demo_images().places]
        self.images = torch.stack(images)

    def rate(self, size: int, seconds: float) -> tuple[float, float]:
        """Images a second at a batch size, and CPU seconds an image."""
        done, start, work = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - start < seconds:
            at = done % (len(self.images) - size)
            judge(self.classifier, self.images[at : at + size], self.deployed)
            done += size
        return done / (time.perf_counter() - start), (time.process_time() - work) / done


def load_of(served: Served, files: Sequence[str], clients: int, seconds: float) -> dict[str, Any]:
    """What so many clients were answered."""
    work = cpu_seconds(served.process.pid)
    found = _clients(port=served.port, images=files, clients=clients, seconds=seconds)
    good = [took for status, took in found["answers"] if status == 200]
    return {
        "rate": len(good) / found["seconds"],
        "good": good,
        "work": (cpu_seconds(served.process.pid) - work) / max(1, len(good)),
        "errors": len(found["answers"]) - len(good),
    }


def cpu_seconds(pid: int) -> float:
    """CPU time of a process up to now, all its threads together, as Linux tells it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _turn(loop: Loop, best: int, served: Served, files: Sequence[str], seconds: float) -> Turn:
    return loop.rate(best, seconds), {clients: load_of(served, files, clients, seconds) for clients in CLIENTS}


def _row(clients: int, turns: Sequence[Turn]) -> list[str]:
    own = [(bare, found[clients]) for bare, found in turns]
    ratios = sorted(found["rate"] / rate for (rate, _), found in own)
    works = sorted(work / found["work"] for (_, work), found in own)
    took = sorted(one for _, found in own for one in found["good"])
    return [
        f"{clients} client{'s' * (clients > 1)}",
        f"{median(found['rate'] for _, found in own):.2f}",
        f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
        f"{median(works):.2f} ({works[0]:.2f} to {works[-1]:.2f})",
        f"{_point(took, 0.5):.2f}",
        f"{_point(took, 0.99):.2f}",
        str(sum(found["errors"] for _, found in own)),
    ]


def _overload(carried: float, files: Sequence[str], seconds: float) -> None:
    """SmoothSecondDerivative the load that it carries, with a queue as long as it works off in about two seconds."""
    queue = max(1, round(2 * carried))
    with serving(None, *WAITS, "--queue", str(queue), "--batch", str(max(1, round(carried / 2)))) as served:
        alone = median(load_of(served, files, 1, seconds / 6)["good"])
        found = _clients(port=served.port, images=files, rate=OVERLOAD * carried, seconds=seconds)
    rows = []
    for status in sorted({status for status, _ in found["answers"]}):
        took = sorted(one for own, one in found["answers"] if own == status)
        rows.append([str(status or "none"), str(len(took)), f"{_point(took, 0.5):.3f}", f"{_point(took, 0.99):.3f}"])
    show(
        f"At {OVERLOAD * carried:.1f} requests a second, {OVERLOAD:g} times what it carries, --queue {queue}",
        ["answer", "requests", "p50, s", "p99, s"],
        rows,
        f"When the load ends and its clients hang up, a fresh request is answered after {found['recovered']:.2f} s "
        f"(asked: 2 s); without any load it is after {alone:.2f} s.",
    )


def _clients(**asked: Any) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench._gateway_clients"]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the clients failed: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _point(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
