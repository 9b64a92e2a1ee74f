"""The training of a network: afresh or from a checkpoint, it ends with the same bits."""

from __future__ import annotations

import contextlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qexp.base.seeds import Seeds
from qexp.base.text import leaves
from qexp.errors import DamagedError, QexpError
from qexp.metrics.metric import Metric, evaluate
from qexp.networks import checkpoint
from qexp.networks.callbacks import Callback, Epoch
from qexp.networks.checkpoint import BestWeights, is_kept
from qexp.networks.estimator import Estimator
from qexp.networks.losses import Loss, losses_of, of_present, total
from qexp.networks.network import layers_above
from qexp.networks.optimizers import Schedule, Weights
from qexp.networks.processes import together
from qexp.networks.steps import Steps, random_state, restore_random_state

# Reproducible bits: torch's random state, and deterministic algorithms.


def own_random_state(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Restore the caller's random state on leaving."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    """Use torch's deterministic algorithms; restore the caller's setting on leaving."""
    settings: Any = torch.utils.deterministic
    mode = torch.get_deterministic_debug_mode()
    fill = settings.fill_uninitialized_memory
    # torch.use_deterministic_algorithms would load torch's compiler
    torch.set_deterministic_debug_mode("warn")
    # it costs time, and no uninitialised memory is read here
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        settings.fill_uninitialized_memory = fill


# TensorBoard events of a run, without torch's heavy writer.


class EventWriter:
    """Writes an epoch's numbers as scalars: `validation/depth/mae` and so on.

    epochs_kept  epochs of earlier attempts that stay; TensorBoard discards its later ones
    """

    def __init__(self, folder: Path, epochs_kept: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = Event, Summary
        self._writer = EventFileWriter(str(folder))
        if epochs_kept:
            restart = SessionLog(status=SessionLog.START)
            self._writer.add_event(
                Event(wall_time=time.time(), step=epochs_kept + 1, session_log=restart)
            )

    def epoch(self, line: Mapping[str, Any]) -> None:
        """Write the numbers of an epoch's line."""
        values = [
            self._summary.Value(tag=tag, simple_value=value)
            for tag, value in leaves(line, separator="/")
            if isinstance(value, float)
        ]
        self._writer.add_event(
            self._event(
                wall_time=time.time(), step=line["epoch"], summary=self._summary(value=values)
            )
        )

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


# How to train, and the data to train on.

Samples = Mapping[str, Tensor]
"""Variable → (sample, ...) in the variable's unit, on the training device."""

Prepare = Callable[[Samples], Samples]

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}
"""Name in a spec → the type of automatic mixed precision; None for single precision throughout."""


@dataclass(frozen=True)
class Recipe:
    """How to train: the values of an experience spec as Python objects."""

    losses: Mapping[str, Loss]
    metrics: Mapping[str, Mapping[str, Metric]]
    optimizer: Callable[[Weights, float], torch.optim.Optimizer]
    learning_rate: float
    schedule: Schedule
    epochs: int
    batch_size: int
    callbacks: Sequence[Callback] = ()
    gradient_clip: float | None = None
    precision: str = "float32"
    keep: str = "best"
    """The epoch whose weights are kept: "best", with the lowest validation loss, or "last"."""
    layer_decay: float = 1.0
    """A learning rate is multiplied by this for each layer above it; see `layers_above`."""
    frozen: Sequence[str] = ()
    """Frozen operations: weights and batch statistics are fixed, dropout is off."""
    epochs_frozen: int | None = None
    """The number of epochs that they stay frozen; None for all."""

    def frozen_in(self, epoch: int) -> Sequence[str]:
        """The operations that are frozen in an epoch, counted from 1."""
        return self.frozen if self.epochs_frozen is None or epoch <= self.epochs_frozen else ()


class Data(ABC):
    """The samples. Training samples may differ by epoch; validation and test samples do not."""

    train_size: int
    """Training samples per epoch."""
    validation: Samples
    test: Samples
    absent: Collection[str] = ()
    """Outputs that some samples lack: their true values are NaN."""

    @abstractmethod
    def epoch(self, number: int, batch_size: int, prepared: Prepare) -> Callable[[int], Samples]:
        """Number of a batch, counted from 0 → its samples, to which `prepared` was applied."""

    @abstractmethod
    def to_fit(self) -> Samples:
        """Training samples to which transforms are fitted."""

    def counted(self, output: str, samples: Samples) -> Tensor | None:
        """The values of an output that metrics are computed from, as booleans; None for all."""
        return ~torch.isnan(samples[output])[:, 0] if output in self.absent else None

    def training_mean(self, output: str) -> float:
        """The mean of an output's training targets, in its unit; NaN if there is none."""
        return math.nan


def in_blocks(
    read: Callable[[int], Samples], batches: int, batch_size: int
) -> Callable[[int], Samples]:
    """Number of a batch → its samples, out of blocks of so many `batches`, one in memory at a time.

    read  from the number of a block to its samples
    """
    divided: dict[int, dict[str, tuple[Tensor, ...]]] = {}

    def batch(index: int) -> Samples:
        block, place = divmod(index, batches)
        if block not in divided:
            divided.clear()
            divided[block] = {name: each.split(batch_size) for name, each in read(block).items()}
        return {name: of_name[place] for name, of_name in divided[block].items()}

    return batch


@dataclass(frozen=True)
class DrawnData(Data):
    """Data sets that draw all samples of an epoch at once and hold them in memory."""

    train: Callable[[int], Samples]
    validation: Samples
    test: Samples
    train_size: int
    absent: Collection[str] = ()

    def epoch(self, number: int, batch_size: int, prepared: Prepare) -> Callable[[int], Samples]:
        samples = prepared(self.train(number))
        batches = {name: values.split(batch_size) for name, values in samples.items()}
        return lambda index: {name: of_name[index] for name, of_name in batches.items()}

    def to_fit(self) -> Samples:
        return self.train(0)


SECONDS_BETWEEN_CHECKPOINTS = 10.0


class DivergedError(Exception):
    """The loss is NaN or infinite."""


class TrainingListener:
    """Hears of batches from 1, lines of `metrics.jsonl` and epochs' durations, and ignores them."""

    def batch_done(self, epoch: int, batch: int, batches: int) -> None: ...
    def epoch_done(self, line: dict[str, Any], seconds: float) -> None: ...
    def checkpoint_written(self, progress: Progress) -> None: ...


@dataclass
class Progress:
    """The state of training besides tensors, kept in the checkpoint."""

    epoch: int = 1
    """The current epoch, counted from 1."""
    batch: int = 0
    """Batches of this epoch that are complete."""
    best_epoch: int = 0
    best_loss: float = math.inf
    learning_rate_factor: float = 1.0
    stopped: str | None = None
    """Why training ended before the last epoch."""
    callbacks: list[dict[str, Any]] = field(default_factory=list)


class Trainer:
    """Trains a model and keeps its two checkpoints; of several processes the first validates and
    writes.

    folder  gets `best.safetensors` (the weights of the epoch that is kept, see Recipe) and
            `last.safetensors` (weights, optimizer and progress, from which training resumes)
    """

    def __init__(
        self,
        model: Estimator,
        data: Data,
        recipe: Recipe,
        seeds: Seeds,
        device: torch.device,
        folder: Path,
    ) -> None:
        self.processes = together()
        self.processes.adapt(model.network)
        self.model = model.to(device)
        self.data = data
        self.recipe = recipe = replace(
            recipe, losses=of_present(recipe.losses, model.network, data.absent)
        )
        self.seeds = seeds
        self.device, self.folder = device, folder
        self.progress = Progress()
        self.weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._freezable = self._weights_to_freeze()
        self.optimizer = recipe.optimizer(self._groups(), recipe.learning_rate)
        changed = [*model.parameters(), *model.buffers()]
        alone = device if self.processes.count == 1 else None
        self._steps = Steps(
            self._step,
            [self.optimizer],
            lambda: changed,
            alone,
            model.network,
        )
        self.batches = math.ceil(data.train_size / recipe.batch_size)
        self._best = BestWeights(folder / "best.safetensors")
        self._batch_losses: list[Tensor] = []
        """The losses of the current epoch, batch by batch; within a batch, output by output."""
        self._dropout_state: dict[str, Tensor] | None = None
        self._checkpointed_at = time.monotonic()
        self._unwritten = False
        """Whether anything was trained since the last checkpoint."""

    def run(self, listener: TrainingListener, interrupted: Callable[[], bool]) -> bool:
        """Train to the end, then load the best weights; or until `interrupted()`. True if it got to
        the end.

        Raises DivergedError, naming the epoch and the batch, when a loss is NaN or infinite.
        """
        self._checkpointed_at = time.monotonic()
        with own_random_state(self.device), deterministic():
            while self.goes_on:
                started = time.perf_counter()
                if not self.train_epoch(listener, interrupted):
                    self.write_checkpoint(listener)
                    return False
                line = self.close_epoch() if self.processes.first else {}
                self.progress = self.processes.of_first(self.progress)
                self._batch_losses.clear()
                listener.epoch_done(line, time.perf_counter() - started)
                if time.monotonic() - self._checkpointed_at > SECONDS_BETWEEN_CHECKPOINTS:
                    self.write_checkpoint(listener)
            self.write_checkpoint(listener)
        self.load_best()
        return True

    def load_best(self) -> None:
        """Give the model the weights that are kept, after the last epoch."""
        if self.processes.first:
            self._best.load_into(self.model)

    @property
    def goes_on(self) -> bool:
        """Whether epochs are left to train."""
        return self.progress.epoch <= self.recipe.epochs and self.progress.stopped is None

    def resume(self) -> int:
        """Load `last.safetensors`, if it exists. Returns the number of complete epochs. Raises
        DamagedError.
        """
        path = self.folder / "last.safetensors"
        if not path.exists():
            return 0
        tensors, document = checkpoint.read(path)
        if "progress" not in document or "progress.batch_losses" not in tensors:
            raise DamagedError(f"{path} is damaged: the epoch and its batch losses are missing")
        with checkpoint.understood(path):
            self.progress = Progress(**document["progress"])
            for callback, state in zip(self.recipe.callbacks, self.progress.callbacks, strict=True):
                callback.restore(state)
        weights = {name: tensors[name] for name in self.model.state_dict() if name in tensors}
        losses = tensors["progress.batch_losses"]
        # After a loss of NaN the weights are NaN, too; `close_epoch` then names the batch in which
        # training diverged.
        load = checkpoint.load if torch.isfinite(losses).all() else checkpoint.load_diverged
        load(self.model, weights, path)
        with checkpoint.understood(path):
            checkpoint.restore_optimizer(self.optimizer, tensors)
        self._batch_losses = list(losses.to(self.device))
        states = {name: tensors.get(f"progress.random.{name}") for name in ("cpu", "cuda")}
        self._dropout_state = {name: state for name, state in states.items() if state is not None}
        self._best.read()
        return self.progress.epoch - 1

    def evaluate(self, samples: Samples) -> dict[str, dict[str, float]]:
        """output → metric → value, in the output's unit."""
        return self._metrics(self.model.estimate(samples), samples)

    def _metrics(self, estimates: Samples, samples: Samples) -> dict[str, dict[str, float]]:
        values = {}
        for name, metrics in self.recipe.metrics.items():
            counted = self.data.counted(name, samples)
            cells: Any = ... if counted is None else counted
            values[name] = evaluate(
                metrics, estimates[name][cells].cpu().numpy(), samples[name][cells].cpu().numpy()
            )
        return values

    def _groups(self) -> list[dict[str, Any]]:
        """Weights by the `factor` of their learning rate, and by whether they are frozen in some
        epochs.

        Weights that are frozen at first need a group of their own: in torch's fused gradient
        descent with momentum either all weights of a group have had a step, or none.
        """
        depths = layers_above(self.model.network)
        freezable = {id(weight) for weights in self._freezable.values() for weight in weights}
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, weight in self.model.named_parameters():
            if weight.requires_grad:
                factor = self.recipe.layer_decay ** depths.get(name.removeprefix("network."), 0)
                groups.setdefault((factor, id(weight) in freezable), []).append(weight)
        return [{"params": group, "factor": factor} for (factor, _), group in groups.items()]

    def _weights_to_freeze(self) -> dict[str, list[nn.Parameter]]:
        """Operation that is frozen in some epochs → its weights. Raises QexpError if no others are
        left to train.
        """
        operations = self.model.network.operations
        to_freeze = {}
        freezable = set[int]()
        for name in self.recipe.frozen:
            weights = [weight for weight in operations[name].parameters() if weight.requires_grad]
            to_freeze[name] = weights
            freezable.update(map(id, weights))
        if to_freeze and not {id(weight) for weight in self.weights} - freezable:
            raise QexpError(
                f"no weights are left to train: all belong to {', '.join(to_freeze)}; freeze fewer"
                " operations"
            )
        return to_freeze

    def train_epoch(self, listener: TrainingListener, interrupted: Callable[[], bool]) -> bool:
        """Train on the remaining batches of the epoch; False if interrupted between two."""
        progress = self.progress
        recipe = self.recipe
        batch = self.data.epoch(progress.epoch, recipe.batch_size, self.prepared)
        if progress.batch == 0:
            torch.manual_seed(self.seeds.number("train", progress.epoch, "dropout"))
        elif self._dropout_state is not None:
            restore_random_state(self._dropout_state, self.device)
        network = self.model.train().network
        frozen = recipe.frozen_in(progress.epoch)
        for name, weights in self._freezable.items():
            network.operations[name].train(name not in frozen)
            for weight in weights:
                weight.requires_grad_(name not in frozen)
        while progress.batch < self.batches:
            if self.processes.any(interrupted()):
                self._dropout_state = random_state(self.device)
                return False
            rate = self._learning_rate()
            rates = [rate * group["factor"] for group in self.optimizer.param_groups]
            samples = self.processes.mine(batch(progress.batch))
            self._batch_losses.extend(self._steps(samples, rates, tuple(frozen)))
            self._unwritten = True
            progress.batch += 1
            listener.batch_done(progress.epoch, progress.batch, self.batches)
        return True

    def prepared(self, samples: Samples) -> Samples:
        """Training samples, transformed; see `transformed`."""
        return transformed(self.model, samples, "training", self.data.absent)

    def _step(self, samples: Samples) -> Tensor:
        """Change the weights by a batch. Returns its losses, (loss,)."""
        network = self.model.network
        recipe = self.recipe
        cast = PRECISIONS[self.recipe.precision]
        with torch.autocast(self.device.type, cast) if cast else contextlib.nullcontext():
            features = self._steps.features({name: samples[name] for name in network.inputs})
        losses = losses_of(network, recipe.losses, features, samples)
        self.optimizer.zero_grad(set_to_none=True)
        batch_losses: Tensor = self.processes.backward(
            total(losses, network.penalty()), losses, self.weights
        )
        if recipe.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.weights, recipe.gradient_clip)
        self.optimizer.step()
        return batch_losses

    def close_epoch(self) -> dict[str, Any]:
        """Validate, keep the weights if they are the best, run the callbacks. Returns the epoch's
        line.

        Raises DivergedError if a loss is NaN or infinite.
        """
        batch_losses = torch.stack(self._batch_losses).view(self.batches, -1).cpu()
        return self.close(batch_losses, lambda: self.model.features(self.validation))

    def close(self, batch_losses: Tensor, features: Callable[[], Samples]) -> dict[str, Any]:
        """Close an epoch with these losses, (batch, loss); see `close_epoch`.

        features  what the network makes of the validation samples
        """
        progress, self._unwritten = self.progress, True
        progress.batch = self.batches
        if (problem := divergence(batch_losses, self.recipe, progress.epoch)) is not None:
            raise DivergedError(problem)
        means = mean_losses(batch_losses, self.recipe.batch_size, self.data.train_size)
        line: dict[str, Any] = {
            "epoch": progress.epoch,
            "learning_rate": self._learning_rate(),
            "train": {
                "loss": means.sum().item(),
                "losses": dict(zip(self.recipe.losses, means.tolist(), strict=True)),
            },
            "validation": self._validated(features()),
        }
        loss = line["validation"]["loss"]
        if not math.isfinite(loss):
            raise DivergedError(
                f"the validation loss of epoch {progress.epoch} is {loss}; try a lower learning"
                " rate"
            )
        if is_kept(loss, progress.best_loss, self.recipe.keep):
            progress.best_loss, progress.best_epoch = loss, progress.epoch
            self._best.keep(self.model)
        line["best"] = progress.best_epoch == progress.epoch
        view = Epoch(progress, line, loss, lambda: self.evaluate(self.data.test))
        for callback in self.recipe.callbacks:
            callback.after_epoch(view)
        progress.epoch = progress.epoch + 1
        progress.batch = 0
        return line

    @cached_property
    def validation(self) -> Samples:
        """The transformed validation samples, the same every epoch."""
        return transformed(self.model, self.data.validation, "validation", self.data.absent)

    def _validated(self, features: Samples) -> dict[str, Any]:
        """Losses of transformed values, metrics in the outputs' units; one forward pass."""
        network = self.model.network
        with torch.no_grad():
            values = losses_of(network, self.recipe.losses, features, self.validation)
            outputs = network.finished(features)
        losses = dict(zip(self.recipe.losses, [loss.item() for loss in values], strict=True))
        metrics = self._metrics(
            self.model.in_units(outputs, self.data.validation), self.data.validation
        )
        return {"loss": sum(losses.values()), "losses": losses, **metrics}

    def _learning_rate(self) -> float:
        progress = self.progress
        batch = min(progress.batch, self.batches - 1)
        return (
            scheduled_rate(self.recipe, progress.epoch, batch, self.batches)
            * progress.learning_rate_factor
        )

    def write_checkpoint(self, listener: TrainingListener) -> None:
        """Write both checkpoints, unless nothing was trained since the last ones."""
        if not self._unwritten or not self.processes.first:
            return
        self._best.write(self.progress.best_epoch, self.progress.best_loss)
        self.progress.callbacks = [callback.state() for callback in self.recipe.callbacks]
        extra = {
            "progress.batch_losses": (
                torch.stack(self._batch_losses) if self._batch_losses else torch.zeros(0)
            )
        }
        if self.progress.batch:  # an epoch starts from a seed of its own
            extra |= {
                f"progress.random.{name}": state
                for name, state in random_state(self.device).items()
            }
        checkpoint.write(
            self.folder / "last.safetensors",
            {**self.model.state_dict(), **checkpoint.optimizer_tensors(self.optimizer), **extra},
            {"progress": asdict(self.progress)},
        )
        self._checkpointed_at, self._unwritten = time.monotonic(), False
        listener.checkpoint_written(self.progress)


@torch.no_grad()
def transformed(
    model: Estimator, samples: Samples, part: str, absent: Collection[str] = ()
) -> dict[str, Tensor]:
    """The transformed inputs and outputs, (sample, ...) each; NaN of samples that lack an output.
    Raises DivergedError if another one is not finite then.
    """
    samples = model.completed(samples)
    values = {
        name: model.transformed_in_blocks(name, samples[name])
        # an output may also be an input
        for name in dict.fromkeys([*model.network.inputs, *model.network.outputs])
    }
    for name in model.network.outputs:
        finite = torch.isfinite(values[name])
        if not (finite | torch.isnan(samples[name]) if name in absent else finite).all():
            raise DivergedError(
                f"the transform of '{name}' is NaN or infinite for some {part} values"
            )
    return values


def mean_losses(batch_losses: Tensor, batch_size: int, train_size: int) -> Tensor:
    """Means over all samples, (...), in float64, from means over batches, (batch, ...); the last
    may be smaller.
    """
    per_batch = torch.full((len(batch_losses),), float(batch_size), dtype=torch.float64)
    per_batch[-1] = train_size - batch_size * (len(batch_losses) - 1)
    return (batch_losses.double() * per_batch.view(-1, *[1] * (batch_losses.dim() - 1))).sum(
        0
    ) / train_size


def divergence(batch_losses: Tensor, recipe: Recipe, epoch: int) -> str | None:
    """The message for the first loss of an epoch that is NaN or infinite, or None."""
    bad = (~torch.isfinite(batch_losses)).any(1).nonzero()
    if not len(bad):
        return None
    batch = int(bad[0].item())
    values = dict(zip(recipe.losses, batch_losses[batch].tolist(), strict=True))
    return (
        f"the loss is NaN or infinite in epoch {epoch}, batch {batch + 1} of {len(batch_losses)} "
        f"({', '.join(f'{name}: {value}' for name, value in values.items())}); "
        "try a lower learning rate or gradient_clip"
    )


def scheduled_rate(recipe: Recipe, epoch: int, batch: int, batches: int) -> float:
    """The learning rate that the schedule gives a step; epochs count from 1, batches from 0."""
    step = (epoch - 1) * batches + batch
    return recipe.learning_rate * recipe.schedule(step / max(recipe.epochs * batches - 1, 1))
