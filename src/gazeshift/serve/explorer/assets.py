"""The explorer's page: files of the package, each under its own name, and a policy that allows no other."""

import base64
from functools import cache
from importlib.resources import files

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response

from gazeshift.pictures import colour_table
from gazeshift.serve.gateway.errors import GatewayError

KINDS = {"css": "text/css", "js": "text/javascript"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
LIVE, STUDY = "live", "study"
SHARED = "overlay.js"  # the report draws its maps with it, too


@cache
def page_files() -> dict[str, bytes]:
    """Every file of the page by its name: what is not in here cannot be asked for."""
    own = {file.name: file.read_bytes() for file in files("gazeshift.serve.explorer").joinpath("page").iterdir()}
    return {**own, SHARED: files("gazeshift.report").joinpath("page", SHARED).read_bytes()}


def add_page(app: FastAPI, mode: str) -> None:
    """The page at ``/``, over a live server or over a study, and its scripts and style under ``/page``."""
    index = page_files()["index.html"].decode().replace('data-mode="live"', f'data-mode="{mode}"')

    @app.get("/", include_in_schema=False)
    async def home() -> HTMLResponse:
        return HTMLResponse(index, headers=HEADERS)

    @app.get("/page/{name}", include_in_schema=False)
    async def part(name: str) -> Response:
        kind = KINDS.get(name.rpartition(".")[2])
        content = page_files().get(name)
        if content is None or kind is None:
            raise GatewayError(404, "not_found", "the page has no such file.")
        return Response(content, media_type=f"{kind}; charset=utf-8", headers=HEADERS)


@cache
def colours() -> str:
    """The 256 colours of maps, three bytes each, in base64."""
    return base64.b64encode(colour_table().tobytes()).decode()


def opening(about: str, **more: object) -> dict[str, object]:
    """What the page needs before it draws anything."""
    return {"about": about, "colours": colours(), **more}
