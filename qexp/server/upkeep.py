"""The page of the workspace: use of the disk, what doctor finds, and the trash."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

from qexp.runs.upkeep import trash
from qexp.server.rendering import page
from qexp.server.site import site_of

if TYPE_CHECKING:
    from starlette.requests import Request


async def show(request: Request) -> Response:
    site = site_of(request)
    counts = Counter(one["state"] for one in (await site.live.now()).runs)
    entries = await asyncio.to_thread(trash.entries, site.workspace)
    removed = [{"name": one.name, "entry": one.path.name, "since": f"{one.since:%Y-%m-%d %H:%M}"} for one in entries]
    return page(
        request, "workspace.html", section="workspace", root=str(site.workspace.root), removed=removed[::-1],
        counts={state.replace("_", " "): count for state, count in counts.most_common()},
    )  # fmt: skip


async def disk(request: Request) -> Response:
    return JSONResponse(await site_of(request).disk.now())


async def findings(request: Request) -> Response:
    return JSONResponse(await site_of(request).findings.now())
