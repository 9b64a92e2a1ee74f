"""qexp export"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qexp.cli.arguments import RunArgument
from qexp.cli.console import WorkspaceOption, in_bytes, message


def export(
    run: RunArgument,
    to: Annotated[Path, typer.Option(metavar="FILE", help="A new file: .tar.zst, .tar.gz or .tar.")],
    workspace: WorkspaceOption = None,
) -> None:
    """Write a run, with hashes of all its files, to an archive that `import` takes in."""
    from qexp.runs import archive
    from qexp.runs.catalog import Catalog
    from qexp.workspace import find

    directory = Catalog(find(workspace)).find(run)
    size = archive.export(directory, to)
    message(f"{directory.name} is in {to}, {in_bytes(size)}")
