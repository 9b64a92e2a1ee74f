"""All runs as they are now, for any number of clients."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass
from typing import Any

from qexp.errors import QexpError
from qexp.runs.catalog.catalog import Catalog
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
        self._changes, self._next = 0, 0.0
        self._one_at_a_time = asyncio.Lock()

    async def now(self) -> Listed:
        """The runs, at most some seconds old."""
        if time.monotonic() >= self._next:
            async with self._one_at_a_time:
                if time.monotonic() >= self._next:
                    await asyncio.to_thread(self._look)
        return self._listed

    def forget(self) -> None:
        """Look again for the next client, after a change."""
        self._next = 0.0

    def _look(self) -> None:
        begun = time.monotonic()
        try:
            runs, warnings = self._read(), list(self._catalog.warnings)
        except QexpError as error:  # the folder cannot be read for now, such as on a disk that is not mounted
            runs, warnings = [], [str(error)]
        if not self._changes or (runs, warnings) != (self._listed.runs, self._listed.warnings):
            self._changes += 1
            self._listed = Listed(f"{self._start}-{self._changes}", runs, warnings)
        now = time.monotonic()
        self._next = now + max(SECONDS, (now - begun) / SHARE)
