"""What the paths of requests name: runs, launches, studies and files, all of them inside the workspace."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from qexp.errors import NotFoundError
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.names import NAME
from qexp.runs.state import launches
from qexp.runs.state.launches import Launch
from qexp.workspace import Workspace

STUDIES, STUDY_TABLE = "studies", "study.csv"
"""Folder of the workspace, and the file of each study there."""

FOLDER = re.compile(r"[\w][\w.+,=@-]{0,199}")
"""Names of folders that a path of a request can have: one step, and none that begins with a dot."""


def run(workspace: Workspace, name: str) -> RunDirectory:
    """A run by its full name. Raises NotFoundError, also for a run with links to files outside of it."""
    directory = RunDirectory(workspace.runs / name)
    if not NAME.fullmatch(name) or not directory.holds_record:
        raise NotFoundError(f"no run {name!r}")
    _require_no_way_out(directory.path)
    return directory


def fold(workspace: Workspace, name: str, of: str) -> RunDirectory:
    whole = run(workspace, of)
    found = {one.name: one for one in whole.all_folds()}
    if name not in found:
        raise NotFoundError(f"{of} has no fold {name!r}")
    return found[name]


def launch(workspace: Workspace, name: str) -> Launch:
    found = {one.id: one for one in launches.all_of(workspace)}
    if name not in found:
        raise NotFoundError(f"no launch {name!r}")
    return found[name]


def studies(workspace: Workspace) -> list[Path]:
    """The folders of studies, by name."""
    return sorted(path.parent for path in (workspace.root / STUDIES).glob(f"*/{STUDY_TABLE}"))


def study(workspace: Workspace, name: str) -> Path:
    found = {path.name: path for path in studies(workspace)}
    if name not in found:
        raise NotFoundError(f"no study {name!r} in {STUDIES}/")
    inside(found[name], STUDY_TABLE)
    return found[name]


def inside(folder: Path, relative: str) -> Path:
    """A file below a folder; links on the way may not lead out of it. Raises NotFoundError."""
    steps = relative.split("/")
    if not all(FOLDER.fullmatch(step) for step in steps):
        raise NotFoundError("no such file")
    try:
        root, found = folder.resolve(strict=True), folder.joinpath(*steps).resolve(strict=True)
        if not (found.is_relative_to(root) and found.is_file()):
            raise NotFoundError("no such file")
    except (OSError, ValueError, RuntimeError):  # too long, in a circle, or not to be read
        raise NotFoundError("no such file") from None
    return found


def _require_no_way_out(folder: Path) -> None:
    """A run may be a link to another disk, but what is in it may not lead elsewhere: its texts would be shown."""
    root = os.path.realpath(folder)
    for link in _links(root):
        if not os.path.realpath(link).startswith(f"{root}{os.sep}"):
            raise NotFoundError(f"{os.path.relpath(link, root)} is a link to something outside this run: not shown")


def _links(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink():
                    yield entry.path
                elif entry.is_dir(follow_symlinks=False):
                    yield from _links(entry.path)
    except (FileNotFoundError, NotADirectoryError):
        return  # removed in the meantime
