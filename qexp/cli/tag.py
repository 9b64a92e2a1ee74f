"""qexp tag"""

from __future__ import annotations

from typing import Annotated

import typer

from qexp import api
from qexp.cli.arguments import RunsArgument
from qexp.cli.console import WorkspaceOption, print_table


def tag(
    runs: RunsArgument,
    add: Annotated[
        list[str] | None, typer.Option("--add", "-a", metavar="TAG", help="Add a tag; repeat for more.")
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", "-r", metavar="TAG", help="Remove a tag; repeat for more.")
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Add and remove tags of runs, also during training; without options, print them. See `qexp ls --tag TAG`."""
    opened = api.open_runs(runs, workspace=workspace)
    if not add and not remove:
        print_table(["name", "tags"], [[one.name, " ".join(one.record["tags"])] for one in opened])
    else:
        for one in opened:
            one.tag(*(add or []), remove=remove or [])
