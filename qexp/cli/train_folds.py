"""qexp train-folds: what a run starts to train several folds at once"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def train_folds(directory: Annotated[Path, typer.Argument(help="A run's directory.")]) -> None:
    """Train the batches of folds whose numbers come in, a line each."""
    from qexp.runs.folds.workers import work
    from qexp.runs.record.directory import RunDirectory

    if not work(RunDirectory(directory.absolute()), sys.stdin, sys.stdout):
        raise typer.Exit(130)
