"""qexp import"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qexp.cli.console import WorkspaceOption, message, warning


def import_(
    file: Annotated[Path, typer.Argument(help="An archive that `qexp export` wrote.")],
    name: Annotated[str | None, typer.Option(help="What the run is called here; as it was if left out.")] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Take in the run of an archive, after all of it was checked."""
    from qexp.runs.upkeep import archive
    from qexp.workspace import find

    place = find(workspace)
    directory = archive.unpack(file, place, name)
    message(f"{directory.name} is in {place.shown(directory.path)}")
    if directory.extensions.exists():
        warning(f"it brings code of its own, which predict and matrix execute: {place.shown(directory.extensions)}")
