"""Errors of requests, in one JSON shape."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict  # typing.TypedDict is not read by pydantic before Python 3.12

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


class Problem(TypedDict):
    """What went wrong."""

    code: Annotated[str, Field(description="A word to test for.")]
    message: Annotated[str, Field(description="A sentence to read.")]
    details: Annotated[dict[str, object], Field(description="More, by code.")]


class Refusal(TypedDict):
    """Every error."""

    error: Problem


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
        details: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.details, self.headers = status, code, dict(details or {}), dict(headers or {})

    @property
    def body(self) -> Refusal:
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
