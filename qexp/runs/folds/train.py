"""Training of the networks of a run's folds, and evaluation of all held-out rows together.

Folds are trained side by side, in batches that depend on the spec alone. An interrupted run therefore ends with the
same bits, no matter which folds were done before.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace

from qexp import files
from qexp.assemble.folds import Folds
from qexp.datasets.splits import Fold
from qexp.errors import QexpError
from qexp.files import write_lines
from qexp.networks.network import operations_per_sample
from qexp.runs.attempt import Attempt, OwnRecord
from qexp.runs.evaluation import rows
from qexp.runs.evaluation.results import Results
from qexp.runs.folds.batches import STACKS, batches_of, epochs_of, tasks_of_first, train_batch
from qexp.runs.folds.directories import done, mean_lines, median_epoch, open_fold
from qexp.runs.folds.progress import DisplayedSteps
from qexp.runs.folds.workers import train_in_processes
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.record import FoldCount, Record
from qexp.seeds import Seeds

log = logging.getLogger("qexp.run")

OPERATIONS_PER_SECOND, SECONDS_PER_STEP = 5e10, 2e-5
"""Speed of one core, and the overhead of one training step of a network."""

WORTH_A_PROCESS = 12.0
"""Training time on one core [s] above which several processes pay for their start."""


def train_folds(attempt: Attempt) -> Results | None:
    """Train all unfinished folds and evaluate the run; None if interrupted. Raises QexpError if folds failed."""
    directory = attempt.directory
    plan = Folds(attempt.spec, attempt.dataset, attempt.tables, Seeds(attempt.seed), attempt.device)
    if not _trained(attempt, plan):
        return None
    shutil.rmtree(directory.folds / STACKS, ignore_errors=True)
    if failed := attempt.record.folds.failed if attempt.record.folds else ():
        why = directory.fold(failed[0]).record().error
        raise QexpError(f"{len(failed)} of {len(plan.folds)} folds failed: {', '.join(failed[:8])}; the first: {why}")
    _write_metrics(attempt, plan)
    return rows.evaluate(attempt, plan)


def _trained(attempt: Attempt, plan: Folds) -> bool:
    """Train the unfinished folds; False if interrupted."""
    directory = attempt.directory
    before = open_folds(directory, attempt.record, plan)
    batches = batches_of(plan)
    todo = [number for number, batch in enumerate(batches) if not before.issuperset(fold.name for fold in batch)]
    count = _Count(attempt.own, batches, before)
    progress = DisplayedSteps(attempt.display)
    progress.skip(epochs_of(plan) * (len(batches) - len(todo)))
    started, seconds_before = time.perf_counter(), attempt.record.seconds
    attempt.display.start(attempt.name, epochs_of(plan) * len(batches), 0)
    try:
        processes = min(attempt.processes, len(todo))
        if attempt.device.type == "cpu" and processes > 1 and _seconds(plan, batches, todo) > WORTH_A_PROCESS:
            return train_in_processes(directory, todo, processes, progress, count.batch_done, attempt.interrupted)
        for number in todo:
            failures = train_batch(directory, plan, batches, number, progress, attempt.interrupted)
            if failures is None:
                return False
            count.batch_done(number, failures)
        return True
    finally:
        attempt.display.stop()
        attempt.own.keep(seconds=round(seconds_before + time.perf_counter() - started, 3))


def open_folds(directory: RunDirectory, record: Record, plan: Folds) -> set[str]:
    """Create the directories of all folds before training. Returns the names of folds that are done already."""
    there = {fold.name for fold in plan.folds if done(directory.fold(fold.name))}
    for fold in plan.folds:
        if fold.name not in there:
            open_fold(directory, record, fold, plan.dataset)
    return there


def _seconds(plan: Folds, batches: Sequence[Sequence[Fold]], todo: Sequence[int]) -> float:
    """Estimated training time of some batches on one core [s], to decide whether to start more processes."""
    tasks = tasks_of_first(plan)
    rows = len(next(iter(tasks[0].train.values())))
    networks = len(tasks) * sum(len(batches[number]) for number in todo)
    steps = networks * epochs_of(plan) * math.ceil(rows / plan.spec["batch_size"])
    operations = 3 * operations_per_sample(tasks[0].model.network) * rows * networks * epochs_of(plan)
    return float(operations / OPERATIONS_PER_SECOND + steps * SECONDS_PER_STEP)


class _Count:
    """Keeps the number of finished folds in the run's record up to date without reading the folds' records."""

    def __init__(self, own: OwnRecord, batches: Sequence[Sequence[Fold]], done: set[str]) -> None:
        self._own = own
        self._batches = [[fold.name for fold in batch] for batch in batches]
        self._done, self._failed = set(done), set[str]()
        self._write()

    def batch_done(self, number: int, failed: Sequence[str]) -> None:
        """Count a trained batch, with the names of its failed folds."""
        self._failed.update(failed)
        self._done.update(self._batches[number])
        self._done.difference_update(failed)
        self._write()

    def _write(self) -> None:
        names = [name for batch in self._batches for name in batch]
        failed = tuple(name for name in names if name in self._failed)
        self._own.note(folds=FoldCount(done=len(self._done), of=len(names), failed=failed))


def _write_metrics(attempt: Attempt, plan: Folds) -> None:
    """Write the run's metrics: one line per epoch, the mean over the folds."""
    places = [attempt.directory.fold(fold.name) for fold in plan.folds]
    lines = mean_lines([place.metrics() for place in places])
    best = median_epoch(place.record().epochs.best for place in places)
    attempt.own.keep(epochs=replace(attempt.record.epochs, done=len(lines), best=best))
    write_lines(attempt.directory.metrics_file, map(files.with_marks, lines))
