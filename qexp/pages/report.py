"""Reports: one HTML file about a run, to be read without qexp and without a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp import files
from qexp.errors import QexpError
from qexp.pages.document import document
from qexp.pages.run_page import run_page
from qexp.runs.catalog.catalog import Catalog
from qexp.workspace import Workspace

if TYPE_CHECKING:
    from qexp.runs.record.directory import RunDirectory


def report(directory: RunDirectory, target: Path) -> Path:
    """Write the report of a run. Raises QexpError if the file cannot be written, or its folder does not exist."""
    _require_folder(target)
    files.write_bytes(target, document("run.html", run_page(directory, _others(directory))).encode())
    return target


def _require_folder(target: Path) -> None:
    if not target.parent.is_dir():
        raise QexpError(f"there is no folder {target.parent} for {target.name}")


def _others(directory: RunDirectory) -> list[dict[str, Any]]:
    """Summaries of all runs of the workspace in which a run lies; none for a run elsewhere, such as a fold."""
    place = Workspace(directory.path.parent.parent)
    return Catalog(place).runs() if directory.path.parent == place.runs and place.specs.is_dir() else []
