"""Workers as Ray actors, on this machine or on a cluster. Nothing of the images or rows goes through Ray."""

import os
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from gazeshift.errors import MissingPackageError, SettingsError, WorkerError
from gazeshift.runs.executors.job import Job
from gazeshift.runs.executors.messages import Died, Word
from gazeshift.runs.executors.settings import LOCAL
from gazeshift.runs.executors.worker import Line, follow

__all__ = ["Actors"]

STARTS = 3  # of Ray on this machine: its servers have half a minute, too little where much else goes on
KNOCK_SECONDS = 10.0
STORE_BYTES = 80 * 2**20  # Ray's own memory for objects, nearly the least that it takes; orders are a few bytes


class Actors:
    """Actors of a cluster, each with a CPU, or a GPU where there are some and the settings leave it one.

    Args:
        job: what they work on.
        most: of them side by side; one for each GPU, or CPU, of the cluster if None.
        address: of a cluster; ``local`` starts one on this machine, for this run.

    Raises:
        MissingPackageError: Ray is not installed.
        SettingsError: no cluster answers there.
    """

    def __init__(self, job: Job, most: int | None, address: str) -> None:
        self.job, self.address, self.ray = job, address, _ray()
        self.is_guest = self.ray.is_initialized()
        if not self.is_guest:
            _join(self.ray, address, most)
        found = self.ray.cluster_resources()
        self.gpus = int(found.get("GPU", 0)) if job.wants_gpu else 0
        self.most = most or self.gpus or int(found.get("CPU", 1))
        self.members: dict[int, Any] = {}
        self.waiting: dict[Any, int] = {}
        self.hired = 0

    @property
    def card(self) -> Mapping[str, Any]:
        """What the manifest says of them."""
        return {"workers": {"kind": "ray", "count": self.most}, "threads": 1}

    def hire(self) -> int:
        """Begin one more actor. Ray finds it a place, sooner or later."""
        share = {"num_gpus": min(1.0, self.gpus / self.most)} if self.gpus else {}
        actor = self.ray.remote(num_cpus=0 if share else 1, max_restarts=0, **share)(Actor).remote(self.job)
        self.hired += 1
        self.members[self.hired] = actor
        self.waiting[actor.first.remote()] = self.hired
        return self.hired

    def ask(self, worker: int, order: str) -> None:
        """Send an order."""
        self.waiting[self.members[worker].ask.remote(order)] = worker

    def hear(self) -> tuple[int, Word]:
        """The next word of any actor; Ray says when one is dead."""
        (answer,), _ = self.ray.wait(list(self.waiting), num_returns=1)
        number = self.waiting.pop(answer)
        try:
            word: Word = self.ray.get(answer)
        except self.ray.exceptions.RayActorError as cause:
            del self.members[number]
            return number, Died(_first_line(cause))
        return number, word

    def close(self) -> None:
        """End the actors, and the cluster if it was started for this run."""
        for actor in self.members.values():
            with suppress(Exception):
                self.ray.kill(actor)
        self.members.clear()
        if not self.is_guest:
            self.ray.shutdown()


class Actor:
    """What runs in an actor's process: the run in a thread of its own, and methods that wait for its next word.

    Args:
        job: what it works on.
    """

    def __init__(self, job: Job) -> None:
        self.orders: SimpleQueue[str | None] = SimpleQueue()
        self.words: SimpleQueue[Word] = SimpleQueue()
        line = Line(hear=self.orders.get, say=self.words.put)
        threading.Thread(target=follow, args=(job, line), daemon=True).start()

    def first(self) -> Word:
        """The word that comes without an order."""
        return self.words.get()

    def ask(self, order: str) -> Word:
        """The answer to an order."""
        self.orders.put(order)
        return self.words.get()


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as cause:
        raise MissingPackageError("--ray needs the package ray: pip install 'gazeshift[ray]'") from cause
    return ray


def _join(ray: Any, address: str, most: int | None) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        _begin(ray, most or os.cpu_count() or 1, quiet)
        return
    try:
        _knock(address)
        ray.init(address, **quiet)
    except (OSError, RuntimeError, ValueError) as cause:
        raise SettingsError(
            f"no Ray cluster answers at {address} ({_first_line(cause)}). Start one with `ray start --head`, give its "
            "address, or write --ray alone to use this machine."
        ) from cause


def _begin(ray: Any, count: int, quiet: dict[str, Any]) -> None:
    """A cluster of this machine alone."""
    for left in reversed(range(STARTS)):
        try:
            ray.init("local", num_cpus=count, include_dashboard=False, object_store_memory=STORE_BYTES, **quiet)
        except Exception as cause:  # Ray raises whatever its servers failed with
            ray.shutdown()
            if not left:
                raise WorkerError(
                    f"Ray does not start on this machine, after {STARTS} tries ({_first_line(cause)}). It may be too "
                    "busy, or short of memory: take --workers without --ray."
                ) from cause
        else:
            return


def _knock(address: str) -> None:
    """Raise OSError at once where nobody listens; Ray itself would try for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()


def _first_line(cause: BaseException) -> str:
    return " ".join(str(cause).strip().splitlines()[0].split()) if str(cause).strip() else type(cause).__name__
