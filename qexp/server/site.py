"""What all pages of the server share."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from qexp.server.feed import Feed
from qexp.server.live_runs import LiveRuns
from qexp.server.run_table import RunTable
from qexp.server.workspace_state import Kept, findings_in, sizes_in
from qexp.workspace import Workspace

if TYPE_CHECKING:
    from starlette.requests import Request

    from qexp.runs.record.directory import RunDirectory


@dataclass
class Site:
    workspace: Workspace
    secret: str | None = None
    """What a page sends with a change; None if changes are not allowed."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when streams should end."""
    live: LiveRuns = field(init=False)
    disk: Kept = field(init=False)
    findings: Kept = field(init=False)
    table: RunTable = field(init=False)

    def __post_init__(self) -> None:
        self._feeds: WeakValueDictionary[Path, Feed] = WeakValueDictionary()
        self.disk = Kept(partial(sizes_in, self.workspace))
        self.findings = Kept(partial(findings_in, self.workspace))
        self.live, self.table = LiveRuns(self.workspace), RunTable(self.workspace)

    def feed(self, directory: RunDirectory) -> Feed:
        """The feed of a run, which all of its clients share for as long as one of them holds it."""
        found = self._feeds.get(directory.path)
        if found is None:
            found = self._feeds[directory.path] = Feed(directory)
        return found

    async def rest(self, seconds: float) -> None:
        """Wait, but not longer than until the server ends."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.closing.wait(), seconds)


def site_of(request: Request) -> Site:
    site: Site = request.app.state.site
    return site
