"""qexp report"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qexp import api
from qexp.cli import completion
from qexp.cli.console import WorkspaceOption, message, result
from qexp.files import in_bytes


def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|PATTERN|STUDY]...",
            help="Runs: names, unique prefixes, paths, quoted patterns such as 'mogi_*', or the folder of a study; all "
            "runs if left out.",
            autocompletion=completion.runs,
        ),
    ] = None,
    launch: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The runs of a launch, or 'last'.", autocompletion=completion.launches),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="The file to write; if left out, named after the run or the comparison, in the current folder.",
        ),
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Print it to a PDF, which needs Chromium.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing file that is not an HTML report of qexp.")
    ] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Write a report: one HTML file that opens in any browser, without qexp and without a network.

    Of one run it shows the results, matrices and estimates to explore with the mouse or the keyboard, the learning
    curves, the spec, the origin, and the command that makes it again. Several runs are compared over their seeds and
    over what was swept. An earlier HTML report is replaced, another file only with --overwrite.
    """
    path = api.report(*(runs or []), launch=launch, to=to, pdf=pdf, overwrite=overwrite, workspace=workspace)
    result(str(path))
    message(f"{in_bytes(path.stat().st_size)}; open it in a browser")
