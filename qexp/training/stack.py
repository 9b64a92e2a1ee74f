"""Many small networks of one architecture, trained together in one computation; each as if it were alone.

The networks differ in their weights, their rows and their fitted transforms. Every step is one batched pass over all of
them (`torch.func`), with the weights of each in a row of one matrix, so that an optimizer's step is one operation too.
What a network becomes does not depend on who is beside it, to the last bit; with activations that torch rounds by their
place in memory (gelu, silu and other smooth ones may), to about 1e-7 per step.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from qexp.models.inversion import BATCH, Inversion
from qexp.models.modules.sequence import SequenceNorm
from qexp.models.network import Network, operations_per_sample
from qexp.training import checkpoint, loop
from qexp.training.callbacks import Callback
from qexp.training.determinism import deterministic, own_random_state
from qexp.training.epoch_lines import EpochLines, Line, line_of
from qexp.training.losses import total
from qexp.training.recipe import PRECISIONS, Recipe, Samples
from qexp.training.weight_layout import Layout

Tensors = dict[str, Tensor]


@dataclass
class Task:
    """One network to train: its first weights, its fitted transforms, its rows."""

    name: str
    model: Inversion
    train: Samples
    validation: Samples | None
    order: Callable[[int], Tensor]
    """Epoch → in which order the training rows are seen."""
    callbacks: Sequence[Callback] = ()
    """Its own, not shared with another task."""
    dropout_seed: Callable[[int], int] | None = None
    """Epoch → seed; for a network that cannot be stacked, see `stackable`."""


@dataclass
class Outcome:
    """How far one task has come, and how it ended."""

    best_epoch: int = 0
    """Whose weights are kept."""
    best_loss: float = math.inf
    learning_rate_factor: float = 1.0
    stopped: str | None = None
    """Why training ended before the last epoch."""
    failed: str | None = None
    """What went wrong; the others went on."""
    callbacks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return self.stopped is not None or self.failed is not None


class Listener(Protocol):
    """Hears how training goes."""

    def epoch_done(self, epoch: int, lines: EpochLines, seconds: float) -> None:
        """Lines by the task's position, of the tasks that are still trained."""

    def checkpoint_written(self, epoch: int) -> None: ...


def stackable(network: nn.Module) -> bool:
    """Whether it can be trained beside others: dropout draws from one stream, which then depends on who is there."""
    return not any(isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0 for module in network.modules())


OPERATIONS_AT_ONCE = 3e9
"""In the forward pass of a step: more of them at once are no faster, and what lies between leaves the cache."""

LARGEST_STACK = 512

KEPT_MEMORY = 31 * 2**20
"""Bytes; glibc takes no notice of blocks of more than 32 MiB."""


def stack_size(network: Network, batch_size: int) -> int:
    """How many such networks to train together; 1 where it does not pay."""
    if not stackable(network):
        return 1
    operations = operations_per_sample(copy.deepcopy(network).to("meta").eval()) * batch_size
    return max(1, min(LARGEST_STACK, int(OPERATIONS_AT_ONCE / max(operations, 1))))


class Stack:
    """Trains the networks of several tasks side by side.

    folder  gets `stack.safetensors`: all that it takes to go on
    Optimizers must work number by number, with steps in proportion to the learning rate, as those of the table do.
    Raises ValueError if the tasks cannot be stacked.
    """

    _buffers: Tensors
    _optimizer: torch.optim.Optimizer

    def __init__(self, tasks: Sequence[Task], recipe: Recipe, device: torch.device, folder: Path) -> None:
        _require_alike(tasks, recipe)
        _keep_freed_memory()
        self.tasks, self.recipe, self.device, self.folder = list(tasks), recipe, device, folder
        self.outcomes = [Outcome() for _ in tasks]
        self.epochs_done = 0
        self._train_size = _rows(tasks[0].train)
        self.batches = math.ceil(self._train_size / recipe.batch_size)
        self._small = stack_size(tasks[0].model.network, recipe.batch_size) > 1
        self._judged = _Judged(_with_norms_for_stacks(copy.deepcopy(tasks[0].model.network)), recipe)
        for task in tasks:
            task.model.to(device)
        self._train = [self._transformed(position, task.train, "training") for position, task in enumerate(tasks)]
        self._validation = [
            self._transformed(position, task.validation, "validation") if task.validation is not None else {}
            for position, task in enumerate(tasks)
        ]
        self._layout = Layout(self._judged)
        states = [_Judged(task.model.network, recipe) for task in tasks]
        self._kept = torch.stack([self._layout.row(one) for one in states]).to(device)
        self._kept_buffers = {
            name: torch.stack([dict(one.named_buffers())[name] for one in states]).to(device)
            for name, _ in self._judged.named_buffers()
        }
        columns = 2 + len(recipe.losses) * (1 if tasks[0].validation is None else 2)
        self._history = torch.full((len(tasks), recipe.epochs, columns), math.nan, dtype=torch.float64)
        self._enter([position for position, outcome in enumerate(self.outcomes) if not outcome.ended])

    def run(self, listener: Listener, interrupted: Callable[[], bool]) -> bool:
        """Train to the end, or until `interrupted()` between two epochs. True if it got to the end.

        Afterwards every model has the weights that its task keeps, and `outcomes` tell how it went.
        """
        checkpointed_at, unwritten = time.monotonic(), False
        with own_random_state(self.device), deterministic():
            while self._goes_on():
                if interrupted():
                    if unwritten:
                        self._write_checkpoint(listener)
                    return False
                started = time.perf_counter()
                lines = self._close_epoch(self._train_epoch())
                unwritten = True
                listener.epoch_done(self.epochs_done, lines, time.perf_counter() - started)
                if time.monotonic() - checkpointed_at > loop.SECONDS_BETWEEN_CHECKPOINTS:
                    self._write_checkpoint(listener)
                    checkpointed_at, unwritten = time.monotonic(), False
            if unwritten:
                self._write_checkpoint(listener)
        self._load_kept()
        return True

    def _goes_on(self) -> bool:
        return bool(self._positions) and self.epochs_done < self.recipe.epochs

    def lines(self, position: int) -> list[Line]:
        """The lines of a task's epochs so far."""
        return [self._line(numbers, epoch) for epoch, numbers in enumerate(self.curve(position).tolist(), start=1)]

    def curve(self, position: int) -> Tensor:
        """The same as numbers, (epoch, ...): see `line_of`."""
        history = self._history[position]
        return history[~history[:, 0].isnan()]

    def resume(self) -> int:
        """Go on from `stack.safetensors`, if there is one. Returns the number of epochs that are complete."""
        path = self.folder / "stack.safetensors"
        if not path.exists():
            return 0
        tensors, document = checkpoint.read(path)
        names = [task.name for task in self.tasks]
        if document["tasks"] != names:
            raise ValueError(f"{path} holds other networks: {', '.join(document['tasks'])}; not {', '.join(names)}")
        self.epochs_done = document["epochs_done"]
        self.outcomes = [Outcome(**one) for one in document["outcomes"]]
        for task, outcome in zip(self.tasks, self.outcomes, strict=True):
            for callback, state in zip(task.callbacks, outcome.callbacks, strict=True):
                callback.restore(state)
        self._history = tensors["history"]
        self._kept = tensors["kept"].to(self.device)
        self._kept_buffers = {name: tensors[f"kept.{name}"].to(self.device) for name in self._kept_buffers}
        self._enter([position for position, outcome in enumerate(self.outcomes) if not outcome.ended])
        if self._goes_on():
            with torch.no_grad():
                self._weights.copy_(tensors["weights"])
            self._buffers = {name: tensors[f"buffers.{name}"].to(self.device) for name in self._buffers}
            checkpoint.restore_optimizer(self._optimizer, tensors)
        return self.epochs_done

    def _transformed(self, position: int, samples: Samples, part: str) -> Tensors:
        task = self.tasks[position]
        try:
            on_device = {name: values.to(self.device) for name, values in samples.items()}
            return loop.transformed(task.model, on_device, self.recipe, part)
        except loop.DivergedError as error:
            self.outcomes[position].failed = f"{task.name}: {error}"
            return {}

    def _enter(self, positions: list[int]) -> None:
        """Make these tasks the ones that are trained, from the weights that are kept of them."""
        self._positions, rows = positions, self._in_company(positions)
        self._weights = nn.Parameter(self._kept[rows].clone())
        self._buffers = {name: values[rows].clone() for name, values in self._kept_buffers.items()}
        self._gather()
        if positions:
            self._optimizer = self.recipe.optimizer([self._weights], self.recipe.learning_rate)

    def _leave(self, remaining: list[int]) -> None:
        """Go on with some of those that are trained; positions in the stack, not among the tasks."""
        before, state = self._weights, self._optimizer.state[self._weights]
        self._positions = [self._positions[row] for row in remaining]
        remaining = self._in_company(remaining)
        self._weights = nn.Parameter(before.detach()[remaining].clone())
        self._buffers = {name: values[remaining].clone() for name, values in self._buffers.items()}
        self._gather()
        if remaining:
            self._optimizer = self.recipe.optimizer([self._weights], self.recipe.learning_rate)
            self._optimizer.state[self._weights] = {
                name: value[remaining].clone() if isinstance(value, Tensor) and value.shape == before.shape else value
                for name, value in state.items()
            }

    def _in_company(self, rows: list[int]) -> list[int]:
        """A product for a stack of one may round in another way than for two; what is alone is therefore doubled."""
        return rows * 2 if len(rows) == 1 and self._small else rows

    def _gather(self) -> None:
        """Rows of all that are trained, (network, sample, ...), and the views of their weights."""
        self._inputs = self._stacked(self._train)
        self._seen = self._stacked(self._validation)
        self._views = self._layout.views(self._weights.detach())
        for view in self._views.values():
            view.requires_grad_()
        self._weights.grad = torch.zeros_like(self._weights)
        self._gradients = self._layout.views(self._weights.grad)

    def _stacked(self, samples: Sequence[Tensors]) -> Tensors:
        of_each = [samples[position] for position in self._in_company(self._positions)]
        return {name: torch.stack([one[name] for one in of_each]) for name in of_each[0]} if of_each else {}

    def _train_epoch(self) -> Tensor:
        """Returns the losses, (batch, network, output)."""
        epoch, size = self.epochs_done + 1, self.recipe.batch_size
        trained = [(self.tasks[one], self.outcomes[one]) for one in self._in_company(self._positions)]
        orders = torch.stack([task.order(epoch) for task, _ in trained]).to(self.device)
        rows = torch.arange(len(orders), device=self.device)[:, None]
        shuffled = {name: values[rows, orders].split(size, dim=1) for name, values in self._inputs.items()}
        factors = torch.tensor([[outcome.learning_rate_factor] for _, outcome in trained], device=self.device)
        seed = self.tasks[self._positions[0]].dropout_seed
        if seed is not None:
            torch.manual_seed(seed(epoch))
        self._judged.train()
        losses = []
        for batch in range(self.batches):
            rate = loop.scheduled_rate(self.recipe, epoch, batch, self.batches)
            losses.append(self._step({name: values[batch] for name, values in shuffled.items()}, rate, factors))
        return torch.stack(losses).cpu()

    def _step(self, samples: Tensors, rate: float, factors: Tensor) -> Tensor:
        """One step of all networks; returns their losses, (network, output)."""
        objectives, losses = self._judge(self._views, samples)
        given = torch.autograd.grad(objectives.sum(), list(self._views.values()), allow_unused=True)
        for into, gradient in zip(self._gradients.values(), given, strict=True):
            into.zero_() if gradient is None else into.copy_(gradient)
        gradients = self._weights.grad
        assert gradients is not None
        if self.recipe.gradient_clip is not None:
            norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
            gradients.mul_((self.recipe.gradient_clip / (norms + 1e-6)).clamp(max=1.0))
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        alike = bool((factors == 1).all())
        before = None if alike else self._weights.detach().clone()
        self._optimizer.step()
        if before is not None:  # steps are in proportion to the rate; where the factor is 1, `lerp` changes no bit
            self._weights.data.copy_(torch.lerp(before, self._weights.detach(), factors))
        return losses.detach()

    def _judge(self, weights: Tensors, samples: Tensors) -> tuple[Tensor, Tensor]:
        """What each network's step makes small, (network,), and its losses, (network, output)."""
        cast = PRECISIONS[self.recipe.precision]
        with torch.autocast(self.device.type, cast) if cast else contextlib.nullcontext():
            judged: tuple[Tensor, Tensor] = vmap(self._call, randomness="different")(weights, self._buffers, samples)
        return judged

    def _call(self, weights: Tensors, buffers: Tensors, samples: Tensors) -> Any:
        return functional_call(self._judged, (weights, buffers), (samples,))

    @torch.no_grad()
    def _validate(self) -> Tensor:
        """Losses, (network, output)."""
        self._judged.eval()
        rows = next(iter(self._seen.values())).shape[1]
        parts = [
            (self._judge(self._views, {name: values[:, at : at + BATCH] for name, values in self._seen.items()})[1],
             min(BATCH, rows - at) / rows)
            for at in range(0, rows, BATCH)
        ]  # fmt: skip
        return torch.stack([losses * share for losses, share in parts]).sum(0).cpu()

    def _close_epoch(self, batch_losses: Tensor) -> EpochLines:
        """Validate, keep what is best, let the callbacks act. Returns the epoch's lines."""
        means = loop.mean_losses(batch_losses, self.recipe.batch_size, self._train_size).tolist()
        validated = self._validate().double().tolist() if self._seen else None
        sound = torch.isfinite(batch_losses).flatten(2).all(-1).all(0).tolist()
        epoch = self.epochs_done + 1
        rate = loop.scheduled_rate(self.recipe, epoch, self.batches - 1, self.batches)
        better, written, numbers = [], [], []
        for row, position in enumerate(self._positions):
            task, outcome = self.tasks[position], self.outcomes[position]
            problem = None if sound[row] else loop.divergence(batch_losses[:, row], self.recipe, epoch)
            loss = math.nan if validated is None else sum(validated[row])
            if problem is None and validated is not None and not math.isfinite(loss):
                problem = f"the validation loss of epoch {epoch} is {loss}; try a lower learning rate"
            if problem is not None:
                outcome.failed = f"{task.name}: {problem}"
                continue
            if loss < outcome.best_loss or self.recipe.keep == "last":
                outcome.best_loss, outcome.best_epoch = loss, epoch
                better.append(row)
            judged = validated[row] if validated is not None else []
            best = float(outcome.best_epoch == epoch)
            numbers.append([rate * outcome.learning_rate_factor, *means[row], *judged, best])
            written.append(position)
            if task.callbacks:
                view = _EpochView(outcome, self._line(numbers[-1], epoch), loss)
                for callback in task.callbacks:
                    callback.after_epoch(view)
        lines = EpochLines(list(self.recipe.losses), epoch, dict(zip(written, numbers, strict=True)))
        if written:
            self._history[written, epoch - 1] = torch.tensor(numbers, dtype=torch.float64)
        self._keep(better)
        self.epochs_done = epoch
        remaining = [row for row, position in enumerate(self._positions) if not self.outcomes[position].ended]
        if len(remaining) < len(self._positions):
            self._leave(remaining)
        return lines

    def _keep(self, rows: list[int]) -> None:
        if not rows or (self.recipe.keep == "last" and self._may_come_later()):
            return
        weights = self._weights.detach()
        for row in rows:
            self._kept[self._positions[row]].copy_(weights[row])
            for name, values in self._kept_buffers.items():
                values[self._positions[row]].copy_(self._buffers[name][row])

    def _may_come_later(self) -> bool:
        """Whether another epoch will follow for all, so that there is no need to keep this one's weights yet."""
        stops = any(self.outcomes[position].ended for position in self._positions)
        return self.epochs_done + 1 < self.recipe.epochs and not stops

    def _line(self, numbers: Sequence[float], epoch: int) -> Line:
        return line_of(numbers, epoch, list(self.recipe.losses))

    def _load_kept(self) -> None:
        for position, task in enumerate(self.tasks):
            views = self._layout.views(self._kept[position : position + 1])
            state = {**views, **{name: values[position : position + 1] for name, values in self._kept_buffers.items()}}
            network = _Judged(task.model.network, self.recipe)
            with torch.no_grad():
                for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
                    tensor.copy_(state[name][0])

    def _write_checkpoint(self, listener: Listener) -> None:
        for task, outcome in zip(self.tasks, self.outcomes, strict=True):
            outcome.callbacks = [callback.state() for callback in task.callbacks]
        tensors = {
            "history": self._history,
            "kept": self._kept,
            **{f"kept.{name}": values for name, values in self._kept_buffers.items()},
        }
        if self._goes_on():
            tensors |= {
                "weights": self._weights,
                **{f"buffers.{name}": values for name, values in self._buffers.items()},
                **checkpoint.optimizer_tensors(self._optimizer),
            }
        document = {
            "tasks": [task.name for task in self.tasks],
            "epochs_done": self.epochs_done,
            "outcomes": [asdict(outcome) for outcome in self.outcomes],
        }
        checkpoint.write(self.folder / "stack.safetensors", tensors, document)
        listener.checkpoint_written(self.epochs_done)


class _Judged(nn.Module):
    """A network and the losses it is trained by, as one function of its weights."""

    def __init__(self, network: Network, recipe: Recipe) -> None:
        super().__init__()
        self.network, self._recipe = network, recipe

    def forward(self, samples: Tensors) -> tuple[Tensor, Tensor]:
        made = self.network({name: samples[name] for name in self.network.inputs})
        losses = [loss(made[name].float(), samples[name]) for name, loss in self._recipe.losses.items()]
        return total(losses, self.network.penalty()), torch.stack(losses)


def _with_norms_for_stacks(network: Network) -> Network:
    """Torch's own normalisation of rows rounds by who is beside whom; the one that is written for stacks does not."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm1d:
                setattr(module, name, SequenceNorm(child.num_features, child.eps, child.momentum))
    return network


class _EpochView:
    """What callbacks see of one task's epoch."""

    def __init__(self, outcome: Outcome, line: dict[str, Any], validation_loss: float) -> None:
        self._outcome, self.line, self.validation_loss = outcome, line, validation_loss
        self.learning_rate: float = line["learning_rate"]

    def scale_learning_rate(self, factor: float) -> None:
        self._outcome.learning_rate_factor *= factor

    def stop(self, reason: str) -> None:
        self._outcome.stopped = reason

    def evaluate_test(self) -> dict[str, dict[str, float]]:
        raise ValueError("a network of a stack has no test part to look at; leave out 'test_evaluate'")


def _keep_freed_memory() -> None:
    """Let what a step frees serve the next: glibc gives it back to the system until so large a block has been freed.

    Getting it again, page by page, took a tenth of the time of a step of large networks.
    """
    torch.empty(KEPT_MEMORY, dtype=torch.uint8, device="cpu")


def _rows(samples: Samples) -> int:
    return len(next(iter(samples.values())))


def _require_alike(tasks: Sequence[Task], recipe: Recipe) -> None:
    if not tasks:
        raise ValueError("a stack needs at least one task")
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise ValueError(f"tasks of a stack need names of their own, but there are two of {_repeated(names)}")
    first = tasks[0]
    for task in tasks:
        sizes = _rows(task.train), None if task.validation is None else _rows(task.validation)
        others = _rows(first.train), None if first.validation is None else _rows(first.validation)
        if sizes != others:
            raise ValueError(
                f"{task.name} has {sizes[0]} training and {sizes[1] or 'no'} validation rows, {first.name} has "
                f"{others[0]} and {others[1] or 'no'}; stack only tasks with equally many"
            )
        if _shapes(task.model.network) != _shapes(first.model.network):
            raise ValueError(f"{task.name} has another architecture than {first.name}; stack only networks of one")
        if len(tasks) > 1 and not stackable(task.model.network):
            raise ValueError(
                f"the network of {task.name} has dropout, which is not the same in a stack; train it alone"
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
