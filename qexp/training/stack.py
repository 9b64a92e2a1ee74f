"""Many small networks of one architecture, trained together in one computation, each as if it were trained alone.

The networks differ in their weights, their rows and their fitted transforms. Every step is one batched pass over all of
them (`torch.func`). The weights of each are a row of one matrix, so that an optimizer's step is one operation, too.
A trained network does not depend on the others in its stack, to the last bit. For activations that torch rounds
differently by their place in memory (gelu, silu and other smooth ones), it depends on them by about 1e-7 per step.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from qexp.models.inversion import BATCH
from qexp.training import checkpoint, loop
from qexp.training.best_epoch import BestRows, is_kept
from qexp.training.determinism import deterministic, own_random_state
from qexp.training.epoch_lines import EpochLines, Line, line_of
from qexp.training.freed_memory import keep_freed_memory
from qexp.training.loss_module import LossModule, with_norms_for_stacks
from qexp.training.recipe import PRECISIONS, Recipe, Samples
from qexp.training.stack_tasks import Outcome, Task, require_alike, row_count, stack_size
from qexp.training.weight_layout import WeightLayout

Tensors = dict[str, Tensor]


class StackListener(Protocol):
    """Receives the progress of training."""

    def epoch_done(self, epoch: int, lines: EpochLines, seconds: float) -> None:
        """lines  position of a task → its line of `metrics.jsonl`; without the tasks that have ended"""

    def checkpoint_written(self, epoch: int) -> None: ...


class Stack:
    """Trains the networks of several tasks side by side.

    folder  gets `stack.safetensors`, from which training resumes
    Optimizers must update each number independently, with steps in proportion to the learning rate.
    Raises ValueError if the tasks cannot be stacked.
    """

    _buffers: Tensors
    _optimizer: torch.optim.Optimizer

    def __init__(self, tasks: Sequence[Task], recipe: Recipe, device: torch.device, folder: Path) -> None:
        require_alike(tasks, recipe)
        keep_freed_memory()
        self.tasks, self.recipe, self.device, self.folder = list(tasks), recipe, device, folder
        self.outcomes = [Outcome() for _ in tasks]
        self.epochs_done = 0
        self._train_size = row_count(tasks[0].train)
        self.batches = math.ceil(self._train_size / recipe.batch_size)
        self._small = stack_size(tasks[0].model.network, recipe.batch_size) > 1
        self._module = LossModule(with_norms_for_stacks(copy.deepcopy(tasks[0].model.network)), recipe)
        for task in tasks:
            task.model.to(device)
        self._train = [self._transformed(position, task.train, "training") for position, task in enumerate(tasks)]
        self._validation = [
            self._transformed(position, task.validation, "validation") if task.validation is not None else {}
            for position, task in enumerate(tasks)
        ]
        self._layout = WeightLayout(self._module)
        self._best = BestRows(self._layout, [LossModule(task.model.network, recipe) for task in tasks], device)
        columns = 2 + len(recipe.losses) * (1 if tasks[0].validation is None else 2)
        self._history = torch.full((len(tasks), recipe.epochs, columns), math.nan, dtype=torch.float64)
        self._enter([position for position, outcome in enumerate(self.outcomes) if not outcome.ended])

    def run(self, listener: StackListener, interrupted: Callable[[], bool]) -> bool:
        """Train to the end, or until `interrupted()` between two epochs. True if it got to the end.

        At the end every model has the weights of its kept epoch; `outcomes` has a result for each task.
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
        self._load_best()
        return True

    def _goes_on(self) -> bool:
        return bool(self._positions) and self.epochs_done < self.recipe.epochs

    def lines(self, position: int) -> list[Line]:
        """The lines of a task's epochs so far, as in `metrics.jsonl`."""
        return [self._line(numbers, epoch) for epoch, numbers in enumerate(self.curve(position).tolist(), start=1)]

    def curve(self, position: int) -> Tensor:
        """The same as numbers, (epoch, number), in the order that `line_of` takes."""
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
        if document["tasks"] != names:
            raise ValueError(f"{path} holds other networks: {', '.join(document['tasks'])}; not {', '.join(names)}")
        self.epochs_done = document["epochs_done"]
        self.outcomes = [Outcome(**one) for one in document["outcomes"]]
        for task, outcome in zip(self.tasks, self.outcomes, strict=True):
            for callback, state in zip(task.callbacks, outcome.callbacks, strict=True):
                callback.restore(state)
        self._history = tensors["history"]
        self._best.restore(tensors)
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
            return loop.transformed(task.model, on_device, part)
        except loop.DivergedError as error:
            self.outcomes[position].failed = f"{task.name}: {error}"
            return {}

    def _enter(self, positions: list[int]) -> None:
        """Start to train these tasks from their kept weights."""
        self._positions, rows = positions, self._in_company(positions)
        self._weights = nn.Parameter(self._best.weights[rows].clone())
        self._buffers = {name: values[rows].clone() for name, values in self._best.buffers.items()}
        self._gather()
        if positions:
            self._optimizer = self.recipe.optimizer([self._weights], self.recipe.learning_rate)

    def _leave(self, remaining: list[int]) -> None:
        """Continue with some of the current networks, given by their rows in the stack."""
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
        """The rows to compute. A single one is doubled: products may round differently for one network than for two."""
        return rows * 2 if len(rows) == 1 and self._small else rows

    def _gather(self) -> None:
        """Stack the samples of the current networks, (network, sample, ...), and make views of their weights."""
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
        """Train all current networks for an epoch; returns their losses, (batch, network, output)."""
        epoch, size = self.epochs_done + 1, self.recipe.batch_size
        trained = [(self.tasks[one], self.outcomes[one]) for one in self._in_company(self._positions)]
        orders = torch.stack([task.order(epoch) for task, _ in trained]).to(self.device)
        rows = torch.arange(len(orders), device=self.device)[:, None]
        shuffled = {name: values[rows, orders].split(size, dim=1) for name, values in self._inputs.items()}
        factors = torch.tensor([[outcome.learning_rate_factor] for _, outcome in trained], device=self.device)
        seed = self.tasks[self._positions[0]].dropout_seed
        if seed is not None:
            torch.manual_seed(seed(epoch))
        self._module.train()
        losses = []
        for batch in range(self.batches):
            rate = loop.scheduled_rate(self.recipe, epoch, batch, self.batches)
            losses.append(self._step({name: values[batch] for name, values in shuffled.items()}, rate, factors))
        return torch.stack(losses).cpu()

    def _step(self, samples: Tensors, rate: float, factors: Tensor) -> Tensor:
        """One step of all networks; returns their losses, (network, output)."""
        objectives, losses = self._evaluate(self._views, samples)
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
        if before is not None:  # steps are proportional to the rate; `lerp` with a factor of 1 changes no bit
            self._weights.data.copy_(torch.lerp(before, self._weights.detach(), factors))
        return losses.detach()

    def _evaluate(self, weights: Tensors, samples: Tensors) -> tuple[Tensor, Tensor]:
        """The objective that each network minimises, (network,), and its losses, (network, output)."""
        cast = PRECISIONS[self.recipe.precision]
        with torch.autocast(self.device.type, cast) if cast else contextlib.nullcontext():
            made: tuple[Tensor, Tensor] = vmap(self._call, randomness="different")(weights, self._buffers, samples)
        return made

    def _call(self, weights: Tensors, buffers: Tensors, samples: Tensors) -> Any:
        return functional_call(self._module, (weights, buffers), (samples,))

    @torch.no_grad()
    def _validate(self) -> Tensor:
        """The validation losses, (network, output)."""
        self._module.eval()
        rows = next(iter(self._seen.values())).shape[1]
        parts = [
            (self._evaluate(self._views, {name: values[:, at : at + BATCH] for name, values in self._seen.items()})[1],
             min(BATCH, rows - at) / rows)
            for at in range(0, rows, BATCH)
        ]  # fmt: skip
        return torch.stack([losses * share for losses, share in parts]).sum(0).cpu()

    def _close_epoch(self, batch_losses: Tensor) -> EpochLines:
        """Validate, keep the weights of each network at its best, run the callbacks. Returns the epoch's lines."""
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
            if is_kept(loss, outcome.best_loss, self.recipe.keep):
                outcome.best_loss, outcome.best_epoch = loss, epoch
                better.append(row)
            validation = validated[row] if validated is not None else []
            best = float(outcome.best_epoch == epoch)
            numbers.append([rate * outcome.learning_rate_factor, *means[row], *validation, best])
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
            buffers = {name: values[row] for name, values in self._buffers.items()}
            self._best.keep(self._positions[row], weights[row], buffers)

    def _may_come_later(self) -> bool:
        """Whether another epoch will follow for all networks, so that this one's weights need not be copied."""
        stops = any(self.outcomes[position].ended for position in self._positions)
        return self.epochs_done + 1 < self.recipe.epochs and not stops

    def _line(self, numbers: Sequence[float], epoch: int) -> Line:
        return line_of(numbers, epoch, list(self.recipe.losses))

    def _load_best(self) -> None:
        for position, task in enumerate(self.tasks):
            self._best.load_into(position, LossModule(task.model.network, self.recipe))

    def _write_checkpoint(self, listener: StackListener) -> None:
        for task, outcome in zip(self.tasks, self.outcomes, strict=True):
            outcome.callbacks = [callback.state() for callback in task.callbacks]
        tensors = {"history": self._history, **self._best.tensors()}
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


class _EpochView:
    """One task's epoch as callbacks see it."""

    def __init__(self, outcome: Outcome, line: dict[str, Any], validation_loss: float) -> None:
        self._outcome, self.line, self.validation_loss = outcome, line, validation_loss
        self.learning_rate: float = line["learning_rate"]

    def scale_learning_rate(self, factor: float) -> None:
        self._outcome.learning_rate_factor *= factor

    def stop(self, reason: str) -> None:
        self._outcome.stopped = reason

    def evaluate_test(self) -> dict[str, dict[str, float]]:
        raise ValueError("networks of a stack have no test part; leave out the callback 'test_evaluate'")
