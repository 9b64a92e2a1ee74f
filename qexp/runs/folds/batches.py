"""Training of folds in batches. Which folds share a stack depends on the spec alone, so that bits are reproducible."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np

from qexp.assemble.folds import Folds
from qexp.datasets.splits import Fold
from qexp.networks.stacked_training import Task
from qexp.runs.folds.directories import done, write_fold
from qexp.runs.folds.progress import Steps
from qexp.runs.folds.selection import Selection, chooses, networks_per_stack
from qexp.runs.record.directory import RunDirectory

STACKS = ".stacks"
"""Folder, in the run's folder of folds, for checkpoints of unfinished stacks."""


def train_batch(
    directory: RunDirectory,
    plan: Folds,
    batches: Sequence[Sequence[Fold]],
    number: int,
    progress: Steps,
    interrupted: Callable[[], bool],
) -> list[str] | None:
    """Train the folds of one batch and write the results of those that are not done.

    Returns the names of failed folds; None if interrupted.
    """
    batch, folder = batches[number], directory.folds / STACKS / f"{number:03d}"
    trained = Selection(plan, batch, folder, progress, interrupted).train()
    if trained is None:
        return None
    for fold in batch:
        if not done(directory.fold(fold.name)):
            write_fold(directory.fold(fold.name), trained[fold.name], plan, fold)
    shutil.rmtree(folder, ignore_errors=True)
    return [fold.name for fold in batch if trained[fold.name].failed]


def batches_of(plan: Folds) -> list[list[Fold]]:
    """Batches of neighbouring folds whose networks fit into one stack, divided evenly.

    Folds of different sizes never share a batch, so that different processes can train them.
    """
    tasks = tasks_of_first(plan)
    at_once = max(1, networks_per_stack(plan, tasks[0]) // len(tasks))
    batches: list[list[Fold]] = []
    for _, alike in groupby(plan.folds, key=lambda fold: len(fold.train)):
        folds = list(alike)
        parts = np.array_split(np.arange(len(folds)), math.ceil(len(folds) / at_once))
        batches += [[folds[index] for index in part] for part in parts]
    return batches


def tasks_of_first(plan: Folds) -> list[Task]:
    """The largest set of networks that the first fold trains at a time."""
    first = plan.folds[0]
    on_inner_folds = plan.inner_tasks(first, plan.candidates[0]) if chooses(plan) else []
    refitted = plan.refitted(first, plan.candidates[0]) if plan.refits else []
    return max(on_inner_folds, refitted, key=len)


def epochs_of(plan: Folds) -> int:
    """Largest number of epochs in a batch, if each candidate's networks form one stack."""
    epochs: list[int] = [candidate.spec["epochs"] for candidate in plan.candidates]
    return (sum(epochs) if chooses(plan) else 0) + (max(epochs) if plan.refits else 0)
