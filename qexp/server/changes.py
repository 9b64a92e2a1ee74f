"""Changes to runs, where the server was started with them allowed: tags, notes, stopping, removing and restoring."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from qexp.errors import QexpError
from qexp.runs.record import tagging
from qexp.runs.state.stopping import ask_to_stop
from qexp.runs.upkeep import trash
from qexp.server import places
from qexp.server.site import Site, site_of
from qexp.workspace import Workspace

if TYPE_CHECKING:
    from starlette.requests import Request

SECRET = "x-qexp-secret"
"""Header with what pages of this server know and pages of others do not."""

MOST_BYTES = 1_000_000
"""Of a request."""


@dataclass(frozen=True)
class Wanted:
    """What a page asks for, of each of the runs."""

    runs: list[str]
    add: list[str] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    text: str = ""


async def change(request: Request) -> Response:
    """Do it for one run after another; the answer has the runs that are `done`, and why others are not."""
    site = site_of(request)
    kind = request.path_params["kind"]
    if site.secret is None:
        return JSONResponse({"error": "this server only reads; start it with --allow-changes to change runs"}, 403)
    if not secrets.compare_digest(request.headers.get(SECRET, "").encode(), site.secret.encode()):
        return JSONResponse({"error": "reload the page: the server was started again since it was loaded"}, 403)
    if kind not in KINDS:
        return JSONResponse({"error": f"no change {kind!r}; choose from {', '.join(KINDS)}"}, 404)
    try:
        wanted = _wanted(await _body(request))
    except ClientDisconnect:
        return Response(status_code=400)  # nobody reads it
    answer = await asyncio.to_thread(_changed, site, kind, wanted)
    site.live.forget()
    return JSONResponse(answer)


def _changed(site: Site, kind: str, wanted: Wanted) -> dict[str, Any]:
    done, failed = [], {}
    for name in dict.fromkeys(wanted.runs):
        try:
            KINDS[kind](site.workspace, name, wanted)
            done.append(name)
        except QexpError as error:
            failed[name] = str(error)
    return {"done": done, "failed": failed}


def _tag(workspace: Workspace, name: str, wanted: Wanted) -> None:
    tagging.retag(places.run(workspace, name).path, wanted.add, wanted.remove)


def _note(workspace: Workspace, name: str, wanted: Wanted) -> None:
    tagging.annotate(places.run(workspace, name).path, wanted.text)


def _stop(workspace: Workspace, name: str, wanted: Wanted) -> None:
    if not ask_to_stop(places.run(workspace, name)):
        raise QexpError(f"{name} is not running")


def _remove(workspace: Workspace, name: str, wanted: Wanted) -> None:
    trash.discard([places.run(workspace, name)], workspace)


def _restore(workspace: Workspace, name: str, wanted: Wanted) -> None:
    """`name` is that in the trash."""
    trash.restore(name, workspace)


KINDS: Mapping[str, Callable[[Workspace, str, Wanted], None]] = {
    "tag": _tag,
    "note": _note,
    "stop": _stop,
    "remove": _remove,
    "restore": _restore,
}


async def _body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise QexpError(f"a request may have {MOST_BYTES:,} bytes at most")
    return body


def _wanted(body: bytes) -> Wanted:
    """Raises QexpError for anything but what pages send."""
    try:
        wanted = Wanted(**orjson.loads(body))
    except (orjson.JSONDecodeError, TypeError):
        raise QexpError("write a JSON object with runs, and add, remove or text") from None
    lists = (wanted.runs, wanted.add, wanted.remove)
    if not all(isinstance(one, list) and all(isinstance(word, str) for word in one) for one in lists):
        raise QexpError("runs, add and remove must be lists of strings")
    if not isinstance(wanted.text, str):
        raise QexpError("text must be a string")
    return wanted
