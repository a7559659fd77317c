"""What the interface says of itself: shapes of requests and answers, for OpenAPI."""

from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # typing.TypedDict is not read by pydantic before Python 3.12

from gazeshift.models import Pixels, PublicModelCard
from gazeshift.records import ClassProbability, Finite, VerdictDict
from gazeshift.serve.gateway.errors import Refusal
from gazeshift.serve.gateway.intake import FIELD, RAW


class DrawnMap(TypedDict):
    """One map of one layer."""

    height: int
    width: int
    values: Annotated[list[list[Finite]], Field(description="Raw and signed, at the layer's own resolution.")]
    png: Annotated[
        str | None,
        Field(description="Base64: the positive part, coloured, in the image's size; for viewing only."),
    ]


class NamedMap(DrawnMap):
    """A map that says which CAM drew it."""

    cam: str


class UploadFacts(TypedDict):
    """How an image came."""

    resized_from: Annotated[
        list[int] | None,
        Field(
            description="Width and height of the file, if it was resized or cropped for the model; see pixels=as-is."
        ),
    ]
    sha256: str


class JudgedUpload(VerdictDict, UploadFacts):
    """A verdict on an image that came by HTTP."""


class JudgeAnswer(JudgedUpload):
    """A verdict."""

    warning: str | None
    maps: Annotated[NotRequired[dict[str, NamedMap]], Field(description="Layer to map, if maps were asked for.")]


class LookAnswer(ClassProbability, UploadFacts):
    """What a classifier sees, and where."""

    top: list[ClassProbability]
    layers: list[str]
    cams: list[str]
    maps: Annotated[dict[str, dict[str, DrawnMap]], Field(description="Layer to CAM to map.")]
    model: str


class ServedModel(PublicModelCard):
    """A model, and the size of its images."""

    input_size: Pixels | None


class LayerCard(TypedDict):
    """A layer, and what it may be asked for by."""

    name: str
    shape: tuple[int, int, int]
    kinds: list[str]
    aliases: tuple[str, ...]


class DetectorCard(TypedDict):
    """A detector and its promise."""

    name: str
    threshold: Finite
    false_alarms: float
    fitted_on: int
    calibrated_on: int
    layers: tuple[str, ...]


class Limits(TypedDict):
    """What a request may hold."""

    body_bytes: int
    pixels: int
    formats: tuple[str, ...]
    queue: int
    timeout_seconds: float


class ModelAnswer(TypedDict):
    """What stands behind the gateway."""

    model: ServedModel
    layers: list[LayerCard]
    cams: list[str]
    detector: DetectorCard
    policy: str
    limits: Limits


class Status(TypedDict):
    """All is well."""

    status: str


_PICTURE = {"type": "string", "format": "binary"}
_FORM = {"type": "object", "required": [FIELD], "properties": {FIELD: _PICTURE}}
PICTURE = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _FORM},
            RAW: {"schema": _PICTURE},
            "image/jpeg": {"schema": _PICTURE},
            "image/png": {"schema": _PICTURE},
        },
    }
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


def refusals(*statuses: int, **others: str) -> dict[int | str, dict[str, object]]:
    """What else a route may answer, by status.

    Args:
        statuses: with the usual reason.
        others: reasons of this route's own: ``_403="..."``.
    """
    reasons = {**{status: _REASONS[status] for status in statuses}, **{int(k[1:]): v for k, v in others.items()}}
    return {status: {"model": Refusal, "description": reasons[status]} for status in sorted(reasons)}


ALL = tuple(_REASONS)
METRICS: dict[int | str, dict[str, object]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text format"},
    **refusals(401),
}
