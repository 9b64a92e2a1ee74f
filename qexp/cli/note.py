"""qexp note"""

from __future__ import annotations

from typing import Annotated

import typer

from qexp.cli.arguments import RunArgument
from qexp.cli.console import WorkspaceOption, result


def note(
    run: RunArgument,
    text: Annotated[str | None, typer.Argument(help="The new note; '' takes it away.")] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Write a note on a run, also while it runs; without a text, print it."""
    from qexp.runs.catalog.catalog import Catalog
    from qexp.runs.record.tagging import annotate
    from qexp.workspace import find

    directory = Catalog(find(workspace)).find(run)
    if text is not None:
        annotate(directory.path, text)
    elif said := directory.record().note:
        result(said)
