"""qexp execute: what runs, pools and schedulers start"""

from __future__ import annotations

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
) -> None:
    """Train the prepared run in a directory."""
    from qexp.runs.execution.execute import execute as execute_run
    from qexp.runs.record.directory import RunDirectory

    execute_run(RunDirectory(directory.absolute()), device, TrainingDisplay(), threads)
