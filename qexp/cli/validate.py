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

    from qexp.assemble import awaited_in, datasets_of, examined  # loads torch

    # A dataset is reported once, not again by every experience that uses it.
    awaited = dict.fromkeys(waiting for path in paths for waiting in awaited_in(path, place))
    datasets = datasets_of(place)
    found = {path: examined(path, datasets) for path in paths}
    problems = dict.fromkeys(one for of_spec in found.values() for one in of_spec.problems if one not in awaited)
    right = [path for path, of_spec in found.items() if not of_spec.problems]
    doubtful = dict.fromkeys(one for path in right for one in found[path].warnings)
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
