"""qexp rm"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from qexp.cli.arguments import RunsArgument
from qexp.cli.console import WorkspaceOption, message


def rm(
    runs: RunsArgument,
    stop_them: Annotated[bool, typer.Option("--stop", help="Stop those that are running first.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Move runs to the trash, from where `restore` brings them back."""
    from qexp.runs.state.stopping import ask_to_stop, wait_for_end
    from qexp.runs.upkeep import trash
    from qexp.workspace import find

    place = find(workspace)
    directories = trash.runs_to_remove(runs, place)
    names = ", ".join(directory.name for directory in directories[:8]) + (", …" if len(directories) > 8 else "")
    if len(directories) > 1 and sys.stdin.isatty() and not yes:
        ask(f"move {len(directories)} runs to the trash: {names}?")
    if stop_them:
        # What cannot be stopped is refused below.
        for directory in [one for one in trash.in_use(directories) if ask_to_stop(one)]:
            wait_for_end(directory)
    for entry in trash.discard(directories, place):
        message(f"{entry.name} is in the trash; bring it back with: qexp restore {entry.name}")


def ask(question: str) -> None:
    """End the command unless whoever sits at the terminal agrees."""
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        message("nothing was done")
        raise typer.Exit(130)
