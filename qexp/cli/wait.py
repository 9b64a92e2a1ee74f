"""qexp wait"""

from __future__ import annotations

from typing import Annotated

import typer

from qexp.cli.arguments import RunsArgument
from qexp.cli.console import WorkspaceOption, error, message


def wait(
    runs: RunsArgument,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="Wait no longer than this, and exit with 2.")
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Wait until runs have ended: exit with 0 if all are done, 1 if the only one is not, 4 if one of several is not."""
    from qexp.errors import DamagedError
    from qexp.runs.catalog.catalog import Catalog
    from qexp.runs.catalog.references import named_runs
    from qexp.runs.record.state import State
    from qexp.runs.state.waiting import endings
    from qexp.workspace import find

    states: list[State] = []
    damaged: list[DamagedError] = []
    for directory, state in endings(named_runs(runs, Catalog(find(workspace))), timeout):
        message(f"{directory.name}: {state.words}{', and nobody is going to start it' * (state is State.CREATED)}")
        states.append(state)
        if state is State.DAMAGED:
            try:
                directory.record()
            except DamagedError as why:
                damaged.append(why)
    if damaged and len(states) == 1:
        raise damaged[0]
    for one in damaged:
        error(str(one))
    if any(state is not State.DONE for state in states):
        raise typer.Exit(1 if len(states) == 1 else 4)
