"""The explorer over a finished study: its page, and the tables behind it."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from gazeshift.errors import DataError, GazeshiftError
from gazeshift.manifest import StudyManifest
from gazeshift.pictures import encode_webp, photograph
from gazeshift.report.study import Study, open_study
from gazeshift.report.tables_read import WIDE
from gazeshift.report.words import measure_name
from gazeshift.serve.explorer.assets import STUDY, add_page, opening
from gazeshift.serve.gateway.app import add_errors
from gazeshift.serve.gateway.errors import GatewayError, refusal
from gazeshift.serve.gateway.origin import check_host
from gazeshift.serve.study_explorer._gallery import clean_picture
from gazeshift.serve.study_explorer._replay import StudyReplay
from gazeshift.serve.study_explorer.deviation import IMAGES, LONG, DeviationTables
from gazeshift.serve.study_explorer.deviation import ROWS as MOVED
from gazeshift.serve.study_explorer.scorecard import ROWS as JUDGED
from gazeshift.serve.study_explorer.scorecard import ScorecardOrder, ScorecardTables
from gazeshift.serve.study_explorer.tables import Page, StudyTables, as_dicts, columns_of
from gazeshift.summaries import finite

SIDE = 128
OWN = ("search", "sort", "reverse", "start", "size")


def create_study_app(
    folder: Path, *, model: str | None = None, weights: str | None = None, hosts: tuple[str, ...] = ()
) -> FastAPI:
    """The app of a study's folder.

    Args:
        folder: of a finished study.
        model: to draw maps with, if not the one that the manifest names.
        weights: likewise.
        hosts: names by which it may be asked, so that no other site's page can; empty: any.

    Raises:
        DataError: no finished study, one of a kind that has no explorer, or a model that is not the study's.
        GazeshiftError: a model that is named cannot be loaded.
    """
    study = open_study(folder)
    manifest = study.entries(StudyManifest)
    tables, replay = open_tables(study), StudyReplay(manifest=manifest, model=model, weights=weights)
    if model is not None or weights is not None:
        _ = replay.classifier  # so that another model than the study's is refused at once

    @asynccontextmanager
    async def closing(_: FastAPI) -> AsyncIterator[None]:
        yield
        tables.store.close()

    app = FastAPI(
        title="gazeshift", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, lifespan=closing
    )
    add_errors(app)
    _add_own_errors(app, hosts)
    add_page(app, STUDY)
    _add_routes(app, manifest, tables, replay)
    return app


def open_tables(study: Study) -> StudyTables:
    """The tables of a study, by what they hold.

    Raises:
        DataError: they are neither of a study that compares maps nor of a scorecard.
    """
    folder, rows = study.folder, columns_of(study.folder, "rows")
    compared = rows >= LONG or set(WIDE) <= rows
    if compared and not MOVED - rows and not IMAGES - columns_of(folder, "images"):
        return DeviationTables(folder, study.entries(StudyManifest).measures)
    if not JUDGED - rows:
        return ScorecardTables(folder, order=tuple(study.entries(ScorecardOrder).detectors))
    raise DataError(
        f"the explorer opens deviation, renkhoff2022 and scorecard studies, and {folder} holds '{study.name}'. "
        "Its page is report.html."
    )


def _add_routes(app: FastAPI, manifest: StudyManifest, tables: StudyTables, replay: StudyReplay) -> None:
    store, hindrance, seen = tables.store, replay.hindrance(), _pictured(tables, replay)

    @lru_cache(maxsize=2048)
    def small(number: int) -> bytes:
        name = store.name(number)
        if name in tables.pictured():
            return clean_picture(store, name) or b""
        picture = photograph(replay.picture(name))
        picture.thumbnail((SIDE, SIDE))
        return encode_webp(picture)

    @app.get("/explorer/study")
    def about() -> JSONResponse:
        return JSONResponse(_about(manifest, tables, hindrance))

    @app.get("/explorer/study/images")
    def listed(
        request: Request, *, search: str = "", sort: str = "", reverse: bool = False, start: int = 0, size: int = 50
    ) -> JSONResponse:
        chosen = {key: value for key, value in request.query_params.items() if key not in OWN}
        page = Page(chosen=chosen, search=search[:200], sort=sort, reverse=reverse, start=start, size=size)
        found = tables.listed(page)
        rows = [{**row, "pictured": row["image"] in seen} for row in found.rows]
        return JSONResponse({"total": found.total, "rows": rows})

    @app.get("/explorer/study/images/{number}")
    def image(number: int) -> JSONResponse:
        name = store.name(number)
        return JSONResponse({"number": number, "image": name, "pictured": name in seen, **tables.image(name).as_dict()})

    @app.get("/explorer/study/images/{number}/picture")
    def picture(number: int) -> Response:
        try:
            return Response(small(number), media_type="image/webp", headers={"Cache-Control": "max-age=3600"})
        except (GazeshiftError, ValueError) as error:
            raise GatewayError(404, "no_picture", f"there is no picture of it: {error}") from error

    @app.get("/explorer/study/images/{number}/maps")
    def maps(number: int, attack: str = "", strength: float = 1.0, anew: bool = False) -> JSONResponse:
        name = store.name(number)
        if attack:
            attack = next(one for one in tables.choices if one.name == "attack").taken({"attack": attack})
        sides = replay.drawn(name, attack, strength) if anew else as_dicts(tables.kept(name, attack, strength))
        return JSONResponse({"sides": sides, "anew": anew, "hindrance": hindrance})


def _pictured(tables: StudyTables, replay: StudyReplay) -> frozenset[str]:
    """Images that there is a picture of: kept by the study, or where they were when it ran."""
    try:
        there = frozenset(replay.source.ids)
    except (GazeshiftError, ValueError):
        there = frozenset()
    return there | tables.pictured()


def _about(manifest: StudyManifest, tables: StudyTables, hindrance: str) -> dict[str, object]:
    model, count = manifest.model.name, len(tables.store.images)
    source = f"{count:,} image{'s' * (count != 1)} of {manifest.images.source or 'unknown source'}"
    return opening(
        f"{manifest.study} study of {model}, {source}",
        study=manifest.study,
        choices=[choice.as_dict() for choice in tables.choices],
        sorts=[{"value": value, "label": label} for value, label in tables.sorts.items()],
        columns=[{"name": name, "label": label, "kind": kind} for name, label, kind in tables.columns],
        measures={
            measure.name: {"label": measure_name(measure.name), "same": measure.same, "reach": finite(measure.reach)}
            for measure in tables.measures
        },
        facts=[
            ["Study", manifest.study],
            ["Model", model],
            ["Images", source],
            ["Made", manifest.created[:10]],
        ],
        hindrance=hindrance,
    )


def _add_own_errors(app: FastAPI, hosts: tuple[str, ...]) -> None:
    """Answer with what is wrong with a study; refuse pages of other sites."""

    @app.exception_handler(GazeshiftError)
    async def refused(_: Request, error: Exception) -> Response:
        known = refusal(error) if isinstance(error, GazeshiftError) else None
        answer = known or GatewayError(409, "study", str(error))
        return JSONResponse(answer.body, answer.status, answer.headers)

    @app.exception_handler(Exception)
    async def internal(_: Request, error: Exception) -> Response:
        logging.getLogger("gazeshift.serve").error("internal error", exc_info=error)
        return JSONResponse(
            GatewayError(500, "internal", "internal error; the terminal shows its traceback.").body, 500
        )

    @app.middleware("http")
    async def known_host(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        try:
            check_host(request.headers.get("host", ""), hosts)
        except GatewayError as error:
            return JSONResponse(error.body, error.status)
        return await answer(request)
