"""qexp stop"""

from __future__ import annotations

from typing import Annotated

import typer

from qexp import api
from qexp.cli import completion
from qexp.cli.console import WorkspaceOption, error, message
from qexp.errors import QexpError


def stop(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN...", help="Runs: names, unique prefixes or paths.", autocompletion=completion.runs),
    ] = None,
    launch: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Stop all runs of a launch, and start no more of them; 'last' for the newest.",
            autocompletion=completion.launches,
        ),
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Kill them at once; the last checkpoint remains.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Stop runs, here or on a cluster: they write a checkpoint and end as interrupted; `run --resume` continues."""
    if launch is not None:
        if runs or now:
            raise QexpError("--launch stops all runs of a launch; leave out run names and --now")
        for name, state in api.stop_launch(launch, workspace=workspace).items():
            message(f"{name}: {state}")
        return
    if not runs:
        raise QexpError("name the runs to stop, or a launch: --launch last")
    failed, count = [], 0
    for one in api.stop(runs, now=now, workspace=workspace):
        count += 1
        if one.error is not None:
            failed.append(one.error)
        elif one.state is not None:
            message(
                f"{one.run.name}: {one.state}"
                if one.was_running
                else f"{one.run.name} is not running: {one.state.words}"
            )
    if count == len(failed) == 1:
        raise failed[0]
    for mistake in failed:
        error(str(mistake))
    raise typer.Exit(4 if failed else 0)
