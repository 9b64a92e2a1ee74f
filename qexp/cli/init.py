"""qexp init"""

from __future__ import annotations

from collections.abc import Iterable
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
    import tempfile

    from qexp.errors import QexpError

    if (directory / "specs").exists():
        raise QexpError(f"{directory} has a folder specs/ already; it is a workspace")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".specs-", dir=directory))
        try:
            draft.chmod(0o755)
            _copy((file for file in _examples().rglob("*") if "__pycache__" not in file.parts), _examples(), draft)
            _copy(_example_data().glob(STAND_INS), _example_data(), directory / "data")
            if not (directory / ".gitignore").exists():
                (directory / ".gitignore").write_text(IGNORED)
            draft.rename(directory / "specs")  # which makes it a workspace
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    except OSError as error:
        raise QexpError(f"cannot write to {directory}: {error.strerror or error}") from error
    message(f"a workspace with examples; go on with:\n  cd {directory}\n  qexp run specs/experiences/mogi_quick.json")


def _copy(found: Iterable[Path], source: Path, target: Path) -> None:
    """Copy files to the same places below another folder, each whole or not at all."""
    import shutil

    for file in sorted(found):
        if file.is_file():
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(file, copy)
            except BaseException:
                copy.unlink(missing_ok=True)
                raise


def _examples() -> Path:
    """The shipped specs: inside an installed package, at the root of a checkout."""
    installed = PACKAGE / "examples"
    return installed if installed.is_dir() else PACKAGE.parent / "specs"


def _example_data() -> Path:
    installed = PACKAGE / "example_data"
    return installed if installed.is_dir() else PACKAGE.parent / "data"
