"""qexp logs"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from qexp.cli.arguments import RunArgument
from qexp.cli.console import WorkspaceOption, message, piece


def logs(
    run: RunArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing until the run ends.")] = False,
    attempt: Annotated[int | None, typer.Option(min=1, help="Which attempt; the last if left out.")] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Print the log of a run."""
    from qexp.runs.catalog.catalog import Catalog
    from qexp.runs.state import logs
    from qexp.runs.state.waiting import Watch
    from qexp.workspace import find

    directory = Catalog(find(workspace)).find(run)
    for part in (logs.follow if follow else logs.read)(directory, attempt):
        piece(part)
        if follow:
            sys.stdout.flush()
    if follow:
        message(f"{directory.name}: {Watch().state(directory)}")
