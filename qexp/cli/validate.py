"""qexp validate"""

from __future__ import annotations

import typer

from qexp import api
from qexp.cli.arguments import SpecFilesArgument
from qexp.cli.console import WorkspaceOption, message, warning


def validate(files: SpecFilesArgument = None, workspace: WorkspaceOption = None) -> None:
    """Check spec files for everything that can be checked without training; exit with 2 if there are problems."""
    found = api.validate(files, workspace=workspace)
    for problem in found.warnings:
        warning(str(problem))
    for problem in found.problems:
        message(str(problem))
    if found.wrong:
        message(f"{len(found.files)} specs, {found.wrong} with problems")
    else:
        message(f"{found.right} specs are right" + (f", {found.waiting} wait for data" if found.waiting else ""))
    raise typer.Exit(2 if found.problems else 0)
