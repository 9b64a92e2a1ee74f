"""What all pages of the server share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qexp.server.live_runs import LiveRuns
from qexp.server.run_table import RunTable
from qexp.workspace import Workspace

if TYPE_CHECKING:
    from starlette.requests import Request


@dataclass
class Site:
    workspace: Workspace
    secret: str | None = None
    """What a page sends with a change; None if changes are not allowed."""
    closing: bool = False
    """Whether streams should end."""
    live: LiveRuns = field(init=False)
    table: RunTable = field(init=False)

    def __post_init__(self) -> None:
        self.live, self.table = LiveRuns(self.workspace), RunTable(self.workspace)


def site_of(request: Request) -> Site:
    site: Site = request.app.state.site
    return site
