"""qexp wait"""

from __future__ import annotations

from typing import Annotated

import typer

from qexp.cli.arguments import RunsArgument
from qexp.cli.console import WorkspaceOption, message


def wait(
    runs: RunsArgument,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="Wait no longer than this, and exit with 2.")
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Wait until runs have ended: exit with 0 if all are done, 1 if the only one is not, 4 if one of several is not."""
    from qexp.runs.catalog.catalog import Catalog
    from qexp.runs.catalog.references import chosen
    from qexp.runs.state.waiting import endings
    from qexp.workspace import find

    states = []
    for directory, state in endings(chosen(runs, Catalog(find(workspace))), timeout):
        message(f"{directory.name}: {state}{', and nobody is going to start it' if state == 'created' else ''}")
        states.append(state)
    if any(state != "done" for state in states):
        raise typer.Exit(1 if len(states) == 1 else 4)
