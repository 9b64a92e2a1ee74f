"""Reports of runs."""

from __future__ import annotations

import re
from pathlib import Path

from qexp import workspace as workspaces


def report(
    *runs: str,
    launch: str | None = None,
    to: str | Path | None = None,
    pdf: bool = False,
    workspace: str | Path | None = None,
) -> Path:
    """Write a report: all that is known about one run, or a comparison of several; see `qexp report`.

    runs     names, unique prefixes, paths, patterns such as "mogi_*", and folders of studies; all runs if left out
    launch   the id of a launch, or "last", whose runs are reported
    to       the file; `<run>.html` in the current folder if left out, or named after what is asked for
    pdf      print it to a PDF; implied by a name that ends in .pdf
    returns  the path of the file
    """
    from qexp.pages.chosen import chosen
    from qexp.pages.report import report as of_one
    from qexp.pages.report import report_of_several
    from qexp.runs.catalog.catalog import Catalog

    named = chosen(runs, launch, Catalog(workspaces.find(workspace)))
    title = (
        ", ".join([*(Path(one).name or one for one in runs), *([f"launch {launch}"] if launch else [])]) or "all runs"
    )
    alone = len(named) == 1
    target = Path(to) if to is not None else Path(f"{next(iter(named)).name if alone else _file_name(title)}.html")
    if pdf:
        target = target.with_suffix(".pdf")
    return of_one(next(iter(named)), target) if alone else report_of_several(title, named, target)


def _file_name(title: str) -> str:
    """A file name of letters that need no quotes in a shell."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", title).strip("-.")[:80] or "report"
