"""The workspace in a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from qexp import workspace as workspaces


def serve(
    listening: Callable[[str], None] = print,
    *,
    host: str = "127.0.0.1",
    port: int = 8700,
    prefix: str = "",
    names: Iterable[str] = (),
    allow_changes: bool = False,
    workspace: str | Path | None = None,
) -> None:
    """Show a workspace in a browser, until Ctrl-C or SIGTERM; see `qexp serve`.

    listening      receives the address to open
    names          further names of hosts for which the server answers, as behind a proxy
    allow_changes  let pages tag, annotate, stop, remove and restore runs
    Raises QexpError if it cannot listen there.
    """
    from qexp.server.serving import Serving, Settings

    serving = Serving(workspaces.find(workspace), Settings(host, port, prefix, tuple(names), allow_changes))
    listening(serving.address)
    serving.run()
