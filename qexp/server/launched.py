"""Pages of launches: the runs that one command started."""

from __future__ import annotations

import asyncio
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from qexp.analysis.listing import time
from qexp.errors import DamagedError
from qexp.runs.record.state import State
from qexp.runs.state import launches
from qexp.runs.state.launches import Launch
from qexp.server import places
from qexp.server.rendering import page
from qexp.server.site import site_of
from qexp.workspace import Workspace

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

MOST = 500
"""Launches that are listed, the newest."""

States = Mapping[str, str]
"""Run → its state."""


async def show_all(request: Request) -> Response:
    states = await _states(request)
    listed, damaged = await asyncio.to_thread(_all, site_of(request).workspace, states)
    return page(request, "launches.html", section="launches", launches=listed, warnings=damaged)


async def show(request: Request) -> Response:
    states = await _states(request)
    launch = await asyncio.to_thread(places.launch, site_of(request).workspace, request.path_params["launch"])
    return page(request, "launch.html", section="launches", launch=launch.id, **_described(launch, states))


async def _states(request: Request) -> States:
    return {one["name"]: one["state"] for one in (await site_of(request).live.now()).runs}


def _all(workspace: Workspace, states: States) -> tuple[list[dict[str, Any]], list[str]]:
    """The newest launches, and what is wrong with those that cannot be read."""
    described, damaged = [], []
    for launch in launches.all_of(workspace)[: -MOST - 1 : -1]:
        try:
            described.append(_described(launch, states))
        except DamagedError as error:
            damaged.append(str(error))
    return described, damaged


def _described(launch: Launch, states: States) -> dict[str, Any]:
    record = launch.record()
    return {
        "id": launch.id,
        "created": time(record.get("created")),
        "command": shlex.join(["qexp", *record.get("argv", [])[1:]]),
        "launcher": record["launcher"],
        "settings": {key: value for key, value in record.get("settings", {}).items() if value not in (None, {}, [])},
        "count": len(record["runs"]),
        "states": _counts(states.get(name, State.GONE.value) for name in record["runs"]),
        "pool": launch.pool_works(),
    }


def _counts(states: Iterable[str]) -> dict[str, int]:
    return {state.replace("_", " "): count for state, count in Counter(states).most_common()}
