"""qexp init"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qexp import api
from qexp.cli.console import message


def init(
    directory: Annotated[Path, typer.Argument(help="Directory of the new workspace.")],
    bare: Annotated[bool, typer.Option("--bare", help="Without examples: empty folders for your own specs.")] = False,
) -> None:
    """Create a workspace with working examples."""
    api.init(directory, bare=bare)
    if bare:
        message(f"created a workspace; put your specs into {directory}/specs/datasets, models and experiences")
    else:
        message(
            f"created a workspace with examples; next:\n  cd {directory}\n  qexp run specs/experiences/mogi_quick.json"
        )
