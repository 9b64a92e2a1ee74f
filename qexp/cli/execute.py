"""qexp execute: what runs, pools and schedulers start"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from qexp.cli.console import TrainingDisplay


def execute(
    directory: Annotated[Path, typer.Argument(help="A prepared run's directory.")],
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of threads; that of the machine if left out.")
    ] = None,
    wrap: Annotated[str, typer.Option(metavar="COMMAND", help="The command that starts the run's process.")] = "",
    python: Annotated[str, typer.Option(metavar="PROGRAM", help="The interpreter inside the wrap.")] = sys.executable,
    inside: Annotated[
        str | None, typer.Option(metavar="COMMAND", help="The command around this process, for the record.")
    ] = None,
) -> None:
    """Train the prepared run in a directory."""
    from qexp.runs.record.directory import RunDirectory

    run = RunDirectory(directory.absolute())
    if wrap:
        from qexp.runs.execution.wrapped import execute_wrapped
        from qexp.runs.wrap import Wrap

        # The pool kills the process group that this process leads.
        execute_wrapped(run, Wrap(wrap, python), device, threads, apart=os.getpgrp() != os.getpid())
        return
    from qexp.runs.execution.execute import execute as execute_run

    execute_run(run, device, TrainingDisplay(), threads, wrap=inside)
