"""Workers as Ray actors, on this machine or on a cluster. Nothing of the images or rows goes through Ray."""

import os
import socket
import sys
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from gazeshift.errors import MissingPackageError, SettingsError, WorkerError
from gazeshift.runs.executors.settings import LOCAL
from gazeshift.runs.executors.worker import settle, work
from gazeshift.runs.store import Cell

__all__ = ["Actors"]

STARTS = 3  # of Ray on this machine: its servers have half a minute, too little where much else goes on
KNOCK_SECONDS = 10.0
STORE_BYTES = 80 * 2**20  # Ray's own memory for objects, nearly the least that it takes; orders are a few bytes


class Actors:
    """Actors of a cluster, each with a CPU, or a GPU where there are some and the run may use one.

    Args:
        size: how many, side by side; one for each GPU, or CPU, of the cluster if None.
        address: of a cluster; ``local`` starts one on this machine, for this run.
        wants_gpu: whether they may use one.

    Raises:
        MissingPackageError: Ray is not installed.
        SettingsError: no cluster answers there.
    """

    def __init__(self, size: int | None, address: str, *, wants_gpu: bool) -> None:
        self.ray = _ray()
        self.is_guest = self.ray.is_initialized()
        if not self.is_guest:
            _join(self.ray, address, size)
        resources = self.ray.cluster_resources()
        self.gpus = int(resources.get("GPU", 0)) if wants_gpu else 0
        self.size = size or self.gpus or int(resources.get("CPU", 1))
        self.workers: list[OneActor] = []

    @property
    def card(self) -> Mapping[str, object]:
        """What the manifest says of them."""
        return {"workers": {"kind": "ray", "count": self.size}, "threads": 1}

    def hire(self) -> "OneActor":
        """Begin one more actor. Ray finds it a place, sooner or later."""
        share = {"num_gpus": min(1.0, self.gpus / self.size)} if self.gpus else {}
        remote = self.ray.remote(num_cpus=0 if share else 1, max_restarts=0, **share)(Actor)
        self.workers.append(OneActor(self.ray, remote.remote(os.getcwd(), tuple(sys.path))))  # noqa: PTH109
        return self.workers[-1]

    def close(self) -> None:
        """End the actors, and the cluster if it was started for this run."""
        for worker in self.workers:
            with suppress(Exception):
                self.ray.kill(worker.actor)
        self.workers.clear()
        if not self.is_guest:
            self.ray.shutdown()


class OneActor:
    """One actor, as seen from here.

    Args:
        ray: the package.
        actor: its handle.
    """

    def __init__(self, ray: Any, actor: Any) -> None:
        self.actor, self.death = actor, ray.exceptions.RayActorError

    def submit(self, pickled: bytes, cell: Cell | None) -> "Future[float | Exception]":
        """Begin a call."""
        call: Future[float | Exception] = self.actor.work.remote(pickled, cell).future()
        return call

    def cause(self, error: Exception) -> str:
        """How it died, in Ray's words."""
        return _first_line(error)


class Actor:
    """What runs in an actor's process."""

    def __init__(self, folder: str, paths: tuple[str, ...]) -> None:
        settle(folder, paths)

    def work(self, pickled: bytes, cell: Cell | None) -> float | Exception:
        """As every worker does it."""
        return work(pickled, cell)


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as cause:
        raise MissingPackageError("--ray needs the package ray: pip install 'gazeshift[ray]'") from cause
    return ray


def _join(ray: Any, address: str, size: int | None) -> None:
    quiet: dict[str, object] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        _begin(ray, size or os.cpu_count() or 1, quiet)
        return
    try:
        _knock(address)
        ray.init(address, **quiet)
    except (OSError, RuntimeError, ValueError) as cause:
        raise SettingsError(
            f"no Ray cluster answers at {address} ({_first_line(cause)}). Start one with `ray start --head`, give its "
            "address, or write --ray alone to use this machine."
        ) from cause


def _begin(ray: Any, count: int, quiet: dict[str, object]) -> None:
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
