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

    from qexp.assemble import awaited_in, problems_in, warnings_in  # loads torch

    # A dataset is reported once, not again by every experience that uses it.
    awaited = dict.fromkeys(waiting for path in paths for waiting in awaited_in(path, place))
    found = {path: problems_in(path, place) for path in paths}
    problems = dict.fromkeys(problem for of_one in found.values() for problem in of_one if problem not in awaited)
    right = [path for path, of_one in found.items() if not of_one]
    doubtful = dict.fromkeys(problem for path in right for problem in warnings_in(path, place))
    for problem in [*awaited, *doubtful]:
        warning(str(problem))
    for problem in problems:
        message(str(problem))
    wrong = len({problem.file for problem in problems})
    waiting = len(paths) - len(right) - wrong
    if wrong:
        message(f"{len(paths)} specs, {wrong} with problems")
    else:
        message(f"{len(right)} specs are right" + (f", {waiting} wait for data" if waiting else ""))
    raise typer.Exit(2 if problems else 0)
