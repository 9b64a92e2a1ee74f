"""qexp supervise: the pool of a launch that was detached"""

from __future__ import annotations

from typing import Annotated

import typer

from qexp.cli.console import WorkspaceOption
from qexp.cli.pool_display import PoolDisplay


def supervise(
    launch: Annotated[str, typer.Argument(help="A launch: its id, or last.")], workspace: WorkspaceOption = None
) -> None:
    """Run the prepared runs of a launch."""
    from qexp.runs.launch import sweep
    from qexp.runs.record.state import State
    from qexp.runs.state import launches
    from qexp.workspace import find

    place = find(workspace)
    states = sweep.supervise(launches.find(launch, place), place, PoolDisplay())
    if set(states.values()) != {State.DONE}:
        raise typer.Exit(4)
