"""Finding the files and folders of datasets."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qexp.datasets import data_files
from qexp.errors import DatasetError
from qexp.rows.table import TableError
from qexp.spec.finding import Finding
from qexp.workspace import Workspace

Document = dict[str, Any]

DATA = "QEXP_DATA"
"""Environment variable with folders that are searched for data files after the workspace's own."""


def data_folder(
    document: Document,
    workspace: Workspace | None,
    is_there: Callable[[Path], bool] = Path.is_dir,
    what: str = "folder",
) -> Path:
    """The folder of a dataset: where it was when the run was prepared, else in data/ or a folder of QEXP_DATA.

    is_there  tests a place; whether it is a folder, if left out
    what      name of the kind of file in errors
    Raises DatasetError, with the command that makes the folder if the dataset gives one.
    """
    found = Path(document.get("found", ""))
    if document.get("found") and is_there(found):
        return found
    possible = candidates(document["path"], workspace)
    for candidate in possible:
        if is_there(candidate):
            return candidate
    places = ", ".join(dict.fromkeys(map(str, [*([found] if document.get("found") else []), *possible])))
    command = document.get("made_by")
    way_out = f"make it with: {command}" if command else f"put it there, or add the folder that holds it to {DATA}"
    raise DatasetError([(("path",), f"there is no {what} '{document['path']}'; looked for {places}; {way_out}")])


def still_to_be_made(document: Document, find: Callable[[], Path]) -> list[Finding]:
    """The message for a missing folder whose dataset gives the command that makes it; empty otherwise.

    find  searches the folder, as `data_folder` does
    """
    if not document.get("made_by"):
        return []
    try:
        find()
    except DatasetError as error:
        return list(error.findings)
    return []


def candidates(path: str, workspace: Workspace | None) -> list[Path]:
    """The places where a folder may be."""
    given = Path(path)
    return [given] if given.is_absolute() else [folder / given for folder in data_folders(workspace)]


def data_folders(workspace: Workspace | None) -> list[Path]:
    """The folders that are searched for data: the workspace's own, and those of QEXP_DATA."""
    own = [workspace.root / "data"] if workspace is not None else []
    return [*own, *(Path(folder) for folder in os.environ.get(DATA, "").split(os.pathsep) if folder)]


@dataclass(frozen=True)
class DataFile:
    path: Path
    stands_in: bool
    """Whether it is the stand-in for a file that was not found."""


def data_file(document: Document, workspace: Workspace | None) -> DataFile:
    """The file of a dataset: where it was when the run was prepared, else in data/ or a folder of QEXP_DATA.

    If it is not found, its stand-in is searched, unless the run was prepared: it then needs the file that it had.
    """
    stood_in = bool(document.get("stand_in") and document.get("stood_in"))
    found = Path(document.get("found", ""))
    if found.is_file():
        return DataFile(found, stood_in)
    keys = ["stand_in"] if stood_in else ["path"] if "fingerprint" in document else ["path", "stand_in"]
    troubles = []
    for key in keys:
        if document.get(key) is None:
            continue
        try:
            return DataFile(data_files.find(document[key], data_folders(workspace)), key == "stand_in")
        except TableError as error:
            troubles.append(((key,), str(error)))
    raise DatasetError(troubles)
