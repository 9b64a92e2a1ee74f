"""qexp figures"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qexp.cli.arguments import RunsArgument
from qexp.cli.console import WorkspaceOption, error, result, warning


def figures(
    runs: RunsArgument,
    formats: Annotated[
        list[str] | None, typer.Option("--format", metavar="png|pdf|svg", help="Repeat for more; png if left out.")
    ] = None,
    style: Annotated[
        Path | None, typer.Option(metavar="FILE.mplstyle", help="A matplotlib style file: fonts, sizes, lines.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Draw this figure; repeat for more. All if left out.")
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Draw the figures of finished runs again, from the numbers in their directories."""
    from qexp.errors import QexpError
    from qexp.runs.catalog.catalog import Catalog
    from qexp.runs.catalog.references import named_runs
    from qexp.runs.figures import draw
    from qexp.workspace import find

    place = find(workspace)
    directories = named_runs(runs, Catalog(place))
    failures = []
    for directory in directories:
        try:
            for path in draw(directory, formats or ("png",), style, only or (), left_out=warning):
                result(place.shown(path))
        except QexpError as failure:
            failures.append(failure)
    for text in dict.fromkeys(map(str, failures)):
        error(text)
    if failures:
        raise typer.Exit(4 if len(failures) < len(directories) else failures[0].exit_code)
