"""qexp validate"""

from __future__ import annotations

import typer

from qexp.cli.arguments import SpecFilesArgument
from qexp.cli.console import WorkspaceOption, message, warning


def validate(files: SpecFilesArgument = None, workspace: WorkspaceOption = None) -> None:
    """Check spec files: everything that can be checked without training."""
    from qexp.errors import NotFoundError
    from qexp.workspace import find

    place = find(workspace)
    paths = files or sorted(
        path for kind in ("datasets", "models", "experiences") for path in (place.specs / kind).glob("*.json")
    )
    if not paths:
        raise NotFoundError(f"no specs in {place.specs}")

    from qexp.assemble import problems_in, warnings_in  # loads torch

    # A dataset is reported once, not again by every experience that uses it.
    of_each = {path: problems_in(path, place) for path in paths}
    problems = dict.fromkeys(problem for found in of_each.values() for problem in found)
    right = [path for path, found in of_each.items() if not found]
    for doubtful in dict.fromkeys(doubtful for path in right for doubtful in warnings_in(path, place)):
        warning(str(doubtful))
    for problem in problems:
        message(str(problem))
    wrong = len({problem.file for problem in problems})
    message(f"{len(paths)} specs, {wrong} with problems" if wrong else f"{len(paths)} specs are right")
    raise typer.Exit(2 if problems else 0)
