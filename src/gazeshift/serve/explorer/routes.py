"""The explorer of a running gateway: the page at ``/`` and the routes that only the page needs."""

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response

from gazeshift.data import FIT, Handling
from gazeshift.report.html import page
from gazeshift.serve.explorer._evidence_page import document
from gazeshift.serve.explorer._samples import open_samples
from gazeshift.serve.explorer.analysis import ATTACKS, MAX_LEVELS, MAX_STEPS, Analysis, AttackRequest, analyse
from gazeshift.serve.explorer.assets import LIVE, add_page, opening
from gazeshift.serve.explorer.serialize import analysis_json
from gazeshift.serve.gateway.errors import busy
from gazeshift.serve.gateway.guarded_model import GuardedModel
from gazeshift.serve.gateway.serialize import public
from gazeshift.serve.gateway.settings import FORMATS
from gazeshift.serve.gateway.state import GatewayState
from gazeshift.summaries import finite

MAX_SEED = 2**31 - 1
MAX_ATTACKS = 2  # attacks that may wait or run: each takes the model's thread for many passes


@dataclass(frozen=True, kw_only=True)
class AnalysisRequest:
    """What a request of the page asks for beside its image.

    Args:
        attack: an attack, or None.
        seed: repeats what was seen before; None draws one.
        pixels: how the image is taken.
    """

    attack: AttackRequest | None
    seed: int
    pixels: Handling = FIT


def _analysis_request(
    attack: str | None = None,
    epsilon: int = 4,
    steps: int = 10,
    seed: Annotated[int | None, Query(ge=0, le=MAX_SEED)] = None,
    pixels: Handling = FIT,
) -> AnalysisRequest:
    attack_request = None if attack is None else AttackRequest(name=attack, levels=epsilon, steps=steps)
    return AnalysisRequest(
        attack=attack_request, seed=secrets.randbelow(MAX_SEED) if seed is None else seed, pixels=pixels
    )


Asked = Annotated[AnalysisRequest, Depends(_analysis_request)]


def add_explorer(app: FastAPI, state: GatewayState) -> None:
    """Add the explorer to a gateway. What is tried here is no traffic: it is neither logged nor counted as verdicts.

    Args:
        app: the gateway.
        state: its model, detector, thread and limits.
    """
    samples, slots = open_samples(state.classifier.class_names), AttackSlots()
    add_page(app, LIVE)

    @app.get("/explorer/start", include_in_schema=False)
    async def start() -> JSONResponse:
        return JSONResponse(_opening(state) | {"samples": await state.in_thread(samples.listed)})

    @app.get("/explorer/samples/{name}", include_in_schema=False)
    async def sample(name: str) -> Response:
        return Response(await state.in_thread(samples.content, name), media_type="image/jpeg")

    @app.post("/explorer/see", include_in_schema=False)
    async def seen(request: Request, asked: Asked) -> JSONResponse:
        async with slots.one(asked.attack), state.picture(request, asked.pixels) as picture:
            analysis = await state.on_model_thread(_analyse, state, picture.image, asked)
            size = [picture.image.shape[2], picture.image.shape[1]]
            shape = {"sha256": picture.sha256, "resized_from": picture.resized_from, "size": size}
            return JSONResponse(shape | await state.in_thread(analysis_json, analysis))

    @app.post("/explorer/report", include_in_schema=False)
    async def report(
        request: Request, asked: Asked, title: Annotated[str, Query(max_length=200)] = "an image"
    ) -> Response:
        async with slots.one(asked.attack), state.picture(request, asked.pixels) as picture:
            started = time.perf_counter()
            analysis = await state.on_model_thread(_analyse, state, picture.image, asked)
            seconds = time.perf_counter() - started
            made = await state.in_thread(lambda: page(document(state, analysis, picture, title, seconds)))
        return Response(made.encode("utf-8", "replace"), media_type="text/html; charset=utf-8", headers=SAVED)


SAVED = {"Content-Disposition": 'attachment; filename="gazeshift.html"', "X-Content-Type-Options": "nosniff"}


class AttackSlots:
    """Counts the attacks under way; more than `MAX_ATTACKS` are refused, so that verdicts need not wait for them."""

    def __init__(self) -> None:
        self.count = 0

    @asynccontextmanager
    async def one(self, attack: AttackRequest | None) -> AsyncIterator[None]:
        """A slot for an attack, if there is one.

        Raises:
            GatewayError: 503 if all are taken.
        """
        taken = int(attack is not None)
        if self.count + taken > MAX_ATTACKS:
            raise busy(5)
        self.count += taken
        try:
            yield
        finally:
            self.count -= taken


def _analyse(state: GatewayState, image: Any, asked: AnalysisRequest) -> Analysis:
    GuardedModel(state.classifier, state.deployed).layers(
        (image.shape[1], image.shape[2])
    )  # refuses what it cannot take
    return analyse(state.classifier, state.deployed, image, seed=asked.seed, attack_request=asked.attack)


def _opening(state: GatewayState) -> dict[str, object]:
    deployed = state.deployed
    return opening(
        f"{public(state.classifier)}, judged by {deployed.name}: at most {100 * deployed.false_alarms:.3g} % of clean "
        "images are called attacks",
        model=public(state.classifier),
        detector=deployed.name,
        threshold=finite(deployed.threshold),
        false_alarms=finite(deployed.false_alarms),
        attacks=list(ATTACKS),
        max_levels=MAX_LEVELS,
        max_steps=MAX_STEPS,
        max_body=state.settings.body_bytes,
        formats=list(FORMATS),
    )
