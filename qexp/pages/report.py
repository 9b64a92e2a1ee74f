"""Reports: one HTML file about a run, to be read without qexp and without a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qexp import files
from qexp.errors import QexpError
from qexp.pages.document import document
from qexp.pages.run_page import run_page

if TYPE_CHECKING:
    from qexp.runs.record.directory import RunDirectory


def report(directory: RunDirectory, target: Path) -> Path:
    """Write the report of a run. Raises QexpError if the file cannot be written, or its folder does not exist."""
    if not target.parent.is_dir():
        raise QexpError(f"there is no folder {target.parent} for {target.name}")
    files.write_bytes(target, document("run.html", run_page(directory)).encode())
    return target
