"""Memory that look() needs beside a plain and a bare pass.

Each pass runs in a process of its own. *Tensors* is the highest sum of bytes that PyTorch's CPU allocator has handed
out and not got back, above what was there before the pass (weights, images): every allocation and release as the
profiler records it, so it is the same in every run. Work space that oneDNN takes from the system by itself is not
in it. *Process* is what the operating system sees: the highest resident memory during a first pass above what was
resident before; it includes that work space, and pages that the allocator keeps, and varies by some per cent.
"""

import ctypes
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench._subjects import SUBJECTS, bare, ours, plain, subject
from bench._table import show, verdict

PASSES = {"plain pass": plain, "bare pass": bare, "gazeshift look(), 4 CAMs": ours}
TARGET = 1.30  # tensors of look() to those of the bare pass
WITH_TARGET = ("resnet50", "vgg16")
QUIET = {"KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR"}  # the profiler's notes on itself


def main(models: list[str], batch: int, threads: int) -> None:
    """A table for each model."""
    for name in models or SUBJECTS:
        found = {what: _in_its_own_process(name, what, batch, threads) for what in PASSES}
        rows = [
            [what, *(text for unit in ("tensors", "process") for text in _cells(sizes, found["bare pass"], unit))]
            for what, sizes in found.items()
        ]
        reached = found["gazeshift look(), 4 CAMs"]["tensors"] / found["bare pass"]["tensors"]
        show(
            f"{name}, {SUBJECTS[name]}, batch of {batch}: highest memory above the weights and images",
            ["", "tensors, MB", "ratio to bare", "process, MB", "ratio to bare"],
            rows,
            *([f"tensors to bare pass {reached:.2f}, {verdict(reached, TARGET)}"] if name in WITH_TARGET else []),
        )


def _cells(sizes: dict[str, float], bare_sizes: dict[str, float], unit: str) -> list[str]:
    if not sizes[unit]:
        return ["unknown", ""]
    return [f"{sizes[unit]:.1f}", f"{sizes[unit] / bare_sizes[unit]:.2f}"]


def _in_its_own_process(*what: object) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.memory", *map(str, what)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | QUIET)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(name: str, what: str, batch: int, threads: int) -> dict[str, float]:
    """Megabytes of one pass, in this process."""
    import torch

    torch.set_num_threads(threads)
    model, small = subject(name, batch), subject(name, 1, size=64)
    PASSES[what](small)
    run: Callable[[], Any] = partial(PASSES[what], model)
    del small
    gc.collect()
    return {"process": _resident_growth(run) / 1e6, "tensors": _tensor_peak(run) / 1e6}


def _resident_growth(run: Callable[[], Any]) -> int:
    """Highest resident memory during the run above that before, in bytes; 0 where the system does not tell."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # give back what loading left, or the pass would fill it unseen
        Path("/proc/self/clear_refs").write_text("5", "ascii")  # forget the highest so far
        before = _status("VmRSS")
        run()
        return _status("VmHWM") - before
    except OSError:
        return 0


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def _tensor_peak(run: Callable[[], Any]) -> int:
    """Highest number of bytes handed out and not yet returned during the run."""
    from torch.profiler import ProfilerActivity, profile

    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    events = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = highest = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        highest = max(highest, now)
    return highest


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
