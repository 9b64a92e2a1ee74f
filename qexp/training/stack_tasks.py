"""The tasks of a stack: a network and its data, how its training ended, and which tasks can share a stack."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from qexp.models.inversion import Inversion
from qexp.models.network import Network, operations_per_sample
from qexp.training.callbacks import Callback
from qexp.training.recipe import Recipe, Samples

OPERATIONS_AT_ONCE = 3e9
"""In the forward pass of a step: a larger stack is no faster, because its activations no longer fit into the cache."""

LARGEST_STACK = 512


@dataclass
class Task:
    """One network to train: its initial weights, its fitted transforms, its rows."""

    name: str
    model: Inversion
    train: Samples
    validation: Samples | None
    order: Callable[[int], Tensor]
    """Epoch → permutation of the training rows, (row,)."""
    callbacks: Sequence[Callback] = ()
    """Not shared with another task: callbacks have state."""
    dropout_seed: Callable[[int], int] | None = None
    """Epoch → seed; for a network that cannot be stacked, see `stackable`."""


@dataclass
class Outcome:
    """The state of one task: its best epoch, and how it ended."""

    best_epoch: int = 0
    """The epoch whose weights are kept."""
    best_loss: float = math.inf
    learning_rate_factor: float = 1.0
    stopped: str | None = None
    """Why training ended before the last epoch."""
    failed: str | None = None
    """The error that ended this task; the others go on."""
    callbacks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Whether the task is no longer trained."""
        return self.stopped is not None or self.failed is not None


def stackable(network: nn.Module) -> bool:
    """Whether a network can be trained in a stack; not with dropout, which would depend on the other networks.

    Dropout draws from one stream of random numbers for the whole stack.
    """
    return not any(isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0 for module in network.modules())


def stack_size(network: Network, batch_size: int) -> int:
    """The number of such networks to train together; 1 if a stack would be no faster."""
    if not stackable(network):
        return 1
    operations = operations_per_sample(copy.deepcopy(network).to("meta").eval()) * batch_size
    return max(1, min(LARGEST_STACK, int(OPERATIONS_AT_ONCE / max(operations, 1))))


def row_count(samples: Samples) -> int:
    """The number of samples."""
    return len(next(iter(samples.values())))


def require_alike(tasks: Sequence[Task], recipe: Recipe) -> None:
    """Raise ValueError if the tasks cannot be trained in one stack: other sizes, another architecture, dropout."""
    if not tasks:
        raise ValueError("a stack needs at least one task")
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise ValueError(f"names of tasks must be unique in a stack, but two are called {_repeated(names)}")
    first = tasks[0]
    for task in tasks:
        sizes = row_count(task.train), None if task.validation is None else row_count(task.validation)
        others = row_count(first.train), None if first.validation is None else row_count(first.validation)
        if sizes != others:
            raise ValueError(
                f"{task.name} has {sizes[0]} training and {sizes[1] or 'no'} validation rows, {first.name} has "
                f"{others[0]} and {others[1] or 'no'}; stack only tasks with the same numbers of rows"
            )
        if _shapes(task.model.network) != _shapes(first.model.network):
            raise ValueError(
                f"{task.name} has another architecture than {first.name}; stack only networks of the same architecture"
            )
        if len(tasks) > 1 and not stackable(task.model.network):
            raise ValueError(
                f"the network of {task.name} has dropout, which would depend on the other networks of the stack; "
                "train it alone"
            )
        if task.validation is None and (recipe.keep != "last" or task.callbacks):
            raise ValueError(
                f"{task.name} has no validation rows, which keep 'best' and callbacks need; "
                "give it some, or keep the last epoch without callbacks"
            )


def _repeated(names: Sequence[str]) -> str:
    return next(repr(name) for name in names if names.count(name) > 1)


def _shapes(network: nn.Module) -> list[tuple[str, torch.Size]]:
    return [(name, tensor.shape) for name, tensor in network.state_dict().items()]
