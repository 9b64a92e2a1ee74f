"""Choice of hyper-parameters and epochs in inner folds, fold by fold, and the networks of what was chosen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from qexp import files
from qexp.assemble.folds import Candidate, Folds, in_stacks
from qexp.datasets.splits import Fold
from qexp.networks.stacked_training import Stack, Task, stack_size
from qexp.networks.training import Recipe
from qexp.runs.folds.directories import TrainedFold, TrainedNetwork
from qexp.runs.folds.progress import Steps


def chooses(plan: Folds) -> bool:
    """Whether networks are trained on the inner folds."""
    return not plan.refits or len(plan.candidates) > 1


def networks_per_stack(plan: Folds, task: Task) -> int:
    return stack_size(task.model.network, plan.spec["batch_size"])


class Selection:
    """Hyper-parameters and networks of some folds, which are trained side by side."""

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
        if chooses(plan):
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
        stacks = list(in_stacks(everyone, lambda task: networks_per_stack(plan, task)))
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
