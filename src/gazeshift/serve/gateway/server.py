"""Runs the gateway: uvicorn with answers in our shape, time limits on heads, and an end within five seconds."""

import asyncio
import json
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import h11
import torch
import uvicorn
from fastapi import FastAPI
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.supervisors import Multiprocess

from gazeshift.errors import GazeshiftError, SettingsError
from gazeshift.serve.gateway._guard import HEAD_BYTES
from gazeshift.serve.gateway._metrics import SHARED
from gazeshift.serve.gateway.app import create_app
from gazeshift.serve.gateway.errors import GatewayError, busy
from gazeshift.serve.gateway.open import TOKEN, open_state, read_token
from gazeshift.serve.gateway.settings import ServeSettings
from gazeshift.serve.gateway.state import GatewayState

HEAD_SECONDS = 10  # for a request's head, and between requests
STALLED = 20  # for a client to take anything of what waits for it
GRACE = 4  # seconds for what is in flight when the end is asked for
CONNECTIONS = 1000
_BUSY = json.dumps(busy(1).body).encode()
FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n"
FULL += b"Content-Length: %d\r\n\r\n%b" % (len(_BUSY), _BUSY)


class Protocol(H11Protocol):
    """HTTP/1.1 whose complaints are JSON, and which ends connections that say or read too little for too long."""

    _watch: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a request's head soon; one connection too many is refused with 503."""
        # asyncio only does this for sockets that name their protocol. Without it the body of an answer waits 40 ms for
        # the client to acknowledge the head.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.write(FULL)
            transport.close()
        self._expect()

    def on_response_complete(self) -> None:
        """Expect the next one."""
        super().on_response_complete()
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect no more."""
        super().connection_lost(exc)
        for timer in (self._watch, self._stall):
            if timer is not None:
                timer.cancel()

    def pause_writing(self) -> None:
        """Expect the client to read: whatever sends to it waits, and would wait for ever."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """Expect no more, unless the connection closes as soon as all is read."""
        super().resume_writing()
        if self._stall is not None and not self.transport.is_closing():
            self._stall.cancel()

    def _expect_reading(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
        unsent = self.transport.get_write_buffer_size()
        self._stall = self.loop.call_later(STALLED, self._abort_if_stalled, unsent)

    def _abort_if_stalled(self, unsent: int) -> None:
        """A slow client may take its time; one that reads nothing is let go with what waits for it."""
        if self.transport.get_write_buffer_size() < unsent:
            self._expect_reading()
        else:
            self.transport.abort()

    def _expect(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch = self.loop.call_later(HEAD_SECONDS, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self.cycle is None or self.cycle.response_complete or self.transport.is_closing():
            self.transport.close()
            self._expect_reading()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, or has too long a head."""
        error = GatewayError(400, "bad_request", f"{msg} Or its head is longer than {HEAD_BYTES >> 10} KiB.")
        body = json.dumps(error.body).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        try:
            sent = [h11.Response(status_code=400, headers=headers, reason=b"Bad Request"), h11.Data(data=body)]
            for event in (*sent, h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:
            pass  # an answer is on its way already
        if self.cycle is not None:  # what still reads this request's body is told that it ends
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()


class Server(uvicorn.Server):
    """Uvicorn's, but the signal that stops it does not set the process's exit code, which stays 0."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Finish what is in flight on SIGTERM and SIGINT."""
        for kind in (signal.SIGTERM, signal.SIGINT):
            signal.signal(kind, self.handle_exit)
        yield


def config_of(settings: ServeSettings, app: Any, *, factory: bool = False) -> uvicorn.Config:
    """Uvicorn's settings for ours."""
    return uvicorn.Config(
        app,
        factory=factory,
        workers=settings.workers,
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_graceful_shutdown=GRACE,
        timeout_worker_healthcheck=30,
    )


def serve(settings: ServeSettings, begin: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGTERM or SIGINT, finish what is in flight within five seconds, and end the process.

    Args:
        settings: what to serve, and how.
        begin: called first in every further process; it can be pickled.

    Raises:
        GazeshiftError: settings, model or detector cannot be used.
    """
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of every malformed form
    if not settings.is_local and not read_token(settings):
        warnings.warn(
            f"{settings.host} is open to other machines and no token is asked for: anyone may send images. Set "
            f"{TOKEN}, or name a --token-file.",
            stacklevel=2,
        )
    if settings.workers > 1:
        _serve_many(settings, begin)
    else:
        _serve_one(settings)


def _serve_one(settings: ServeSettings) -> None:
    state, sock = open_state(settings), bound(settings)
    _greet(state, sock)
    Server(config_of(settings, create_app(state))).run(sockets=[sock])
    state.close()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a long pass on the model's thread answers no request any more, and cannot be stopped otherwise


def _serve_many(settings: ServeSettings, begin: Callable[[], None]) -> None:
    """Processes that share the port. The settings are tried here first, so that an error is reported once."""
    state, sock = open_state(settings), bound(settings)
    state.close()
    with tempfile.TemporaryDirectory(prefix="gazeshift-metrics-") as folder:
        os.environ[SHARED] = folder
        _greet(state, sock)
        Multiprocess(config_of(settings, partial(worker_app, settings, begin), factory=True), sockets=[sock]).run()


def worker_app(settings: ServeSettings, begin: Callable[[], None]) -> FastAPI:
    """The app of one of several processes, each with its part of the cores."""
    begin()
    _end_in_time()
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // settings.workers))
    try:
        return create_app(open_state(settings))
    except GazeshiftError as error:
        logging.getLogger("gazeshift.serve").error("%s", error)  # noqa: TRY400
        sys.exit(STARTUP_FAILURE)  # which ends the others too


def _end_with_parent() -> None:
    """Finish what is in flight as soon as the process that began this one is gone, however it ended."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _end_in_time() -> None:
    """See to it that a signal ends this process: Python would wait for a thread that is stuck."""
    for kind in (signal.SIGTERM, signal.SIGINT):
        signal.signal(kind, partial(_handle, signal.getsignal(kind)))


def _handle(handler: Any, kind: int, frame: Any) -> None:
    threading.Thread(target=_leave, name="end", daemon=True).start()
    if callable(handler):
        handler(kind, frame)


def _leave() -> None:
    time.sleep(GRACE + 0.5)
    os._exit(0)  # no request waits any more


def bound(settings: ServeSettings) -> socket.socket:
    """A socket that listens.

    Raises:
        SettingsError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        sock = socket.create_server((settings.host, settings.port), family=family, backlog=CONNECTIONS)
    except OSError as cause:
        reason = cause.strerror or cause
        raise SettingsError(
            f"{settings.host} port {settings.port} cannot be listened on ({reason}). Choose another --port or --host."
        ) from cause
    sock.set_inheritable(True)
    return sock


def _greet(state: GatewayState, sock: socket.socket) -> None:
    host, port = sock.getsockname()[:2]
    where = f"[{host}]" if ":" in host else host
    token = "token required" if state.token else "no token"
    print(  # noqa: T201
        f"gazeshift serves {state.classifier.name}, guarded by {state.deployed.name} with at most "
        f"{state.deployed.false_alarms:.1%} false alarms, at http://{where}:{port} "
        f"(policy {state.settings.policy}, {token})",
        flush=True,
    )
