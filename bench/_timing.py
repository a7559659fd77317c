"""Fair timing on a machine that others use too.

Candidates take turns (A B C A B C ...), so that a slow minute is slow for all of them, and what counts is the median
over the rounds of the *ratio* of neighbours, with the lowest and the highest beside it. Each candidate runs once
before the clock starts, and the garbage of the last run is collected before each run, outside the measured time.

With one torch thread the clock is the CPU time of this process, which leaves out the time that other processes had
and includes the system's part, such as handing out memory. With more threads it is the clock on the wall, because
CPU time would add up threads that only wait.
"""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Median, lowest and highest of a ratio over the rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def clock() -> float:
    """Seconds, see above."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def seconds_of(run: Callable[[], object]) -> float:
    """How long one run takes, without the collection of earlier garbage."""
    gc.collect()
    start = clock()
    run()
    return clock() - start


def fair(candidates: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each candidate in each round, after one unmeasured run of each."""
    for run in candidates.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            seconds[name].append(seconds_of(run))
    return seconds


def ratio(these: list[float], those: list[float]) -> Ratio:
    """How many times as much these are as those, round by round."""
    rounds = [one / other for one, other in zip(these, those, strict=True)]
    return Ratio(median=statistics.median(rounds), low=min(rounds), high=max(rounds))
