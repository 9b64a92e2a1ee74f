"""qexp specs"""

from __future__ import annotations

from typing import Annotated

import typer

from qexp import api
from qexp.cli import completion
from qexp.cli.console import JsonOption, WorkspaceOption, message, print_json, print_table, warning


def specs(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="dataset|model|experience", help="A kind of spec; all if left out.", autocompletion=completion.kinds
        ),
    ] = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """List the workspace's datasets, models and experiences, with their descriptions and numbers of runs."""
    listed = api.specs(kind, workspace=workspace)
    if as_json:
        print_json(listed)
        return
    rows = [[one["kind"], one["name"], str(one["runs"]), one["description"]] for one in listed]
    if rows:
        print_table(["kind", "name", "runs", "description"], rows, right=["runs"])
    else:
        message("no specs; qexp init makes a workspace with examples")
    for one in listed:
        if one["problem"]:
            warning(one["problem"])
