"""qexp import"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qexp.cli.console import WorkspaceOption, message, warning


def import_(
    file: Annotated[Path, typer.Argument(help="An archive that `qexp export` wrote.")],
    name: Annotated[str | None, typer.Option(help="What the run is called here; as it was if left out.")] = None,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Let commands execute the code that it brings, its extensions.py.")
    ] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Take in the run of an archive, after all of it was checked."""
    from qexp.runs.record import trust
    from qexp.runs.upkeep.unpacking import unpack
    from qexp.workspace import find

    place = find(workspace)
    directory = unpack(file, place, name, trust_code=trust_code)
    message(f"{directory.name} is in {place.shown(directory.path)}")
    if directory.extensions.exists():
        code = f"{place.shown(directory.extensions)} ({trust.summary(directory.extensions)})"
        if trust_code:
            warning(f"it has code of its own, which commands execute from now on: {code}")
        else:
            warning(f"it has code of its own, which is not executed unless a command is given --trust-code: {code}")
