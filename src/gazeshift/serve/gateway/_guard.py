"""Checks every request: who may send it and how long it may take; whatever goes wrong has one JSON shape."""

import asyncio
import hmac
import logging
import secrets
import time

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gazeshift.errors import GazeshiftError
from gazeshift.serve.gateway.errors import GatewayError, refusal
from gazeshift.serve.gateway.origin import check_host, check_origin, hosts_of
from gazeshift.serve.gateway.state import GONE, UPLOADING, GatewayState

OPEN = ("/", "/docs", "/openapi.json", "/healthz", "/readyz")  # without a token, as /page/ is
HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"cache-control": b"no-store",
    b"referrer-policy": b"no-referrer",
    b"x-frame-options": b"DENY",
}
HEAD_BYTES = 32 * 1024
HUNG_UP = 499  # never sent, only counted
logger = logging.getLogger("gazeshift.serve")


class Guard:
    """ASGI middleware. Checks the token and where a page comes from, bounds the time, answers errors, counts.

    Args:
        app: what it stands before.
        state: of the gateway.
    """

    def __init__(self, app: ASGIApp, state: GatewayState) -> None:
        self.app, self.state = app, state
        self.hosts = () if state.token else hosts_of(state.settings)  # the token keeps other sites' pages out as well

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, reply = time.perf_counter(), _Reply(send, secrets.token_hex(8))
        scope["gazeshift.id"] = reply.name
        error = await self._answered(scope, receive, reply)
        if error is not None and not reply.has_started:
            await JSONResponse(error.body, error.status, error.headers)(scope, receive, reply)
        self._count(scope, HUNG_UP if scope.get(GONE) else reply.status, time.perf_counter() - start)

    async def _answered(self, scope: Scope, receive: Receive, reply: "_Reply") -> GatewayError | None:
        """What went wrong, if anything did."""
        try:
            _check_head(scope)
            headers = Headers(scope=scope)
            check_host(headers.get("host", ""), self.hosts)
            check_origin(scope["method"], headers)
            self._check_token(scope)
            async with asyncio.timeout(self.state.settings.timeout):
                await self.app(scope, receive, reply)
        except TimeoutError:
            return self._late(scope)
        except asyncio.CancelledError:  # the client is gone, or the server is about to end
            return None if scope.get(GONE) else _shutting_down()
        except Exception as error:
            known = refusal(error) if isinstance(error, GazeshiftError) else None
            return known or _internal_error(error, reply.name)
        return None

    def _check_token(self, scope: Scope) -> None:
        path = scope["path"]
        if not self.state.token or path in OPEN or path.startswith("/page/"):
            return
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        kind, _, token = given.partition(b" ")
        if kind.lower() != b"bearer" or not hmac.compare_digest(token.strip(), self.state.token.encode()):
            raise GatewayError(
                401,
                "unauthorized",
                "this gateway requires a token: Authorization: Bearer TOKEN.",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _late(self, scope: Scope) -> GatewayError:
        seconds = f"{self.state.settings.timeout:g}"
        if scope.get(UPLOADING):
            return GatewayError(
                408,
                "timed_out",
                f"the body did not arrive within {seconds} s. Send it faster, or a smaller image.",
                headers={"Connection": "close"},
            )
        return GatewayError(
            504,
            "timed_out",
            f"no answer within {seconds} s: too many requests are waiting. Try again later.",
            headers={"Retry-After": "1"},
        )

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        path = getattr(scope.get("route"), "path", "other")
        self.state.metrics.requests.labels(path, status).inc()
        self.state.metrics.latency.labels(path).observe(seconds)


class _Reply:
    """Sends an answer on, with headers that every answer has, and remembers its status."""

    def __init__(self, send: Send, name: str) -> None:
        self.send, self.name, self.status, self.has_started = send, name, 0, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_started, self.status = True, message["status"]
            headers = list(message.get("headers", []))
            given = {name.lower() for name, _ in headers}
            headers += [(name, value) for name, value in HEADERS.items() if name not in given]
            message = {**message, "headers": [*headers, (b"x-request-id", self.name.encode())]}
        await self.send(message)


def _check_head(scope: Scope) -> None:
    """The server below bounds what it waits for, and not what comes at once."""
    size = len(scope.get("raw_path", b"")) + len(scope["query_string"])
    if size + sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > HEAD_BYTES:
        raise GatewayError(431, "head_too_long", f"the request's head is longer than {HEAD_BYTES >> 10} KiB.")


def _shutting_down() -> GatewayError:
    return GatewayError(
        503,
        "shutting_down",
        "the gateway is shutting down. Try again in a moment.",
        headers={"Retry-After": "2", "Connection": "close"},
    )


def _internal_error(error: BaseException, name: str) -> GatewayError:
    """An internal error: its traceback is logged and not sent."""
    logger.error("request %s failed", name, exc_info=error)
    return GatewayError(500, "internal", f"internal error, logged as {name}.", details={"id": name})
