"""qexp stop"""

from __future__ import annotations

from typing import Annotated

import typer

from qexp.cli import completion
from qexp.cli.console import WorkspaceOption, error, message


def stop(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN...", help="Runs: names, unique prefixes or paths.", autocompletion=completion.runs),
    ] = None,
    launch: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="All of a launch: nothing more of it starts.",
            autocompletion=completion.launches,
        ),
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Kill them; the last checkpoint remains.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Stop runs, here or on a cluster: they write a checkpoint and end as interrupted; --resume goes on with them."""
    from qexp.errors import QexpError
    from qexp.runs.catalog.catalog import Catalog
    from qexp.runs.catalog.references import named_runs
    from qexp.runs.state import launches
    from qexp.runs.state.stopping import ask_to_stop, stop_launch, wait_for_end
    from qexp.runs.state.waiting import Watch
    from qexp.workspace import find

    place = find(workspace)
    if launch is not None:
        if runs or now:
            raise QexpError("--launch stops all of a launch; name no runs and no --now beside it")
        for name, state in stop_launch(launches.find(launch, place), place.runs).items():
            message(f"{name}: {state}")
        return
    if not runs:
        raise QexpError("name the runs to stop, or a launch: --launch last")
    directories = named_runs(runs, Catalog(place))
    asked, mistakes = [], []
    for directory in directories:
        try:
            if ask_to_stop(directory, now):
                asked.append(directory)
            else:
                message(f"{directory.name} is not running: {Watch().state(directory).words}")
        except QexpError as mistake:
            mistakes.append(mistake)
    for directory in asked:
        message(f"{directory.name}: {wait_for_end(directory)}")
    if len(directories) == len(mistakes) == 1:
        raise mistakes[0]
    for one in mistakes:
        error(str(one))
    raise typer.Exit(4 if mistakes else 0)
