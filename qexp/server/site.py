"""What all pages of the server share."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from qexp.server.feed import Feed
from qexp.server.kept import Kept
from qexp.server.live_runs import LiveRuns
from qexp.server.run_table import RunTable
from qexp.server.workspace_state import findings_in, sizes_in
from qexp.workspace import Workspace

if TYPE_CHECKING:
    from starlette.requests import Request

    from qexp.runs.record.directory import RunDirectory

SHARE = 0.02
"""Largest share of its time that the server spends on use of the disk, and on findings, however often it is asked."""


@dataclass
class Site:
    workspace: Workspace
    secret: str | None = None
    """What a page sends with a change; None if changes are not allowed."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when streams should end."""
    live: LiveRuns = field(init=False)
    disk: Kept[Any] = field(init=False)
    """See `sizes_in`."""
    findings: Kept[Any] = field(init=False)
    """See `findings_in`."""
    table: RunTable = field(init=False)

    def __post_init__(self) -> None:
        self._feeds: WeakValueDictionary[Path, Feed] = WeakValueDictionary()
        self.disk = Kept(lambda: sizes_in(self.workspace), share=SHARE)
        self.findings = Kept(lambda: findings_in(self.workspace), share=SHARE)
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
