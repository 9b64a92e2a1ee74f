"""The page of a run, or of a fold: its report, live."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from starlette.responses import FileResponse, Response

from qexp.errors import NotFoundError
from qexp.pages.document import document
from qexp.pages.run_page import run_page
from qexp.runs.record.state import State
from qexp.server import places
from qexp.server.feed import log_place
from qexp.server.rendering import page
from qexp.server.site import site_of
from qexp.server.streams import of_run, stream

if TYPE_CHECKING:
    from starlette.requests import Request

    from qexp.runs.record.directory import RunDirectory

PICTURE = ".png"


def _directory(request: Request) -> RunDirectory:
    workspace, named = site_of(request).workspace, request.path_params
    if "fold" in named:
        return places.fold(workspace, named["fold"], named["run"])
    return places.run(workspace, named["run"])


async def show(request: Request) -> Response:
    listed = await site_of(request).live.now()
    return await asyncio.to_thread(_shown, request, listed.runs)


def _shown(request: Request, runs: Sequence[Mapping[str, Any]]) -> Response:
    directory = _directory(request)
    place = log_place(directory)  # before the log is read: a line may come twice, but none is lost
    known = run_page(directory, runs)
    unfinished = State(known["state"].replace(" ", "_")).unfinished
    shown = {"curves": [], "log": ""} if unfinished else {}  # which grow elsewhere on the page
    figures = sorted(path.name for path in directory.results.glob(f"figures/*{PICTURE}"))
    address = request.scope["path"]
    return page(
        request, "live_run.html", section="", address=address, figures=figures, unfinished=unfinished, place=place,
        fold=directory.is_fold, of=request.path_params["run"],
        folds=[one.name for one in directory.all_folds()],
        **known | shown, seen=known["log"],
    )  # fmt: skip


async def events(request: Request) -> Response:
    """What grows while the run is at work. A client that comes back says up to where it has the log."""
    site, directory = site_of(request), await asyncio.to_thread(_directory, request)
    place = request.headers.get("last-event-id") or request.query_params.get("place", "")
    return stream(of_run(site, site.feed(directory), place))


async def report(request: Request) -> Response:
    """The same as a file to keep or to send."""
    listed = await site_of(request).live.now()
    content = await asyncio.to_thread(lambda: document("run.html", run_page(_directory(request), listed.runs)))
    name = f"{request.path_params['run']}.html"
    # It has a policy of its own for what is in it.
    headers = {"content-disposition": f'attachment; filename="{name}"', "content-security-policy": "sandbox"}
    return Response(content, media_type="text/html", headers=headers)


async def figure(request: Request) -> Response:
    return await asyncio.to_thread(_figure, request)


def _figure(request: Request) -> Response:
    path = places.inside(_directory(request).results / "figures", request.path_params["path"])
    if path.suffix != PICTURE:
        raise NotFoundError("no such file")
    return FileResponse(path, media_type="image/png")
