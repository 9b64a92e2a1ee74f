"""qexp figures"""

from __future__ import annotations

from typing import Annotated

import typer

from qexp import api
from qexp.cli import completion
from qexp.cli.arguments import EvaluationOption, FormatsOption, RunsArgument, StyleOption
from qexp.cli.console import WorkspaceOption, error, result, warning
from qexp.errors import QexpError
from qexp.workspace import find


def figures(
    runs: RunsArgument,
    formats: FormatsOption = None,
    style: StyleOption = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Draw only the figure with this name; repeat for more.",
            autocompletion=completion.figures,
        ),
    ] = None,
    evaluation: EvaluationOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Draw the figures of finished runs again, from the numbers in their directories."""
    place = find(workspace)
    opened = api.open_runs(runs, workspace=workspace)
    failures = []
    for one in opened:
        try:
            for path in one.figures(
                formats or ("png",), style=style, only=only or (), evaluation=evaluation, warn=warning
            ):
                result(place.shown(path))
        except QexpError as failure:
            failures.append(failure)
    for text in dict.fromkeys(map(str, failures)):
        error(text)
    if failures:
        raise typer.Exit(4 if len(failures) < len(opened) else failures[0].exit_code)
