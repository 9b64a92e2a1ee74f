"""Tasks, such as the networks of folds, trained in stacks: small networks of one architecture."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from qexp.base.arrays import Array
from qexp.networks import checkpoint, training
from qexp.networks.callbacks import Callback, Epoch
from qexp.networks.checkpoint import BestRows, WeightLayout, is_kept, joined
from qexp.networks.estimator import BATCH, Estimator
from qexp.networks.network import Network, operations_per_sample
from qexp.networks.network_stack import LossModule, NetworkStack, Tensors, with_norms_for_stacks
from qexp.networks.training import Recipe, Samples, deterministic, own_random_state

# The lines of `metrics.jsonl` of a stack: one per epoch and network, kept as a row of numbers.

Line = dict[str, Any]


def line_of(numbers: Sequence[float], epoch: int, names: Sequence[str]) -> Line:
    """An epoch's line from its numbers.

    numbers  learning rate, training losses, validation losses if there are any, 1 if the epoch is
             the best so far
    names    names of the outputs, in the order of the losses
    """
    rate, *losses, best = numbers
    parts = {"train": losses[: len(names)], "validation": losses[len(names) :]}
    line: Line = {"epoch": epoch, "learning_rate": rate}
    for part, values in parts.items():
        if values:
            line[part] = {"loss": sum(values), "losses": dict(zip(names, values, strict=True))}
    return {**line, "best": bool(best)}


def mean_of_networks(numbers: Array, epoch: int, names: Sequence[str]) -> Line:
    """The mean line of several networks, of (network, number); best only if it is the best epoch so
    far of them all.
    """
    means = numbers[:, :-1].mean(axis=0).tolist()
    return line_of([*means, float(numbers[:, -1].all())], epoch, names)


# The tasks of a stack: a network and its data, how its training ended, and which tasks can share a
# stack.

OPERATIONS_AT_ONCE = 3e9
"""In the forward pass of a step: a larger stack is no faster, as activations leave the cache."""

LARGEST_STACK = 512


@dataclass
class Task:
    """One network to train: its initial weights, its fitted transforms, its rows."""

    name: str
    model: Estimator
    train: Samples
    validation: Samples | None
    order: Callable[[int], Tensor]
    """Epoch → permutation of the training rows, (row,)."""
    callbacks: Sequence[Callback] = ()
    """Not shared with another task: callbacks have state."""
    dropout_seed: Callable[[int], int] | None = None
    """Epoch → seed; for a network that cannot be stacked, see `largest_stack`."""


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


def largest_stack(network: Network, batch_size: int) -> int:
    """The number of such networks in a stack; 1 if a stack would be no faster, and with
    dropout.

    Dropout draws from one stream of random numbers for the whole stack, and would depend on the
    other networks.
    """
    if any(
        isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0
        for module in network.modules()
    ):
        return 1
    operations = operations_per_sample(network) * batch_size
    return max(1, min(LARGEST_STACK, int(OPERATIONS_AT_ONCE / max(operations, 1))))


# The networks differ in their weights, their rows and their fitted transforms. Every step is one
# batched pass over all of them (`torch.func`). The weights of each are a row of one matrix, so that
# an optimizer's step is one operation, too. A trained network does not depend on the others in its
# stack, to the last bit. For activations that torch rounds differently by their place in memory
# (gelu, silu and other smooth ones), it depends on them by about 1e-7 per step.


class StackListener(Protocol):
    def epoch_done(self, epoch: int, line: Line | None, seconds: float) -> None:
        """line  the mean over the networks, as of `metrics.jsonl`; None if all of them have
        ended
        """

    def checkpoint_written(self, epoch: int) -> None: ...


class TaskStack:
    """Trains the networks of several tasks as a stack.

    tasks   of one architecture, with names of their own and the same numbers of rows; see
            `largest_stack` for how many
    folder  gets `stack.safetensors`, from which training resumes
    Optimizers must update each number independently, with steps in proportion to the learning rate.
    Raises ValueError for callbacks of tasks without validation rows.
    """

    _networks: NetworkStack

    def __init__(
        self, tasks: Sequence[Task], recipe: Recipe, device: torch.device, folder: Path
    ) -> None:
        if tasks[0].validation is None and tasks[0].callbacks:
            raise ValueError(
                f"{tasks[0].name} has no validation rows, which callbacks need; leave the"
                " callbacks out"
            )
        self.tasks = list(tasks)
        self.recipe = recipe
        self.device = device
        self.folder = folder
        self.outcomes = [Outcome() for _ in tasks]
        self.epochs_done = 0
        self._train_size = len(next(iter(tasks[0].train.values())))
        self.batches = math.ceil(self._train_size / recipe.batch_size)
        self._small = largest_stack(tasks[0].model.network, recipe.batch_size) > 1
        network = with_norms_for_stacks(copy.deepcopy(tasks[0].model.network))
        self._module = LossModule(network, recipe)
        for task in tasks:
            task.model.to(device)
        self._train: list[Tensors] = []
        self._validation: list[Tensors] = []
        for position, task in enumerate(tasks):
            self._train.append(self._transformed(position, task.train, "training"))
            validation: Tensors = {}
            if task.validation is not None:
                validation = self._transformed(position, task.validation, "validation")
            self._validation.append(validation)
        self._layout = WeightLayout(self._module)
        self._best = BestRows(
            self._layout, [LossModule(task.model.network, recipe) for task in tasks], device
        )
        columns = 2 + len(recipe.losses) * (1 if tasks[0].validation is None else 2)
        self._history = torch.full(
            (len(tasks), recipe.epochs, columns), math.nan, dtype=torch.float64
        )
        self._enter()

    def run(self, listener: StackListener, interrupted: Callable[[], bool]) -> bool:
        """Train to the end, or until `interrupted()` between two epochs. True if it got to the end.

        At the end every model has the weights of its kept epoch; `outcomes` has a result for each
        task.
        """
        checkpointed_at, unwritten = time.monotonic(), False
        with own_random_state(self.device), deterministic():
            while self._goes_on():
                if interrupted():
                    if unwritten:
                        self._write_checkpoint(listener)
                    return False
                started = time.perf_counter()
                line = self._close_epoch(self._train_epoch())
                unwritten = True
                listener.epoch_done(self.epochs_done, line, time.perf_counter() - started)
                if time.monotonic() - checkpointed_at > training.SECONDS_BETWEEN_CHECKPOINTS:
                    self._write_checkpoint(listener)
                    checkpointed_at, unwritten = time.monotonic(), False
            if unwritten:
                self._write_checkpoint(listener)
        for position, task in enumerate(self.tasks):
            self._best.load_into(position, LossModule(task.model.network, self.recipe))
        return True

    def _goes_on(self) -> bool:
        return bool(self._positions) and self.epochs_done < self.recipe.epochs

    def curve(self, position: int) -> Tensor:
        """A task's epochs so far, (epoch, number), as `line_of` makes a line of `metrics.jsonl` of
        the numbers.
        """
        history = self._history[position]
        return history[~history[:, 0].isnan()]

    def resume(self) -> int:
        """Load `stack.safetensors`, if it exists. Returns the number of complete epochs.

        Raises DamagedError, or ValueError if it was written for other tasks.
        """
        path = self.folder / "stack.safetensors"
        if not path.exists():
            return 0
        tensors, document = checkpoint.read(path)
        names = [task.name for task in self.tasks]
        with checkpoint.understood(path):
            tasks = ", ".join(document["tasks"])
        if document["tasks"] != names:
            raise ValueError(f"{path} holds other networks: {tasks}; not {', '.join(names)}")
        with checkpoint.understood(path):
            self.epochs_done = document["epochs_done"]
            self.outcomes = [Outcome(**outcome) for outcome in document["outcomes"]]
            for task, outcome in zip(self.tasks, self.outcomes, strict=True):
                for callback, state in zip(task.callbacks, outcome.callbacks, strict=True):
                    callback.restore(state)
            self._history = tensors["history"]
            self._best.restore(tensors)
            self._enter()
            if self._goes_on():
                networks = self._networks
                networks.weights.copy_(tensors["weights"])
                networks.buffers = {
                    name: tensors[f"buffers.{name}"].to(self.device) for name in networks.buffers
                }
                checkpoint.restore_optimizer(networks.groups[0].optimizer, tensors)
        return self.epochs_done

    def _transformed(self, position: int, samples: Samples, part: str) -> Tensors:
        task = self.tasks[position]
        try:
            on_device = {name: values.to(self.device) for name, values in samples.items()}
            return training.transformed(task.model, on_device, part)
        except training.DivergedError as error:
            self.outcomes[position].failed = f"{task.name}: {error}"
            return {}

    def _enter(self) -> None:
        """Start to train the tasks that have not ended from their kept weights."""
        self._positions = [
            position for position, outcome in enumerate(self.outcomes) if not outcome.ended
        ]
        self._take(self._best.weights, self._best.buffers, self._in_company(self._positions))

    def _leave(self, remaining: list[int]) -> None:
        """Continue with some of the current networks, given by their rows in the stack."""
        former = self._networks
        self._positions = [self._positions[row] for row in remaining]
        rows = self._in_company(remaining)
        self._take(former.weights, former.buffers, rows)
        if not rows:
            return
        state = self._networks.groups[0].state
        for name, value in former.groups[0].state.items():
            of_weights = isinstance(value, Tensor) and value.shape == former.weights.shape
            state[name] = value[rows] if of_weights else value

    def _in_company(self, rows: list[int]) -> list[int]:
        """The rows to compute. A single one is doubled: products may round differently for one
        network than for two.
        """
        return rows * 2 if len(rows) == 1 and self._small else rows

    def _take(self, weights: Tensor, buffers: Tensors, rows: list[int]) -> None:
        """Copy rows of weights and buffers; stack the samples of the current networks, (network,
        sample, ...).
        """
        self._inputs = self._stacked(self._train)
        self._held_out = self._stacked(self._validation)
        taken = {name: values[rows] for name, values in buffers.items()}
        self._networks = NetworkStack(
            self._module, self._layout, weights[rows], taken, [(self.recipe, len(rows))]
        )

    def _stacked(self, samples: Sequence[Tensors]) -> Tensors:
        current = [samples[position] for position in self._in_company(self._positions)]
        return joined(current, torch.stack) if current else {}

    def _train_epoch(self) -> Tensor:
        """Train all current networks for an epoch. Returns losses, (batch, network, output)."""
        epoch = self.epochs_done + 1
        size = self.recipe.batch_size
        places = self._in_company(self._positions)
        orders = torch.stack([self.tasks[place].order(epoch) for place in places]).to(self.device)
        rows = torch.arange(len(orders), device=self.device)[:, None]
        shuffled = {
            name: values[rows, orders].split(size, dim=1) for name, values in self._inputs.items()
        }
        factors = [self.outcomes[place].learning_rate_factor for place in places]
        on_device = None
        if any(factor != 1.0 for factor in factors):
            on_device = torch.tensor(factors, device=self.device)[:, None]
        if (seed := self.tasks[self._positions[0]].dropout_seed) is not None:
            torch.manual_seed(seed(epoch))
        self._module.train()
        losses = []
        for batch in range(self.batches):
            rates = self._networks.rates(epoch, batch, self.batches)
            samples = {name: values[batch] for name, values in shuffled.items()}
            losses.append(self._networks.step(samples, rates, on_device))
        return torch.stack(losses).cpu()

    @torch.no_grad()
    def _validate(self) -> Tensor:
        """The validation losses, (network, output)."""
        self._module.eval()
        rows = next(iter(self._held_out.values())).shape[1]
        parts = []
        for start in range(0, rows, BATCH):
            batch = {
                name: values[:, start : start + BATCH] for name, values in self._held_out.items()
            }
            _, losses = self._networks.evaluate(batch)
            parts.append(losses * (min(BATCH, rows - start) / rows))
        return torch.stack(parts).sum(0).cpu()

    def _close_epoch(self, batch_losses: Tensor) -> Line | None:
        """Validate, keep the weights of each network at its best, run the callbacks. Returns the
        epoch's mean line.
        """
        names = list(self.recipe.losses)
        means = training.mean_losses(
            batch_losses, self.recipe.batch_size, self._train_size
        ).tolist()
        validated = self._validate().double().tolist() if self._held_out else None
        sound = torch.isfinite(batch_losses).flatten(2).all(-1).all(0).tolist()
        epoch = self.epochs_done + 1
        rate = training.scheduled_rate(self.recipe, epoch, self.batches - 1, self.batches)
        better, written, numbers = [], [], []
        for row, position in enumerate(self._positions):
            task = self.tasks[position]
            outcome = self.outcomes[position]
            problem = (
                None
                if sound[row]
                else training.divergence(batch_losses[:, row], self.recipe, epoch)
            )
            loss = math.nan if validated is None else sum(validated[row])
            if problem is None and validated is not None and not math.isfinite(loss):
                problem = (
                    f"the validation loss of epoch {epoch} is {loss}; try a lower learning rate"
                )
            if problem is not None:
                outcome.failed = f"{task.name}: {problem}"
                continue
            if is_kept(loss, outcome.best_loss, self.recipe.keep):
                outcome.best_loss, outcome.best_epoch = loss, epoch
                better.append(row)
            validation = validated[row] if validated is not None else []
            best = float(outcome.best_epoch == epoch)
            numbers.append([rate * outcome.learning_rate_factor, *means[row], *validation, best])
            written.append(position)
            if task.callbacks:
                view = Epoch(outcome, line_of(numbers[-1], epoch, names), loss, _no_test_part)
                for callback in task.callbacks:
                    callback.after_epoch(view)
        if written:
            self._history[written, epoch - 1] = torch.tensor(numbers, dtype=torch.float64)
        self._keep(better)
        self.epochs_done = epoch
        remaining = [
            row for row, position in enumerate(self._positions) if not self.outcomes[position].ended
        ]
        if len(remaining) < len(self._positions):
            self._leave(remaining)
        return mean_of_networks(np.array(numbers), epoch, names) if numbers else None

    def _keep(self, rows: list[int]) -> None:
        """Copy the weights of networks, unless the last epoch's are kept and another follows for
        all of them.
        """
        stops = any(self.outcomes[position].ended for position in self._positions)
        if self.recipe.keep == "last" and self.epochs_done + 1 < self.recipe.epochs and not stops:
            return
        for row in rows:
            buffers = {name: values[row] for name, values in self._networks.buffers.items()}
            self._best.keep(self._positions[row], self._networks.weights[row], buffers)

    def _write_checkpoint(self, listener: StackListener) -> None:
        for task, outcome in zip(self.tasks, self.outcomes, strict=True):
            outcome.callbacks = [callback.state() for callback in task.callbacks]
        tensors = {"history": self._history, **self._best.tensors()}
        if self._goes_on():
            tensors |= {
                "weights": self._networks.weights,
                **{f"buffers.{name}": values for name, values in self._networks.buffers.items()},
                **checkpoint.optimizer_tensors(self._networks.groups[0].optimizer),
            }
        document = {
            "tasks": [task.name for task in self.tasks],
            "epochs_done": self.epochs_done,
            "outcomes": [asdict(outcome) for outcome in self.outcomes],
        }
        checkpoint.write(self.folder / "stack.safetensors", tensors, document)
        listener.checkpoint_written(self.epochs_done)


def _no_test_part() -> dict[str, dict[str, float]]:
    raise ValueError(
        "networks of a stack have no test part; leave out the callback 'test_evaluate'"
    )
