"""qexp wait"""

from __future__ import annotations

from typing import Annotated

import typer

from qexp import api
from qexp.cli.arguments import RunsArgument
from qexp.cli.console import WorkspaceOption, error, message
from qexp.errors import DamagedError


def wait(
    runs: RunsArgument,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="Give up after this time, and exit with 2.")
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Wait until runs have ended; exit with 0 if all are done, 1 if a single run failed, 4 if one of several did."""
    from qexp.runs.record.state import State

    states: list[State] = []
    damaged: list[DamagedError] = []
    for one, state in api.wait(runs, timeout, workspace=workspace):
        message(f"{one.name}: {state.words}{', and no process will start it' * (state is State.CREATED)}")
        states.append(state)
        if state is State.DAMAGED:
            try:
                one.directory.record()
            except DamagedError as why:
                damaged.append(why)
    if damaged and len(states) == 1:
        raise damaged[0]
    for damage in damaged:
        error(str(damage))
    if any(state is not State.DONE for state in states):
        raise typer.Exit(1 if len(states) == 1 else 4)
