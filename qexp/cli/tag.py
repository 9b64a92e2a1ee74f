"""qexp tag"""

from __future__ import annotations

from typing import Annotated

import typer

from qexp.cli.arguments import RunsArgument
from qexp.cli.console import WorkspaceOption, print_table


def tag(
    runs: RunsArgument,
    add: Annotated[list[str] | None, typer.Option("--add", "-a", metavar="TAG", help="Add a tag.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", "-r", metavar="TAG", help="Take a tag away.")] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Add and remove tags of runs, also while they run; without options, print them. See `qexp ls --tag TAG`."""
    from qexp.runs.catalog.catalog import Catalog
    from qexp.runs.catalog.references import named_runs
    from qexp.runs.record.tagging import retag
    from qexp.workspace import find

    directories = named_runs(runs, Catalog(find(workspace)))
    if not add and not remove:
        print_table(["name", "tags"], [[one.name, " ".join(one.record().tags)] for one in directories])
    else:
        for directory in directories:
            retag(directory.path, add or [], remove or [])
