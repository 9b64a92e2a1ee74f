"""Reports: one HTML file about a run, or about several, to be read without qexp and without a network."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp import files
from qexp.errors import QexpError, some
from qexp.pages.chosen import Named, readable
from qexp.pages.comparison_page import comparison_page
from qexp.pages.document import document
from qexp.pages.printing import browser, print_page
from qexp.pages.run_page import run_page
from qexp.runs.catalog.catalog import Catalog
from qexp.runs.record import nesting
from qexp.workspace import Workspace

if TYPE_CHECKING:
    from qexp.runs.record.directory import RunDirectory

SHOWN = 4
"""Runs that an error names."""


FORMATS = (".html", ".htm", ".pdf")
"""Endings of the file of a report."""

OURS = b'<meta name="generator" content="qexp">'
"""In the first `BEGINNING` bytes of each HTML report."""

BEGINNING = 400


def report(directory: RunDirectory, target: Path, overwrite: bool = False) -> Path:
    """Write the report of a run.

    overwrite  replace a file that is not an HTML report of qexp
    Raises QexpError if the file cannot be written, must not be replaced, or its folder does not exist.
    """
    return _written(lambda: document("run.html", run_page(directory, _others(directory))), target, overwrite)


def report_of_several(title: str, named: Named, target: Path, overwrite: bool = False) -> Path:
    """Write the report of several runs, which compares them. Raises QexpError, as `report` does."""

    def page() -> str:
        runs, missing = readable(named)
        if not runs:
            raise QexpError(f"{title}: none of its runs can be read: {some(missing, SHOWN)}")
        return document("comparison.html", comparison_page(title, runs, missing))

    return _written(page, target, overwrite)


def _written(page: Callable[[], str], target: Path, overwrite: bool) -> Path:
    """Write a page as HTML, or as PDF to a file that is named so."""
    nesting.target(target)
    if target.suffix.lower() not in FORMATS:
        raise QexpError(f"{target}: a report is HTML or PDF; let its name end in {', '.join(FORMATS[:-1])} or .pdf")
    if not target.parent.is_dir():
        raise QexpError(f"there is no folder {target.parent} for {target.name}")
    if os.path.lexists(target) and not (overwrite or _is_report(target)):
        raise QexpError(f"{target} exists already and is not an HTML report of qexp; --overwrite replaces it")
    if target.suffix.lower() == ".pdf":
        program = browser()
        print_page(program, page(), target)
    else:
        files.write_bytes(target, page().encode())
    return target


def _is_report(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return OURS in file.read(BEGINNING)
    except OSError:
        return False


def _others(directory: RunDirectory) -> list[dict[str, Any]]:
    """Summaries of all runs of the workspace in which a run lies; none for a run elsewhere, such as a fold."""
    place = Workspace(directory.path.parent.parent)
    return Catalog(place).runs() if directory.path.parent == place.runs and place.specs.is_dir() else []
