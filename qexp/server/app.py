"""The server's pages by their paths, and how their errors look."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from qexp.errors import DamagedError, NotFoundError, QexpError
from qexp.server import all_runs, changes, compared, launched, one_run, studied, upkeep
from qexp.server.guard import Guard
from qexp.server.rendering import STATIC, bundle, page
from qexp.server.site import Site, site_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from qexp.server.access import Access

ROUTES = [
    Route("/", all_runs.show),
    Route("/runs.json", all_runs.rows),
    Route("/words.json", all_runs.words),
    Route("/events", all_runs.events),
    Route("/compare", compared.show),
    Route("/launches", launched.show_all),
    Route("/launches/{launch}", launched.show),
    Route("/studies", studied.show_all),
    Route("/studies/{study}", studied.show),
    Route("/studies/{study}/figure", studied.figure),
    Route("/workspace", upkeep.show),
    Route("/changes/{kind}", changes.change, methods=["POST"]),
    Route("/disk.json", upkeep.disk),
    Route("/findings.json", upkeep.findings),
    Route("/runs/{run}", one_run.show),
    Route("/runs/{run}/events", one_run.events),
    Route("/runs/{run}/report", one_run.report),
    Route("/runs/{run}/figures/{path:path}", one_run.figure),
    Route("/runs/{run}/folds/{fold}", one_run.show),
    Route("/runs/{run}/folds/{fold}/events", one_run.events),
    Route("/runs/{run}/folds/{fold}/report", one_run.report),
    Route("/runs/{run}/folds/{fold}/figures/{path:path}", one_run.figure),
]


def application(site: Site, access: Access) -> ASGIApp:
    static = [Route(path, partial(_static, name=path.removeprefix("/"), kind=kind)) for path, kind in STATIC.items()]
    handlers = {QexpError: _refused, HTTPException: _refused, Exception: _failed}
    app = Starlette(routes=[*ROUTES, *static], exception_handlers=handlers)
    app.state.site = site
    app.router.redirect_slashes = False
    return Guard(app, access)


async def _static(request: Request, name: str, kind: str) -> Response:
    content, digest = bundle(name)
    # The digest is in the address, so that a new version of qexp has another one.
    headers = {"cache-control": "max-age=31536000, immutable" if request.url.query == digest else "no-cache"}
    return Response(content, media_type=kind, headers=headers)


async def _refused(request: Request, error: Exception) -> Response:
    """The page of an error that a user can mend, or its text where a script asked."""
    status, text = _status(request, error), str(error)
    if isinstance(error, HTTPException):
        text = "there is no such page" if status == 404 else str(error.detail)
    if request.url.path.endswith(".json") or request.method == "POST":
        return JSONResponse({"error": text.removeprefix("--")}, status)
    return page(request, "error.html", status, title=f"{status}", text=text)


def _status(request: Request, error: Exception) -> int:
    if isinstance(error, HTTPException):
        return error.status_code
    if isinstance(error, NotFoundError):
        return 404
    if not isinstance(error, DamagedError):
        return 400
    run = request.path_params.get("run")
    removed = run is not None and not (site_of(request).workspace.runs / run).exists()
    return 404 if removed else 422  # the server itself is well


async def _failed(request: Request, error: Exception) -> Response:
    return PlainTextResponse("qexp failed; the terminal of the server says why\n", 500)
