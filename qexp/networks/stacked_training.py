"""Many small networks of one architecture, trained together in one computation."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from qexp.base.arrays import Array
from qexp.errors import shortened
from qexp.networks import checkpoint, training
from qexp.networks.callbacks import Callback, Epoch
from qexp.networks.checkpoint import BestRows, WeightLayout, is_kept
from qexp.networks.estimator import BATCH, Estimator
from qexp.networks.losses import losses_of, total
from qexp.networks.network import Network, operations_per_sample
from qexp.networks.sequence import SequenceNorm
from qexp.networks.steps import Steps
from qexp.networks.training import PRECISIONS, Recipe, Samples, deterministic, own_random_state

log = logging.getLogger("qexp.run")


Tensors = dict[str, Tensor]

FACTORS = ""
"""The name, which no variable has, of the factors of learning rates beside the samples of a
step.
"""


class LossModule(nn.Module):
    """A network followed by the losses of its outputs."""

    def __init__(self, network: Network, recipe: Recipe) -> None:
        super().__init__()
        self.network, self._recipe = network, recipe

    def forward(self, samples: Tensors) -> tuple[Tensor, Tensor]:
        """The objective to minimise, (), and the losses, (output,), of transformed samples,
        (sample, ...) each.
        """
        features = self.network.features({name: samples[name] for name in self.network.inputs})
        losses = losses_of(self.network, self._recipe.losses, features, samples)
        return total(losses, self.network.penalty()), torch.stack(losses)


def can_be_stacked(network: Network, recipe: Recipe) -> bool:
    """Whether networks with this one's architecture can be trained in one computation, by a try
    with two samples.
    """
    module = LossModule(with_norms_for_stacks(copy.deepcopy(network)), recipe).train()
    if not all(weight.requires_grad for weight in module.parameters()):
        return False
    layout, shapes = WeightLayout(module), {**network.shapes, **network.inputs}
    weights = torch.stack([layout.row(dict(module.named_parameters()))] * 2)
    buffers = {name: torch.stack([buffer] * 2) for name, buffer in module.named_buffers()}
    samples = {name: torch.zeros(2, 2, *shape) for name, shape in shapes.items()}
    networks = StackedNetworks(module, layout, weights, buffers, [(recipe, 2)])
    try:
        with own_random_state(weights.device):
            objectives, _ = networks.evaluate(samples)
            torch.autograd.grad(objectives.sum(), list(networks.views.values()), allow_unused=True)
    except Exception as error:  # whatever a module or loss does that works for one network alone
        log.info("networks cannot be stacked: %s", shortened(repr(error)))
        return False
    return True


class _Features(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensors) -> Tensors:
        return self.network.features(inputs)


def with_norms_for_stacks(network: Network) -> Network:
    """Replace batch normalisation of rows, in place: torch's own rounds differently in a stack than
    alone.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm1d:
                setattr(module, name, SequenceNorm(child.num_features, child.eps, child.momentum))
    return network


@dataclass
class Group:
    """Neighbouring networks of a stack that one optimizer trains."""

    rows: slice
    recipe: Recipe
    weights: nn.Parameter
    """Their part of the matrix of weights, in the same memory."""
    optimizer: torch.optim.Optimizer

    @property
    def state(self) -> Tensors:
        """The optimizer's state by name: (network, number) for what each weight has, else a single
        number.
        """
        state: Tensors = self.optimizer.state[self.weights]
        return state

    def step(self) -> None:
        """A step by the gradients of the weights."""
        gradients = self.weights.grad
        assert gradients is not None
        if self.recipe.gradient_clip is not None:
            norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
            gradients.mul_((self.recipe.gradient_clip / (norms + 1e-6)).clamp(max=1.0))
        self.optimizer.step()


class StackedNetworks:
    """Networks of one architecture, each a row of one matrix of weights, and their steps in one
    computation.

    module   a network of theirs followed by its losses; its own weights are not used
    weights  (network, number), in rows of the layout
    buffers  name → (network, ...)
    recipes  how neighbouring networks are trained, and how many they are; precision and losses are
             those of the first
    Optimizers must update each number independently, with steps in proportion to the learning rate.
    """

    def __init__(
        self,
        module: LossModule,
        layout: WeightLayout,
        weights: Tensor,
        buffers: Tensors,
        recipes: Sequence[tuple[Recipe, int]],
    ) -> None:
        self.module, self.weights, self.buffers = module, weights, buffers
        self._cast = PRECISIONS[recipes[0][0].precision]
        self.views = layout.views(weights)
        for view in self.views.values():
            view.requires_grad_()
        gradients = torch.zeros_like(weights)
        self._gradients = layout.views(gradients)
        self.groups: list[Group] = []
        first = 0
        for recipe, count in recipes:
            rows = slice(first, first + count)
            of_group = nn.Parameter(weights[rows])
            of_group.grad = gradients[rows]
            self.groups.append(
                Group(rows, recipe, of_group, recipe.optimizer([of_group], recipe.learning_rate))
            )
            first += count
        optimizers = [group.optimizer for group in self.groups]
        self._steps = Steps(
            self._step, optimizers, lambda: [weights, *self.buffers.values()], weights.device
        )

    def step(self, samples: Tensors, rates: Sequence[float], factors: Tensor | None) -> Tensor:
        """Train all networks on a batch, (network, sample, ...); returns their losses, (network,
        output).

        rates    the learning rate of each group
        factors  of the rates, (network, 1) or (network, number); None if all are 1
        """
        return self._steps(samples if factors is None else {**samples, FACTORS: factors}, rates)

    def _step(self, given: Mapping[str, Tensor]) -> Tensor:
        samples = dict(given)
        factors = samples.pop(FACTORS, None)
        objectives, losses = self.evaluate(samples)
        gradients = torch.autograd.grad(
            objectives.sum(), list(self.views.values()), allow_unused=True
        )
        for view, gradient in zip(self._gradients.values(), gradients, strict=True):
            view.zero_() if gradient is None else view.copy_(gradient)
        before = None if factors is None else self.weights.clone()
        for group in self.groups:
            group.step()
        # steps are proportional to the rate; `lerp` with a factor of 1 changes no bit
        if before is not None and factors is not None:
            self.weights.copy_(torch.lerp(before, self.weights, factors))
        return losses.detach()

    def evaluate(self, samples: Tensors) -> tuple[Tensor, Tensor]:
        """The objective that each network minimises, (network,), and its losses, (network,
        output).
        """
        with (
            torch.autocast(self.weights.device.type, self._cast)
            if self._cast
            else contextlib.nullcontext()
        ):
            pair: tuple[Tensor, Tensor] = self._of_each(self.module, samples)
        return pair

    @torch.no_grad()
    def features(self, inputs: Tensors) -> Tensors:
        """What each network makes of inputs, (network, sample, ...), without its posterior heads;
        see `Network`.
        """
        self.module.eval()
        features: Tensors = self._of_each(_Features(self.module.network), inputs)
        return features

    def _of_each(self, module: nn.Module, samples: Tensors) -> Any:
        """What a module that holds a network as `network` makes of the samples of each."""
        return vmap(
            lambda weights, buffers, own: functional_call(module, (weights, buffers), (own,)),
            randomness="different",
        )(self.views, self.buffers, samples)

    def rates(self, epoch: int, batch: int, batches: int) -> list[float]:
        """The scheduled learning rate of each group."""
        return [
            training.scheduled_rate(group.recipe, epoch, batch, batches) for group in self.groups
        ]


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
    return {
        "epoch": epoch,
        "learning_rate": rate,
        **{
            part: {"loss": sum(values), "losses": dict(zip(names, values, strict=True))}
            for part, values in parts.items()
            if values
        },
        "best": bool(best),
    }


def mean_of_networks(numbers: Array, epoch: int, names: Sequence[str]) -> Line:
    """The mean line of several networks, of (network, number); best only if it is the best epoch so
    far of them all.
    """
    return line_of(
        [*numbers[:, :-1].mean(axis=0).tolist(), float(numbers[:, -1].all())], epoch, names
    )


# The tasks of a stack: a network and its data, how its training ended, and which tasks can share a
# stack.

OPERATIONS_AT_ONCE = 3e9
"""In the forward pass of a step: a larger stack is no faster, because its activations no longer fit
into the cache.
"""

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
    """Epoch → seed; for a network that cannot be stacked, see `stack_size`."""


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


def stack_size(network: Network, batch_size: int) -> int:
    """The number of such networks to train together; 1 if a stack would be no faster, and with
    dropout.

    Dropout draws from one stream of random numbers for the whole stack, and would depend on the
    other networks.
    """
    if any(
        isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0
        for module in network.modules()
    ):
        return 1
    operations = operations_per_sample(copy.deepcopy(network).to("meta").eval()) * batch_size
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


class Stack:
    """Trains the networks of several tasks side by side.

    tasks   of one architecture, with names of their own and the same numbers of rows; see
            `stack_size` for how many
    folder  gets `stack.safetensors`, from which training resumes
    Optimizers must update each number independently, with steps in proportion to the learning rate.
    Raises ValueError for callbacks of tasks without validation rows.
    """

    _networks: StackedNetworks

    def __init__(
        self, tasks: Sequence[Task], recipe: Recipe, device: torch.device, folder: Path
    ) -> None:
        if tasks[0].validation is None and tasks[0].callbacks:
            raise ValueError(
                f"{tasks[0].name} has no validation rows, which callbacks need; leave the"
                " callbacks out"
            )
        self.tasks, self.recipe, self.device, self.folder = list(tasks), recipe, device, folder
        self.outcomes = [Outcome() for _ in tasks]
        self.epochs_done = 0
        self._train_size = len(next(iter(tasks[0].train.values())))
        self.batches = math.ceil(self._train_size / recipe.batch_size)
        self._small = stack_size(tasks[0].model.network, recipe.batch_size) > 1
        self._module = LossModule(
            with_norms_for_stacks(copy.deepcopy(tasks[0].model.network)), recipe
        )
        for task in tasks:
            task.model.to(device)
        self._train = [
            self._transformed(position, task.train, "training")
            for position, task in enumerate(tasks)
        ]
        self._validation = [
            (
                self._transformed(position, task.validation, "validation")
                if task.validation is not None
                else {}
            )
            for position, task in enumerate(tasks)
        ]
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
        before = self._networks
        self._positions = [self._positions[row] for row in remaining]
        rows = self._in_company(remaining)
        self._take(before.weights, before.buffers, rows)
        if rows:
            self._networks.groups[0].state.update(
                (
                    name,
                    (
                        value[rows]
                        if isinstance(value, Tensor) and value.shape == before.weights.shape
                        else value
                    ),
                )
                for name, value in before.groups[0].state.items()
            )

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
        self._networks = StackedNetworks(
            self._module, self._layout, weights[rows], taken, [(self.recipe, len(rows))]
        )

    def _stacked(self, samples: Sequence[Tensors]) -> Tensors:
        of_each = [samples[position] for position in self._in_company(self._positions)]
        return (
            {name: torch.stack([tensors[name] for tensors in of_each]) for name in of_each[0]}
            if of_each
            else {}
        )

    def _train_epoch(self) -> Tensor:
        """Train all current networks for an epoch; returns their losses, (batch, network,
        output).
        """
        epoch, size = self.epochs_done + 1, self.recipe.batch_size
        trained = [
            (self.tasks[position], self.outcomes[position])
            for position in self._in_company(self._positions)
        ]
        orders = torch.stack([task.order(epoch) for task, _ in trained]).to(self.device)
        rows = torch.arange(len(orders), device=self.device)[:, None]
        shuffled = {
            name: values[rows, orders].split(size, dim=1) for name, values in self._inputs.items()
        }
        factors = [[outcome.learning_rate_factor] for _, outcome in trained]
        on_device = (
            None if factors == [[1.0]] * len(factors) else torch.tensor(factors, device=self.device)
        )
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
            task, outcome = self.tasks[position], self.outcomes[position]
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
