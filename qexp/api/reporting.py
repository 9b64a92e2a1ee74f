"""Reports of runs."""

from __future__ import annotations

import re
from pathlib import Path

from qexp import workspace as workspaces
from qexp.api.run_handle import Runs, references_of
from qexp.errors import QexpError


def report(
    *runs: Runs,
    launch: str | None = None,
    to: str | Path | None = None,
    pdf: bool = False,
    overwrite: bool = False,
    workspace: str | Path | None = None,
) -> Path:
    """Write a report: all that is known about one run, or a comparison of several; see `qexp report`.

    runs       `Run` objects, names, unique prefixes, paths, patterns such as "mogi_*", folders of studies, and lists
               of them; all runs if left out
    launch     the id of a launch, or "last", whose runs are reported
    to         the file; `<run>.html` in the current folder if left out, or named after what is asked for
    pdf        print it to a PDF; implied by a name that ends in .pdf
    overwrite  replace a file that is not an HTML report of qexp
    returns    the path of the file
    Raises QexpError before anything is written.
    """
    from qexp.pages.chosen import chosen
    from qexp.pages.report import report as of_one
    from qexp.pages.report import report_of_several
    from qexp.runs.catalog.catalog import Catalog

    names = references_of(list(runs), workspace)
    if runs and not names:
        raise QexpError("no run is named: the list of runs is empty")
    named = chosen(names, launch, Catalog(workspaces.find(workspace)))
    title = (
        ", ".join([*(Path(one).name or one for one in names), *([f"launch {launch}"] if launch else [])]) or "all runs"
    )
    alone = len(named) == 1
    target = Path(to) if to is not None else Path(f"{next(iter(named)).name if alone else _file_name(title)}.html")
    if pdf:
        target = target.with_suffix(".pdf")
    if alone:
        return of_one(next(iter(named)), target, overwrite)
    return report_of_several(title, named, target, overwrite)


def _file_name(title: str) -> str:
    """A file name of letters that need no quotes in a shell."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", title).strip("-.")[:80] or "report"
