"""Training of folds in batches. Which folds share a stack depends on the spec alone, so that bits are reproducible."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from qexp import files
from qexp.assemble.folds import Candidate, Folds, in_stacks
from qexp.datasets.splits import Fold
from qexp.runs.folds.directories import TrainedFold, TrainedNetwork, done, write_fold
from qexp.runs.folds.progress import Steps
from qexp.runs.record.directory import RunDirectory
from qexp.training.recipe import Recipe
from qexp.training.stack import Stack
from qexp.training.stack_tasks import Task, stack_size

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
    trained = _Batch(plan, batch, folder, progress, interrupted).train()
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
    at_once = max(1, _stack_size(plan, tasks[0]) // len(tasks))
    batches: list[list[Fold]] = []
    for _, alike in groupby(plan.folds, key=lambda fold: len(fold.train)):
        folds = list(alike)
        parts = np.array_split(np.arange(len(folds)), math.ceil(len(folds) / at_once))
        batches += [[folds[index] for index in part] for part in parts]
    return batches


def tasks_of_first(plan: Folds) -> list[Task]:
    """The largest set of networks that the first fold trains at a time."""
    first = plan.folds[0]
    on_inner_folds = plan.inner_tasks(first, plan.candidates[0]) if _chooses(plan) else []
    refitted = plan.refitted(first, plan.candidates[0]) if plan.refits else []
    return max(on_inner_folds, refitted, key=len)


def _stack_size(plan: Folds, task: Task) -> int:
    return stack_size(task.model.network, plan.spec["batch_size"])


def epochs_of(plan: Folds) -> int:
    """Largest number of epochs in a batch, if each candidate's networks form one stack."""
    epochs: list[int] = [candidate.spec["epochs"] for candidate in plan.candidates]
    return (sum(epochs) if _chooses(plan) else 0) + (max(epochs) if plan.refits else 0)


def _chooses(plan: Folds) -> bool:
    """Whether networks are trained on the inner folds."""
    return not plan.refits or len(plan.candidates) > 1


class _Batch:
    """Folds that are trained side by side."""

    def __init__(
        self, plan: Folds, folds: Sequence[Fold], folder: Path, progress: Steps, interrupted: Callable[[], bool]
    ) -> None:
        self._plan, self._folds, self._folder = plan, folds, folder
        self._progress, self._interrupted = progress, interrupted

    def train(self) -> dict[str, TrainedFold] | None:
        """Fold → its trained networks and chosen hyper-parameters; None if interrupted."""
        plan = self._plan
        trained = {fold.name: TrainedFold(dict(plan.candidates[0].chosen)) for fold in self._folds}
        chosen = dict.fromkeys(trained, plan.candidates[0])
        if _chooses(plan):
            for index, candidate in enumerate(plan.candidates):
                tasks = {fold.name: plan.inner_tasks(fold, candidate) for fold in self._folds}
                networks = self._train(tasks, candidate, f"judged-{index:03d}", candidate.spec["epochs"])
                if networks is None:
                    return None
                for name, of_fold in networks.items():
                    loss = _pooled_loss(of_fold)
                    best = trained[name].inner_loss
                    if best is None or loss < best:
                        trained[name] = TrainedFold(dict(candidate.chosen), of_fold, loss)
                        chosen[name] = candidate
        if plan.refits:
            longest = max(candidate.spec["epochs"] for candidate in plan.candidates)
            for index, candidate in enumerate(plan.candidates):
                tasks = {
                    fold.name: plan.refitted(fold, candidate) for fold in self._folds if chosen[fold.name] is candidate
                }
                steps = longest * len(tasks) / len(self._folds)
                networks = self._train(tasks, candidate, f"refitted-{index:03d}", steps) if tasks else {}
                if networks is None:
                    return None
                for name, of_fold in networks.items():
                    trained[name].networks = of_fold
        return trained

    def _train(
        self, tasks: Mapping[str, Sequence[Task]], candidate: Candidate, purpose: str, steps: float
    ) -> dict[str, list[TrainedNetwork]] | None:
        """Fold → its networks, in the order of its tasks; None if interrupted.

        steps  the share of the batch's epochs that this training counts for
        """
        plan, recipe = self._plan, self._plan.recipe(candidate)
        owners = {id(task): name for name, of_fold in tasks.items() for task in of_fold}
        trained: dict[int, TrainedNetwork] = {}
        everyone = [task for of_fold in tasks.values() for task in of_fold]
        stacks = list(in_stacks(everyone, lambda task: _stack_size(plan, task)))
        for number, members in enumerate(stacks):
            share = steps * len(members) / len(everyone)
            networks = self._train_stack(members, recipe, f"{purpose}-{number:03d}", share)
            if networks is None:
                return None
            trained |= {id(network.task): network for network in networks}
        return {name: [trained[id(task)] for task in everyone if owners[id(task)] == name] for name in tasks}

    def _train_stack(
        self, members: Sequence[Task], recipe: Recipe, name: str, share: float
    ) -> list[TrainedNetwork] | None:
        folder = self._folder / name
        files.make_folder(folder)
        stack = Stack(members, recipe, self._plan.device, folder)
        stack.resume()
        self._progress.enter(share, recipe.epochs)
        finished = stack.run(self._progress, self._interrupted)
        self._progress.leave()
        if not finished:
            return None
        return [
            TrainedNetwork(task, outcome, stack.curve(position).numpy())
            for position, (task, outcome) in enumerate(zip(stack.tasks, stack.outcomes, strict=True))
        ]


def _pooled_loss(networks: Sequence[TrainedNetwork]) -> float:
    """The loss of a candidate over the rows of all inner folds; infinite if one of its networks failed."""
    if any(network.outcome.failed for network in networks):
        return math.inf
    rows = [len(next(iter((network.task.validation or {}).values()))) for network in networks]
    return float(np.average([network.outcome.best_loss for network in networks], weights=rows))
