"""What the gateway's answers are made with: the model and its detector, the thread they run on, and the limits."""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import Receive

from gazeshift.calibrated import CalibratedDetector
from gazeshift.data import FIT, Handling
from gazeshift.models import Classifier
from gazeshift.serve.gateway._batch_queue import BatchQueue
from gazeshift.serve.gateway._journal import Journal
from gazeshift.serve.gateway._metrics import Metrics
from gazeshift.serve.gateway.errors import busy
from gazeshift.serve.gateway.intake import Intake, Upload
from gazeshift.serve.gateway.settings import ServeSettings

Result = TypeVar("Result")
STUCK = 4  # times a request's time: longer than any image takes to decode
GONE, UPLOADING = "gazeshift.gone", "gazeshift.uploading"  # keys of a request's scope


@dataclass(frozen=True, kw_only=True, eq=False)
class GatewayState:
    """One process of the gateway.

    Args:
        settings: limits and policy.
        classifier: the model.
        deployed: its detector, calibrated.
        batch_queue: the model's thread.
        intake: reads and decodes requests.
        metrics: what is counted.
        journal: where verdicts are written.
        pool: threads that decode and encode pictures.
        token: that requests must bring; empty: none.
    """

    settings: ServeSettings
    classifier: Classifier
    deployed: CalibratedDetector
    batch_queue: BatchQueue
    intake: Intake
    metrics: Metrics
    journal: Journal
    token: str = field(default="", repr=False)
    pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="pictures")
    )
    _inside: list[None] = field(default_factory=list, repr=False)
    _begun: dict[int, float] = field(default_factory=dict, repr=False)

    @property
    def waiting(self) -> int:
        """Requests that hold a slot now."""
        return len(self._inside)

    def check_room(self) -> None:
        """Refuse while as many requests wait, or are being answered, as may, or as can be in time.

        Raises:
            GatewayError: 503, with the seconds after which it is worth asking again.
        """
        seconds = self.waiting * self.batch_queue.seconds_per_job
        if self.waiting >= self.settings.queue + self.settings.batch or seconds > self.settings.timeout:
            raise busy(seconds / 2)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """One of the slots for requests that wait for the model; hold it while decoding and running.

        Raises:
            GatewayError: 503 if all are taken.
        """
        self.check_room()
        self._inside.append(None)
        self.metrics.queue.set(self.waiting)
        try:
            yield
        finally:
            self._inside.pop()
            self.metrics.queue.set(self.waiting)

    @asynccontextmanager
    async def picture(self, request: Request, pixels: Handling = FIT) -> AsyncIterator[Upload]:
        """The image of a request, decoded, with a slot held. What is inside is cancelled if the client goes away.

        Args:
            request: of the client.
            pixels: whether the image is resized and cropped for the model, or must have its size.

        Raises:
            GatewayError: the request cannot be served; says why.
            ImageError: the image cannot be decoded.
        """
        self.check_room()
        request.scope[UPLOADING] = True
        body = await self.intake.body(request)
        request.scope[UPLOADING] = False
        async with self.slot(), _cancelled_when_gone(request):
            yield await self.in_thread(self.intake.picture, body, pixels)

    @property
    def is_stuck(self) -> bool:
        """Whether a thread for pictures is busy with a job that outlasts every request."""
        begun = min(list(self._begun.values()), default=time.monotonic())
        return time.monotonic() - begun > STUCK * self.settings.timeout

    async def in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function on a thread for pictures."""

        def timed() -> Result:
            self._begun[threading.get_ident()] = time.monotonic()  # since when this thread is busy
            try:
                return function(*arguments)
            finally:
                del self._begun[threading.get_ident()]

        return await asyncio.get_running_loop().run_in_executor(self.pool, timed)

    async def on_model_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function on the model's thread, alone. Hold a `slot` meanwhile."""
        return await asyncio.wrap_future(self.batch_queue.run(function, *arguments))

    async def batched(self, work: Callable[[Sequence[Any]], Sequence[Any]], item: Any, *, key: Hashable) -> Any:
        """Process an item on the model's thread, in one call with others of the same key."""
        return await asyncio.wrap_future(self.batch_queue.submit(work, item, key=key))

    def close(self, seconds: float = 0.0) -> bool:
        """Stop the threads; whether the model's ended within so many seconds."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        return self.batch_queue.close(seconds)


@asynccontextmanager
async def _cancelled_when_gone(request: Request) -> AsyncIterator[None]:
    """Cancel the request's task as soon as its client has hung up."""
    task = asyncio.current_task()
    watch = asyncio.create_task(_until_gone(request.receive))

    def gone(watched: asyncio.Task[None]) -> None:
        if not watched.cancelled() and task is not None:
            request.scope[GONE] = True
            task.cancel()

    watch.add_done_callback(gone)
    try:
        yield
    finally:
        watch.remove_done_callback(gone)
        watch.cancel()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
