"""Training the networks of a run's folds, and judging all held-out rows together.

Folds are trained side by side, in batches that depend on the spec alone: so a run that was interrupted comes to the
same bits, whichever folds were done by then.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from qexp import files
from qexp.assemble.folds import Folds, folds_of
from qexp.datasets.splits import Fold
from qexp.errors import QexpError
from qexp.files import write_lines
from qexp.models.network import operations_per_sample
from qexp.runs.display import Display
from qexp.runs.evaluation import rows
from qexp.runs.folds.batches import STACKS, batches_of, epochs_of, tasks_of_first, train_batch
from qexp.runs.folds.directories import done, mean_lines, median_epoch, open_fold
from qexp.runs.folds.progress import DisplayedSteps
from qexp.runs.folds.workers import train_in_processes
from qexp.runs.record.directory import RunDirectory
from qexp.tables import Tables

log = logging.getLogger("qexp.run")

OPERATIONS_PER_SECOND, SECONDS_PER_STEP = 5e10, 2e-5
"""What a core does, and what a network's step takes besides."""

WORTH_A_PROCESS = 12.0
"""Seconds on one core, of which others save more than their start takes."""


def train_folds(
    directory: RunDirectory,
    record: dict[str, Any],
    spec: dict[str, Any],
    tables: Tables,
    device: torch.device,
    display: Display,
    interrupted: Callable[[], bool],
    processes: int,
) -> bool:
    """From the first fold that is not done to results; False if interrupted. Raises QexpError if folds failed.

    processes  at most so many, each on one core
    """
    plan = folds_of(spec, tables, record["seed"], device)
    for text in plan.dataset.warnings:
        log.warning("%s", text)
    before = open_folds(directory, record, plan)
    batches = batches_of(plan)
    todo = [number for number, batch in enumerate(batches) if not before.issuperset(fold.name for fold in batch)]
    count = _Count(directory, record, batches, before)
    progress = DisplayedSteps(display)
    progress.skip(epochs_of(plan) * (len(batches) - len(todo)))
    started, seconds_before = time.perf_counter(), record["seconds"]
    display.start(record["name"], epochs_of(plan) * len(batches), 0)
    try:
        if device.type == "cpu" and min(processes, len(todo)) > 1 and _seconds(plan, batches, todo) > WORTH_A_PROCESS:
            finished = train_in_processes(
                directory, todo, min(processes, len(todo)), progress, count.batch_done, interrupted
            )
        else:
            finished = True
            for number in todo:
                failures = train_batch(directory, plan, batches, number, progress, interrupted)
                if failures is None:
                    finished = False
                    break
                count.batch_done(number, failures)
    finally:
        display.stop()
        record["seconds"] = round(seconds_before + time.perf_counter() - started, 3)
    if not finished:
        return False
    shutil.rmtree(directory.folds / STACKS, ignore_errors=True)
    if failed := record["folds"]["failed"]:
        why = directory.fold(failed[0]).record()["error"]
        raise QexpError(f"{len(failed)} of {len(plan.folds)} folds failed: {', '.join(failed[:8])}; the first: {why}")
    _write_metrics(directory, record, plan)
    rows.write(directory, record, plan)
    return True


def open_folds(directory: RunDirectory, record: dict[str, Any], plan: Folds) -> set[str]:
    """Write down what folds there are, before any of them is trained. Returns the names of those that are done."""
    there = {fold.name for fold in plan.folds if done(directory.fold(fold.name))}
    for fold in plan.folds:
        if fold.name not in there:
            open_fold(directory, record, fold, plan.dataset)
    return there


def _seconds(plan: Folds, batches: Sequence[Sequence[Fold]], todo: Sequence[int]) -> float:
    """About how long one core takes for some batches: a guess, to see whether processes are worth their start."""
    tasks = tasks_of_first(plan)
    rows = len(next(iter(tasks[0].train.values())))
    networks = len(tasks) * sum(len(batches[number]) for number in todo)
    steps = networks * epochs_of(plan) * math.ceil(rows / plan.spec["batch_size"])
    operations = 3 * operations_per_sample(tasks[0].model.network) * rows * networks * epochs_of(plan)
    return float(operations / OPERATIONS_PER_SECOND + steps * SECONDS_PER_STEP)


class _Count:
    """Keeps the record of the run up to date with how many folds are done; no record of a fold is read for it."""

    def __init__(
        self, directory: RunDirectory, record: dict[str, Any], batches: Sequence[Sequence[Fold]], done: set[str]
    ) -> None:
        self._directory, self._record = directory, record
        self._batches = [[fold.name for fold in batch] for batch in batches]
        self._done, self._failed = set(done), set[str]()
        self._write()

    def batch_done(self, number: int, failed: Sequence[str]) -> None:
        """A batch is trained; some of its folds may have failed."""
        self._failed.update(failed)
        self._done.update(self._batches[number])
        self._done.difference_update(failed)
        self._write()

    def _write(self) -> None:
        names = [name for batch in self._batches for name in batch]
        self._record["folds"] = {
            "done": len(self._done), "of": len(names), "failed": [name for name in names if name in self._failed],
        }  # fmt: skip
        files.write_json(self._directory.record_file, self._record)


def _write_metrics(directory: RunDirectory, record: dict[str, Any], plan: Folds) -> None:
    """A line per epoch, the mean over the folds."""
    places = [directory.fold(fold.name) for fold in plan.folds]
    lines = mean_lines([place.metrics() for place in places])
    best = median_epoch(place.record()["epochs"]["best"] for place in places)
    record["epochs"] |= {"done": len(lines), "best": best}
    write_lines(directory.metrics_file, map(files.with_marks, lines))
