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
from gazeshift.serve.explorer.analysis import ATTACKS, MOST_LEVELS, MOST_STEPS, Attempt, Seen, see
from gazeshift.serve.explorer.assets import LIVE, add_page, opening
from gazeshift.serve.explorer.serialize import told
from gazeshift.serve.gateway.errors import busy
from gazeshift.serve.gateway.guarded_model import Asked
from gazeshift.serve.gateway.serialize import number, public
from gazeshift.serve.gateway.settings import FORMATS
from gazeshift.serve.gateway.state import State

MOST_SEED = 2**31 - 1
ATTACKERS = 2  # attacks that may wait or run: each takes the model's thread for many passes


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a request of the page asks for beside its image.

    Args:
        attempt: an attack, or None.
        seed: repeats what was seen before; None draws one.
        pixels: how the image is taken.
    """

    attempt: Attempt | None
    seed: int
    pixels: Handling = FIT


def _wish(
    attack: str | None = None,
    epsilon: int = 4,
    steps: int = 10,
    seed: Annotated[int | None, Query(ge=0, le=MOST_SEED)] = None,
    pixels: Handling = FIT,
) -> Wish:
    attempt = None if attack is None else Attempt(name=attack, levels=epsilon, steps=steps)
    return Wish(attempt=attempt, seed=secrets.randbelow(MOST_SEED) if seed is None else seed, pixels=pixels)


Wished = Annotated[Wish, Depends(_wish)]


def add_explorer(app: FastAPI, state: State) -> None:
    """Add the explorer to a gateway. What is tried here is no traffic: it is neither logged nor counted as verdicts.

    Args:
        app: the gateway.
        state: its model, detector, thread and limits.
    """
    samples, attackers = open_samples(state.classifier.class_names), Attackers()
    add_page(app, LIVE)

    @app.get("/explorer/start", include_in_schema=False)
    async def start() -> JSONResponse:
        return JSONResponse(_opening(state) | {"samples": await state.aside(samples.listed)})

    @app.get("/explorer/samples/{name}", include_in_schema=False)
    async def sample(name: str) -> Response:
        return Response(await state.aside(samples.content, name), media_type="image/jpeg")

    @app.post("/explorer/see", include_in_schema=False)
    async def seen(request: Request, wish: Wished) -> JSONResponse:
        async with attackers.one(wish.attempt), state.picture(request, wish.pixels) as picture:
            found = await state.run(_see, state, picture.image, wish)
            size = [picture.image.shape[2], picture.image.shape[1]]
            shape = {"sha256": picture.sha256, "resized_from": picture.resized_from, "size": size}
            return JSONResponse(shape | await state.aside(told, found))

    @app.post("/explorer/report", include_in_schema=False)
    async def report(
        request: Request, wish: Wished, title: Annotated[str, Query(max_length=200)] = "an image"
    ) -> Response:
        async with attackers.one(wish.attempt), state.picture(request, wish.pixels) as picture:
            started = time.perf_counter()
            found = await state.run(_see, state, picture.image, wish)
            seconds = time.perf_counter() - started
            made = await state.aside(lambda: page(document(state, found, picture, title, seconds)))
        return Response(made.encode("utf-8", "replace"), media_type="text/html; charset=utf-8", headers=SAVED)


SAVED = {"Content-Disposition": 'attachment; filename="gazeshift.html"', "X-Content-Type-Options": "nosniff"}


class Attackers:
    """How many attacks are under way; one more than `ATTACKERS` is refused, so that verdicts need not wait for them."""

    def __init__(self) -> None:
        self.count = 0

    @asynccontextmanager
    async def one(self, attempt: Attempt | None) -> AsyncIterator[None]:
        """A place for an attack, if it is one.

        Raises:
            GatewayError: 503 if all are taken.
        """
        taken = int(attempt is not None)
        if self.count + taken > ATTACKERS:
            raise busy(5)
        self.count += taken
        try:
            yield
        finally:
            self.count -= taken


def _see(state: State, image: Any, wish: Wish) -> Seen:
    Asked(state.classifier, state.deployed).layers((image.shape[1], image.shape[2]))  # refuses what it cannot take
    return see(state.classifier, state.deployed, image, seed=wish.seed, attempt=wish.attempt)


def _opening(state: State) -> dict[str, Any]:
    deployed = state.deployed
    return opening(
        f"{public(state.classifier)}, judged by {deployed.name}: at most {100 * deployed.false_alarms:.3g} % of clean "
        "images are called attacks",
        model=public(state.classifier),
        detector=deployed.name,
        threshold=number(deployed.threshold),
        false_alarms=number(deployed.false_alarms),
        attacks=list(ATTACKS),
        most_levels=MOST_LEVELS,
        most_steps=MOST_STEPS,
        max_body=state.settings.body_bytes,
        formats=list(FORMATS),
    )
