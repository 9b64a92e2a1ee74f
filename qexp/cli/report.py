"""qexp report"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qexp import api
from qexp.cli.arguments import RunArgument
from qexp.cli.console import WorkspaceOption, message, result
from qexp.files import in_bytes


def report(
    run: RunArgument,
    to: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="The file; RUN.html in the current folder if left out.")
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Write a report of a run: one HTML file that opens in any browser, without qexp and without a network.

    It shows the results, matrices and estimates to explore with the mouse or the keyboard, the learning curves, the
    spec, the origin of the run, and the command that makes it again. An existing file is replaced.
    """
    opened = api.open_run(run, workspace=workspace)
    path = opened.report(to)
    result(str(path))
    message(f"{in_bytes(path.stat().st_size)}; open it in a browser")
