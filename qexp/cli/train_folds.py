"""qexp train-folds: what a run starts to train several folds at once"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer


def train_folds(
    directory: Annotated[Path, typer.Argument(help="A run's directory.")],
    drafts: Annotated[
        Path | None, typer.Option(help="The folder in which the run's process writes its files first.")
    ] = None,
) -> None:
    """Train the batches of folds whose numbers come in, a line each."""
    from qexp.files import drafted_in
    from qexp.runs.folds.workers import work
    from qexp.runs.record.directory import RunDirectory

    run = directory.absolute()
    with drafted_in(drafts, below=run) if drafts is not None else nullcontext():
        finished = work(RunDirectory(run), sys.stdin, sys.stdout)
    if not finished:
        raise typer.Exit(130)
