"""What the interface says of itself: shapes of requests and answers, for OpenAPI."""

from typing import Any

from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from gazeshift.serve.gateway.intake import FIELD, RAW

Finite = float | None


class Problem(BaseModel):
    """What went wrong."""

    code: str = Field(description="A word to test for.")
    message: str = Field(description="A sentence to read.")
    details: dict[str, Any] = Field(description="More, by code.")


class Refusal(BaseModel):
    """Every error."""

    error: Problem


class ClassProbability(BaseModel):
    """A class and its probability."""

    model_config = ConfigDict(populate_by_name=True)

    number: int = Field(alias="class")
    name: str
    confidence: Finite


class DrawnMap(BaseModel):
    """One map of one layer."""

    height: int
    width: int
    values: list[list[Finite]] = Field(description="Raw and signed, at the layer's own resolution.")
    png: str | None = Field(description="Base64: the positive part, coloured, in the image's size; for viewing only.")


class NamedMap(DrawnMap):
    """A map that says which CAM drew it."""

    cam: str


class Reasons(BaseModel):
    """Each view's and each layer's part in the suspicion, ``answer`` being the output; empty if it does not say."""

    views: dict[str, Finite]
    layers: dict[str, Finite]


class JudgeAnswer(ClassProbability):
    """A verdict."""

    suspicion: Finite = Field(description="Larger is more suspicious; null if the image cannot be judged, an alarm.")
    threshold: Finite = Field(description="A suspicion above it is an attack.")
    p_value: Finite = Field(description="Share of clean images at least as suspicious.")
    is_attack: bool
    false_alarms: float = Field(description="Promised rate among clean images.")
    verdict: str = Field(description="clean or attack", pattern="^(clean|attack)$")
    warning: str | None
    reasons: Reasons
    resized_from: list[int] | None = Field(
        description="Width and height of the file, if it was resized or cropped for the model; see pixels=as-is."
    )
    sha256: str
    model: str
    detector: str
    maps: dict[str, NamedMap] = Field(default={}, description="Layer to map, if maps were asked for.")


class LookAnswer(ClassProbability):
    """What a classifier sees, and where."""

    top: list[ClassProbability]
    layers: list[str]
    cams: list[str]
    maps: dict[str, dict[str, DrawnMap]] = Field(description="Layer to CAM to map.")
    resized_from: list[int] | None
    sha256: str
    model: str


class ModelAnswer(BaseModel):
    """What stands behind the gateway."""

    model: dict[str, Any]
    layers: list[dict[str, Any]]
    cams: list[str]
    detector: dict[str, Any]
    policy: str
    limits: dict[str, Any]


class Status(BaseModel):
    """All is well."""

    status: str


_PICTURE = {"type": "string", "format": "binary"}
_FORM = {"type": "object", "required": [FIELD], "properties": {FIELD: _PICTURE}}
_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {"schema": _FORM},
        RAW: {"schema": _PICTURE},
        "image/jpeg": {"schema": _PICTURE},
        "image/png": {"schema": _PICTURE},
    },
}
_REASONS = {
    400: "the body is cut off or no form",
    401: "no or a wrong token",
    403: "a page of another site asks",
    408: "the body came too slowly",
    413: "the body is too large",
    415: "neither an image nor a form",
    422: "no image that can be used, or an unknown name",
    431: "the head is too long",
    503: "too many requests wait, or the gateway ends; see Retry-After",
    504: "no answer in time",
}


def _documented(model: type[BaseModel], *statuses: int, **more: str) -> dict[str, Any]:
    reasons = {**{status: _REASONS[status] for status in statuses}, **{int(k[1:]): v for k, v in more.items()}}
    refused = {status: {"model": Refusal, "description": reasons[status]} for status in sorted(reasons)}
    good = (model.__doc__ or "").splitlines()[0]
    return {"response_model": model, "response_description": good, "responses": refused}


JUDGE: dict[str, Any] = {
    **_documented(JudgeAnswer, *_REASONS, _403="an attack, and the policy is block; or a page of another site asks"),
    "openapi_extra": {"requestBody": _BODY},
}
LOOK: dict[str, Any] = {**_documented(LookAnswer, *_REASONS), "openapi_extra": {"requestBody": _BODY}}
MODEL = _documented(ModelAnswer, 401)
HEALTH = _documented(Status, 503)
METRICS: dict[str, Any] = {
    "responses": {
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text format"},
        401: {"model": Refusal, "description": _REASONS[401]},
    },
    "response_class": PlainTextResponse,
}
