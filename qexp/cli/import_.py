"""qexp import"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qexp import api
from qexp.cli.console import WorkspaceOption, message, warning
from qexp.workspace import find


def import_(
    file: Annotated[Path, typer.Argument(help="An archive that `qexp export` wrote.")],
    name: Annotated[str | None, typer.Option(help="New name of the run; its own if left out.")] = None,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Allow commands to execute the run's code, code/extensions.py.")
    ] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Import the run of an archive; the whole archive is checked before anything is written."""
    place = find(workspace)
    run = api.import_run(file, name=name, trust_code=trust_code, workspace=workspace)
    message(f"{run.name} is in {place.shown(run.path)}")
    if run.own_code:
        if trust_code:
            warning(f"the run contains code, which commands execute from now on: {run.own_code}")
        else:
            warning(f"the run contains code, which is not executed without --trust-code: {run.own_code}")
