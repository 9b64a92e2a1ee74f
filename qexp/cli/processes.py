"""What runs, pools and schedulers start: qexp execute, supervise, train-folds"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path

import typer

from qexp.base.options import argument, option
from qexp.cli.console import WORKSPACE


def execute(
    directories: list[Path] = argument(
        ..., "A prepared run's directory, or those of a stack.", "DIRECTORY...", shell=list[Path]
    ),
    device: str = option("auto", "auto, cpu or cuda."),
    threads: int | None = option(
        None, "Maximum number of threads; that of the machine if left out.", least=1
    ),
    wrap: str = option("", "The command that starts the run's process.", "COMMAND"),
    python: str = option(sys.executable, "The interpreter inside the wrap.", "PROGRAM"),
    inside: str | None = option(
        None, "The command around this process, for the record.", "COMMAND"
    ),
) -> None:
    """Train the prepared run in a directory, or those of a stack side by side."""
    from qexp.store.directory import RunDirectory

    runs = [RunDirectory(directory.absolute()) for directory in directories]
    if len(runs) > 1:
        from qexp.errors import QexpError
        from qexp.runs.execute import execute_stack

        if wrap:
            raise QexpError(
                "these runs share a stack, which a wrap cannot start; start them with --option"
                " wrap="
            )
        execute_stack(runs, device, None, threads, inside)
        return
    (run,) = runs
    if wrap:
        from qexp.jobs.scheduler import Wrap
        from qexp.runs.execute import execute_wrapped

        # The pool kills the process group that this process leads.
        execute_wrapped(
            run,
            Wrap(wrap, python),
            device,
            threads,
            apart=os.getpgrp() != os.getpid(),
        )
        return
    from qexp.api.progress import TrainingDisplay
    from qexp.runs.execute import execute as execute_run

    execute_run(run, device, TrainingDisplay(), threads, wrap=inside)


# qexp supervise: the pool of a launch that was detached


def supervise(
    launch: str = argument(..., "A launch: its id, or last."), workspace: str | None = WORKSPACE
) -> None:
    """Run the prepared runs of a launch."""
    from qexp.api.progress import PoolDisplay
    from qexp.base.workspace import find
    from qexp.jobs import launchers
    from qexp.runs.launch import run_here, work_off

    home = find(workspace)
    detached = launchers.find_launch(launch, home)
    if detached.record().queue:
        work_off(detached, PoolDisplay)
    else:
        run_here(detached, detached.directories, PoolDisplay())


# qexp train-folds: what a run starts to train several folds at once


def train_folds(
    directory: Path = argument(..., "A run's directory."),
    drafts: Path | None = option(
        None, "The folder in which the run's process writes its files first."
    ),
) -> None:
    """Train the batches of folds whose numbers come in, a line each."""
    from qexp.base.files import drafted_in
    from qexp.base.machine import freed_memory_kept
    from qexp.spec.kinds import load_stage
    from qexp.store.directory import RunDirectory

    run = RunDirectory(directory.absolute())
    work = load_stage(run.spec()["dataset"], "folds").work
    with (
        freed_memory_kept(),
        drafted_in(drafts, run.path) if drafts is not None else nullcontext(),
    ):
        finished = work(run, sys.stdin, sys.stdout)
    if not finished:
        raise typer.Exit(130)


def has_the_run() -> bool:
    """Whether this process does what the command line says; others only computed gradients."""
    from qexp.runs.execute import is_first

    return is_first()
