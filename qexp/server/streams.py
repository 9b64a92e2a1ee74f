"""Server-sent events: changes are sent to pages as they happen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import orjson
from starlette.responses import StreamingResponse

from qexp.server.feed import Feed, LogReader
from qexp.server.site import Site

if TYPE_CHECKING:
    from starlette.responses import Response

SECONDS = 1.0
"""Between two looks."""

QUIET = 15
"""Looks without news after which something is sent in any case, so that a client that is gone is noticed."""

HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
"""The second one keeps nginx from collecting events."""


def stream(events: AsyncIterator[bytes]) -> Response:
    return StreamingResponse(events, media_type="text/event-stream", headers=HEADERS)


async def of_all_runs(site: Site) -> AsyncIterator[bytes]:
    """The version of the runs, now and whenever it has changed."""
    seen, silent = "", 0
    while not site.closing.is_set():
        version = (await site.live.now()).version
        silent += 1
        if version != seen:
            seen, silent = version, 0
            yield _event("version", version.encode())
        elif silent >= QUIET:
            silent = 0
            yield b": still here\n\n"
        await site.rest(SECONDS)


async def of_run(site: Site, feed: Feed, place: str) -> AsyncIterator[bytes]:
    """State, curves and added log of a run until it ends.

    place  up to where the client has the log; see `LogReader`
    """
    log, told, drawn, silent = LogReader(feed.directory, place), None, 0, 0
    while not site.closing.is_set():
        growth = await feed.now()
        silent += 1
        news = []
        if (said := (growth.state, growth.progress)) != told:
            told = said
            news.append(_event("state", orjson.dumps({"state": str(growth.state), "progress": growth.progress})))
        if growth.curves_version != drawn:
            drawn = growth.curves_version
            news.append(_event("curves", growth.curves))
        if (added := log.grown(growth)) is not None:
            news.append(_event("log", orjson.dumps(added), log.place))
        if not growth.state.unfinished:
            news.append(_event("end", b"{}"))
        if not news and silent >= QUIET:
            news = [b": still here\n\n"]
        if news:
            silent = 0
            yield b"".join(news)
        if not growth.state.unfinished:
            return
        await site.rest(SECONDS)


def _event(name: str, data: bytes, place: str = "") -> bytes:
    """`data` is in one line."""
    number = f"id: {place}\n".encode() if place else b""
    return b"event: " + name.encode() + b"\n" + number + b"data: " + data + b"\n\n"
