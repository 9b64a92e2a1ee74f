"""qexp logs"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from qexp import api
from qexp.cli.arguments import RunArgument
from qexp.cli.console import WorkspaceOption, message, piece


def logs(
    run: RunArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new lines until the run ends.")] = False,
    attempt: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Number of the attempt; the last one if left out.")
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Print the log of a run."""
    opened = api.open_run(run, workspace=workspace)
    for part in opened.log_pieces(attempt, follow=follow):
        piece(part)
        if follow:
            sys.stdout.flush()
    if follow:
        message(f"{opened.name}: {opened.state}")
