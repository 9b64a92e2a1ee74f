"""qexp note"""

from __future__ import annotations

from typing import Annotated

import typer

from qexp import api
from qexp.cli.arguments import RunArgument
from qexp.cli.console import WorkspaceOption, result


def note(
    run: RunArgument,
    text: Annotated[
        str | None, typer.Argument(help="The new note; '' deletes it. The note is printed if left out.")
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Write a note on a run, also while it is training; without a text, print it."""
    written = api.open_run(run, workspace=workspace).note(text)
    if text is None and written:
        result(written)
