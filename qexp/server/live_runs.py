"""All runs as they are now, for any number of clients."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from qexp.errors import QexpError
from qexp.runs.catalog.catalog import Catalog
from qexp.server.kept import Kept
from qexp.workspace import Workspace

SECONDS = 1.0
"""Between two looks at the workspace, while somebody asks."""

SHARE = 0.03
"""Largest share of its time that the server spends on looking; with very many runs it looks less often."""


@dataclass(frozen=True)
class Listed:
    """The runs at one time."""

    version: str
    """Another one whenever a run has changed."""
    runs: list[dict[str, Any]]
    """Their summaries, in the order of their names."""
    warnings: list[str]


class LiveRuns:
    def __init__(self, workspace: Workspace) -> None:
        self._catalog = Catalog(workspace)
        self._start = secrets.token_hex(4)
        self._read = self._catalog.followed()
        self._listed = Listed("", [], [])
        self._changes = 0
        self._kept = Kept(self._look, share=SHARE, seconds=SECONDS)

    async def now(self) -> Listed:
        """The runs, at most some seconds old."""
        return await self._kept.now()

    def forget(self) -> None:
        """Look again for the next client, after a change."""
        self._kept.forget()

    def _look(self) -> Listed:
        try:
            runs, warnings = self._read(), list(self._catalog.warnings)
        except QexpError as error:  # the folder cannot be read for now, such as on a disk that is not mounted
            runs, warnings = [], [str(error)]
        if not self._changes or (runs, warnings) != (self._listed.runs, self._listed.warnings):
            self._changes += 1
            self._listed = Listed(f"{self._start}-{self._changes}", runs, warnings)
        return self._listed
