"""The gateway's HTTP interface: a function that makes the app of a state."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from gazeshift import __version__
from gazeshift.data import FIT, Handling
from gazeshift.errors import GazeshiftError
from gazeshift.records import VerdictDict
from gazeshift.serve.explorer.routes import add_explorer
from gazeshift.serve.gateway import serialize
from gazeshift.serve.gateway._docs import page
from gazeshift.serve.gateway._guard import Guard
from gazeshift.serve.gateway._schemas import (
    ALL,
    METRICS,
    PICTURE,
    JudgeAnswer,
    JudgedUpload,
    LookAnswer,
    ModelAnswer,
    NamedMap,
    Status,
    refusals,
)
from gazeshift.serve.gateway.errors import CODES, GatewayError, refusal
from gazeshift.serve.gateway.guarded_model import GuardedModel
from gazeshift.serve.gateway.state import GatewayState

ABOUT = (
    "Send an image, and learn what the classifier sees in it, whether it is adversarial, and where its gaze went. "
    "Where the gateway has a token, requests bring `Authorization: Bearer TOKEN`. "
    "Every error has one shape: `{error: {code, message, details}}`."
)
DOCS_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
List = Annotated[str, Query(max_length=2000)]
Pixels = Annotated[Handling, Query()]


def create_app(state: GatewayState) -> FastAPI:
    """The app of one process: the API, and the explorer's page.

    Args:
        state: model, detector, limits; see `open_state`.
    """
    app = FastAPI(
        title="gazeshift",
        version=__version__,
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    app.add_middleware(Guard, state=state)
    add_errors(app)
    _add_model(app, state, GuardedModel(state.classifier, state.deployed))
    _add_operation(app, state)
    add_explorer(app, state)
    return app


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Leave a moment at the end for answers to requests that could not be finished."""
    yield
    await asyncio.sleep(0.1)


def _add_model(app: FastAPI, state: GatewayState, guarded: GuardedModel) -> None:
    """The routes that ask the model."""

    @app.post(
        "/v1/judge",
        tags=["images"],
        response_model=JudgeAnswer,
        response_description="A verdict.",
        responses=refusals(*ALL, _403="an attack, and the policy is block; or a page of another site asks"),
        openapi_extra=PICTURE,
    )
    async def judge(request: Request, maps: List = "", pixels: Pixels = FIT) -> Response:
        """Whether an image is adversarial, how sure that is, and which layers and views raised the suspicion.

        `maps` names layers (commas, globs, or `all`) whose Grad-CAM maps are added. `pixels=fit` resizes and crops the
        image for the model, which undoes most attacks; `as-is` takes an image of the model's own size, and no other.
        """
        async with state.picture(request, pixels) as picture:
            size = (picture.image.shape[1], picture.image.shape[2])
            layers, cams = (
                await state.in_thread(guarded.chosen, maps, "grad_cam", size) if maps.strip(", ") else ([], [])
            )
            verdict: VerdictDict = await state.batched(guarded.judge, picture.image, key=("judge", size))
            answer: JudgedUpload = {**verdict, "resized_from": picture.resized_from, "sha256": picture.sha256}
            state.metrics.judgements([answer["is_attack"]])
            entry = {**answer, "policy": state.settings.policy, "request": request.scope["gazeshift.id"]}
            if not await state.in_thread(state.journal.write, picture, entry):
                state.metrics.unlogged.inc()
            named: dict[str, NamedMap] = {}
            if layers:
                evidence = await state.on_model_thread(guarded.look, picture.image, layers, cams)
                drawn = await state.in_thread(serialize.maps_json, evidence)
                named = {layer: {"cam": cam, **one[cam]} for layer, one in drawn.items() for cam in cams}
        return await state.in_thread(_answered, state, answer, named)

    @app.post(
        "/v1/look",
        tags=["images"],
        response_model=LookAnswer,
        response_description="What a classifier sees, and where.",
        responses=refusals(*ALL),
        openapi_extra=PICTURE,
    )
    async def look(request: Request, cams: List = "grad_cam", layers: List = "trunk", pixels: Pixels = FIT) -> Response:
        """What the classifier sees in an image, and where it looks: maps of layers, for each CAM.

        `cams` and `layers` are names with commas; `layers` may be globs, `blocks`, `convs` or `trunk`. `/v1/model`
        lists all of them. `pixels` is as of `/v1/judge`.
        """
        async with state.picture(request, pixels) as picture:
            size = (picture.image.shape[1], picture.image.shape[2])
            chosen = await state.in_thread(guarded.chosen, layers, cams, size)
            evidence = await state.on_model_thread(guarded.look, picture.image, *chosen)
            answer = await state.in_thread(serialize.look_json, state.classifier, evidence, picture)
        return await state.in_thread(JSONResponse, answer)

    known: list[ModelAnswer] = []

    @app.get(
        "/v1/model",
        tags=["model"],
        response_model=ModelAnswer,
        response_description="What stands behind the gateway.",
        responses=refusals(401),
    )
    async def model() -> Response:
        """The model behind the gateway, its layers, its detector, and the limits of a request."""
        if not known:
            size = state.classifier.size
            layers = await state.in_thread(guarded.layers, size) if size else ()
            known.append(serialize.model_json(state.classifier, state.deployed, state.settings, layers, guarded.cams))
        return JSONResponse(known[0])


def _answered(state: GatewayState, judged: JudgedUpload, maps: dict[str, NamedMap]) -> Response:
    """As the policy says: an attack is answered with a warning, or refused with the verdict. Maps take a moment."""
    headers = {"X-Gazeshift-Verdict": judged["verdict"]}
    answer: dict[str, object] = {**judged, **({"maps": maps} if maps else {})}
    if judged["is_attack"] and state.settings.policy == "block":
        raise GatewayError(403, "blocked", "the image looks adversarial.", details=answer, headers=headers)
    warning = "this image looks adversarial: do not rely on its class." if judged["is_attack"] else None
    return JSONResponse({**answer, "warning": warning}, headers=headers)


def _add_operation(app: FastAPI, state: GatewayState) -> None:
    """The routes that operators ask."""
    well = "All is well."

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", tags=["operation"], response_model=Status, response_description=well, responses=refusals(503))
    async def healthz() -> Response:
        """Whether the process answers, its model's thread runs, and no other thread is stuck; if not, restart it."""
        if not state.batch_queue.is_alive:
            raise GatewayError(503, "broken", "the model's thread has ended. Restart the gateway.")
        if state.is_stuck:
            raise GatewayError(503, "broken", "a thread that decodes images is stuck. Restart the gateway.")
        return JSONResponse({"status": "ok"})

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz", tags=["operation"], response_model=Status, response_description=well, responses=refusals(503))
    async def readyz() -> Response:
        """Whether it can take an image now: 503 while as many requests wait as may."""
        state.check_room()
        return JSONResponse({"status": "ok"})

    @app.get("/metrics", tags=["operation"], response_class=PlainTextResponse, responses=METRICS)
    def metrics() -> Response:  # no coroutine: it runs on a thread that no picture can hold
        """Latency, batches, queue, verdicts and drift, for Prometheus."""
        return Response(state.metrics.page(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        """This interface, to read."""
        return HTMLResponse(page(app.openapi()), headers={"Content-Security-Policy": DOCS_POLICY})


def add_errors(app: FastAPI) -> None:
    """One shape for every error, those of the framework too."""

    @app.exception_handler(GazeshiftError)
    async def known(_: Request, error: Exception) -> Response:
        refused = refusal(error) if isinstance(error, GazeshiftError) else None
        if refused is None:
            raise error
        return JSONResponse(refused.body, refused.status, refused.headers)

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: Exception) -> Response:
        status, headers = getattr(error, "status_code", 500), getattr(error, "headers", None)
        what = {404: "nothing is at this path", 405: f"{request.method} is not allowed here"}
        hint = " /docs lists what can be guarded." if app.openapi_url else ""  # a study's explorer has none
        message = f"{what.get(status, 'the request cannot be served')}.{hint}"
        found = GatewayError(status, CODES.get(status, "refused"), message, headers=headers)
        return JSONResponse(found.body, found.status, found.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: Exception) -> Response:
        first = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": ""}
        where = ascii(".".join(str(part) for part in first["loc"]))[1:-1][:80]
        found = GatewayError(422, "unprocessable", f"{where}: {first['msg'][:200]}.")
        return JSONResponse(found.body, found.status)
