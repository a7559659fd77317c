"""Errors of requests, in one JSON shape."""

from collections.abc import Mapping
from typing import Any

from gazeshift.errors import (
    BoundsError,
    GazeshiftError,
    ImageError,
    LayerError,
    SettingsError,
    UnknownNameError,
)

CODES = {400: "bad_request", 401: "unauthorized", 404: "not_found", 405: "method_not_allowed", 422: "unprocessable"}
CLIENT_ERRORS = {  # what the client can fix; any other error is internal, and its message is not sent
    ImageError: "bad_image",
    UnknownNameError: "unknown_name",
    LayerError: "bad_layer",
    BoundsError: "out_of_bounds",
    SettingsError: "bad_settings",
}


class GatewayError(GazeshiftError, RuntimeError):
    """A request that is refused.

    Args:
        status: of HTTP.
        code: a word that programs can test for.
        message: for people: what is wrong, and what to do.
        details: more, as JSON.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.details, self.headers = status, code, dict(details or {}), dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """The answer's JSON."""
        return {"error": {"code": self.code, "message": str(self), "details": self.details}}


def refusal(error: GazeshiftError) -> GatewayError | None:
    """The answer to an error that the client can fix; None to any other."""
    if isinstance(error, GatewayError):
        return error
    code = next((code for kind, code in CLIENT_ERRORS.items() if isinstance(error, kind)), None)
    return None if code is None else GatewayError(422, code, str(error))


def busy(seconds: float) -> GatewayError:
    """Too many requests wait already."""
    wait = max(1, round(seconds))
    return GatewayError(
        503,
        "busy",
        f"more requests are waiting than the gateway holds. Try again in {wait} s.",
        details={"retry_after": wait},
        headers={"Retry-After": str(wait)},
    )
