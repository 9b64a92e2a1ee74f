"""qexp init"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qexp.cli.console import message
from qexp.workspace import PACKAGE

IGNORED = "/runs/\n/comparisons/\n/data/\n__pycache__/\n"


STAND_INS = "*/stand_in_*.csv"
"""The data that are shipped: made up, so that every example runs. Others that lie beside them are not."""


def init(directory: Annotated[Path, typer.Argument(help="Where the workspace is made.")]) -> None:
    """Make a workspace with working examples."""
    import shutil

    from qexp.errors import QexpError

    if (directory / "specs").exists():
        raise QexpError(f"{directory} has a folder specs/ already; it is a workspace")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        shutil.copytree(_examples(), directory / "specs", ignore=shutil.ignore_patterns("__pycache__"))
        for file in sorted(_example_data().glob(STAND_INS)):
            copy = directory / "data" / file.relative_to(_example_data())
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        if not (directory / ".gitignore").exists():
            (directory / ".gitignore").write_text(IGNORED)
    except OSError as error:
        raise QexpError(f"cannot write to {directory}: {error.strerror or error}") from error
    message(f"a workspace with examples; go on with:\n  cd {directory}\n  qexp run specs/experiences/mogi_quick.json")


def _examples() -> Path:
    """The shipped specs: inside an installed package, at the root of a checkout."""
    installed = PACKAGE / "examples"
    return installed if installed.is_dir() else PACKAGE.parent / "specs"


def _example_data() -> Path:
    installed = PACKAGE / "example_data"
    return installed if installed.is_dir() else PACKAGE.parent / "data"
