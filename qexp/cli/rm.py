"""qexp rm"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from qexp import api
from qexp.cli.arguments import RunsArgument
from qexp.cli.console import WorkspaceOption, message


def rm(
    runs: RunsArgument,
    stop_them: Annotated[bool, typer.Option("--stop", help="Stop running ones first.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Move runs to the trash, from which `qexp restore` brings them back."""
    for entry in api.remove(runs, stop=stop_them, confirm=None if yes else _confirm, workspace=workspace):
        message(f"{entry.name} is in the trash; restore it with: qexp restore {entry.name}")


def _confirm(names: Sequence[str]) -> None:
    if len(names) > 1 and sys.stdin.isatty():
        listed = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        ask(f"move {len(names)} runs to the trash: {listed}?")


def ask(question: str) -> None:
    """Ask for confirmation on the terminal; without it the command ends."""
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        message("nothing was changed")
        raise typer.Exit(130)
