"""Metrics for Prometheus: latency, batches, queue, verdicts, and whether the promised false-alarm rate still holds."""

import os
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from scipy.special import bdtrc

SHARED = "PROMETHEUS_MULTIPROC_DIR"  # set before this module is imported where several processes serve
RECENT = 1000
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The numbers of one process; with several, `page` adds them up.

    Args:
        false_alarms: the rate that the detector promises.
        recent: how many of the latest verdicts drift is computed from.
    """

    def __init__(self, false_alarms: float, recent: int = RECENT) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("gazeshift_requests", "Answers.", ["path", "status"], registry=registry)
        self.latency = Histogram(
            "gazeshift_request_seconds", "From head to answer.", ["path"], buckets=SECONDS, registry=registry
        )
        self.batches = Histogram("gazeshift_batch_size", "Images judged at once.", buckets=SIZES, registry=registry)
        self.work = Histogram("gazeshift_batch_seconds", "On the model's thread.", buckets=SECONDS, registry=registry)
        self.queue = _gauge("gazeshift_queue", "Requests that wait or are being answered.", "livesum", registry)
        self.verdicts = Counter("gazeshift_verdicts", "Verdicts.", ["verdict"], registry=registry)
        self.unlogged = Counter("gazeshift_log_failures", "Verdicts that could not be written.", registry=registry)
        self.judged = _gauge(
            "gazeshift_recent_judged", f"Of the last {recent} verdicts a process.", "livesum", registry
        )
        self.flagged = _gauge("gazeshift_recent_flagged", "Attacks among them.", "livesum", registry)
        self.promised = _gauge("gazeshift_promised_false_alarms", "The detector's rate.", "livemax", registry)
        self.drift = _gauge(
            "gazeshift_drift_p_value",
            "Chance of so many or more attacks among the recent verdicts, were all images clean and the promise true.",
            "livemin",
            registry,
        )
        self.promised.set(false_alarms)
        self.drift.set(1)
        self._rate, self._latest = false_alarms, deque[bool](maxlen=recent)

    def judgements(self, attacks: Iterable[bool]) -> None:
        """Count verdicts."""
        for is_attack in attacks:
            self.verdicts.labels("attack" if is_attack else "clean").inc()
            self._latest.append(is_attack)
        judged, flagged = len(self._latest), sum(self._latest)
        self.judged.set(judged)
        self.flagged.set(flagged)
        self.drift.set(chance_of(flagged, judged, self._rate))

    def page(self) -> bytes:
        """All numbers in Prometheus' text format."""
        shared = os.environ.get(SHARED)
        if not shared:
            return generate_latest(self.registry)
        _forget_dead(Path(shared))
        together = CollectorRegistry()
        MultiProcessCollector(together, path=shared)  # type: ignore[no-untyped-call]
        return generate_latest(together)


def chance_of(count: int, n: int, rate: float) -> float:
    """Probability of `count` or more alarms among n, each with probability `rate`.

    >>> round(chance_of(2, 2, 0.05), 6), chance_of(0, 10, 0.05)
    (0.0025, 1.0)
    """
    return float(bdtrc(count - 1, n, rate)) if count else 1.0


def _gauge(name: str, what: str, mode: Literal["livesum", "livemin", "livemax"], registry: CollectorRegistry) -> Gauge:
    return Gauge(name, what, registry=registry, multiprocess_mode=mode)


def _forget_dead(folder: Path) -> None:
    """Drop what processes that are no more last said of their queue and their recent verdicts."""
    for pid in {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_live*_*.db")}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            with suppress(OSError):
                mark_process_dead(pid, path=str(folder))  # type: ignore[no-untyped-call]
        except PermissionError:
            continue
