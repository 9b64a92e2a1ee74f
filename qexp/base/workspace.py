"""The workspace: the directory that holds `specs/`, `runs/` and `data/`."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qexp.base.files import make_folder
from qexp.errors import NotFoundError, QexpError

VARIABLE = "QEXP_WORKSPACE"

PACKAGE = Path(__file__).parents[1]
"""The folder of qexp's own source."""


@dataclass(frozen=True)
class Workspace:
    """The directory that holds `specs/`, `runs/` and `data/`."""

    root: Path
    own_extensions: Path | None = None
    """A file that is read instead of `specs/extensions.py`: the copy in a run that is repeated."""

    @property
    def specs(self) -> Path:
        return self.root / "specs"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def extensions(self) -> Path:
        """The user's own table entries."""
        return self.specs / "extensions.py" if self.own_extensions is None else self.own_extensions

    def settings(self) -> dict[str, Any]:
        """The content of `qexp.toml`, empty without one. Raises QexpError if it cannot be read."""
        path = self.root / "qexp.toml"
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise QexpError(f"{self.shown(path)} cannot be read: {error}") from None

    def shown(self, path: Path) -> str:
        """A path for messages: relative to the current directory if below that, else absolute."""
        try:
            return str(path.absolute().relative_to(Path.cwd()))
        except ValueError:
            return str(path)


def find(root: str | Path | None = None, *, create: bool = False) -> Workspace:
    """The workspace at a root, else at `QEXP_WORKSPACE`, else the nearest directory upwards that
    holds `specs/`.

    create  make the current folder one if neither names one, and there is none
    """
    name = root or os.environ.get(VARIABLE)
    if name:
        folder = Path(name).absolute()
        if not (folder / "specs").is_dir():
            raise NotFoundError(
                f"{folder} is not a workspace: it has no folder specs/; make one with: qexp init"
                f" {name}"
            )
        return Workspace(folder)
    here = Path.cwd()
    for directory in (here, *here.parents):
        if (directory / "specs").is_dir():
            return Workspace(directory)
    if create:
        make_folder(here / "specs")
        return Workspace(here)
    raise NotFoundError(
        f"no workspace: neither {here} nor a directory above it holds specs/; make one with: qexp"
        " init DIR"
    )
