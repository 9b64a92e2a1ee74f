"""Several runs side by side: selected ones, all of a launch, or all of a study."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qexp.errors import NotFoundError, QexpError, some
from qexp.pages.chosen import MOST, Named, readable
from qexp.pages.comparison_page import comparison_page
from qexp.server import places
from qexp.server.rendering import page
from qexp.server.site import site_of
from qexp.workspace import Workspace

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams
    from starlette.requests import Request
    from starlette.responses import Response


async def show(request: Request) -> Response:
    return await asyncio.to_thread(_shown, request)


def _shown(request: Request) -> Response:
    workspace = site_of(request).workspace
    title, names = _asked(request.query_params, workspace)
    if not names:
        raise QexpError("choose the runs to compare: select them in the table of runs")
    return page(request, "comparison.html", section="", **compared(workspace, title, names))


def compared(workspace: Workspace, title: str, names: Sequence[str]) -> dict[str, Any]:
    """What the template `comparison.html` needs; runs that cannot be read are named and left out.

    Raises QexpError if there are too many, NotFoundError if none can be read.
    """
    if len(names) > MOST:
        raise QexpError(f"{len(names):,} runs are too many for one page; choose at most {MOST:,}")
    named: Named = {}
    gone = []
    for name in names:
        try:
            named[places.run(workspace, name)] = None
        except NotFoundError as error:
            gone.append(f"{error}, which is left out")
    runs, missing = readable(named)
    if not runs:
        raise NotFoundError(f"{title}: none of these runs can be read: {some([*gone, *missing])}")
    return comparison_page(title, runs, [*gone, *missing])


def _asked(query: QueryParams, workspace: Workspace) -> tuple[str, list[str]]:
    """A title, and the names of runs, each once."""
    if launch := query.get("launch"):
        return f"Launch {launch}", list(dict.fromkeys(places.launch(workspace, launch).record()["runs"]))
    names = list(dict.fromkeys(query.getlist("run")))
    return some(names, most=4), names
