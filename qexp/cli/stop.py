"""qexp stop"""

from __future__ import annotations

from typing import Annotated

import typer

from qexp.cli.arguments import RunsArgument
from qexp.cli.console import WorkspaceOption, error, message


def stop(
    runs: RunsArgument,
    now: Annotated[bool, typer.Option("--now", help="Kill them; the last checkpoint remains.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Stop runs, here or on Slurm: they write a checkpoint and end as interrupted; --resume goes on with them."""
    from qexp.errors import QexpError
    from qexp.runs.catalog import Catalog
    from qexp.runs.stopping import ask_to_stop, wait_for_end
    from qexp.runs.waiting import Watch
    from qexp.workspace import find

    catalog = Catalog(find(workspace))
    directories = [catalog.find(run) for run in runs]
    asked, mistakes = [], []
    for directory in directories:
        try:
            if ask_to_stop(directory, now):
                asked.append(directory)
            else:
                message(f"{directory.name} is not running: {Watch().state(directory)}")
        except QexpError as mistake:
            mistakes.append(mistake)
    for directory in asked:
        message(f"{directory.name}: {wait_for_end(directory)}")
    if len(directories) == len(mistakes) == 1:
        raise mistakes[0]
    for one in mistakes:
        error(str(one))
    raise typer.Exit(4 if mistakes else 0)
