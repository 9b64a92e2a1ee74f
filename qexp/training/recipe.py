"""How to train, and the data to train on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from qexp.metrics.metric import Metric
from qexp.training.callbacks import Callback
from qexp.training.losses import Loss
from qexp.training.optimizers import Weights
from qexp.training.schedules import Schedule

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
    """The epoch whose weights are the result: "best", with the lowest validation loss, or "last"."""
    layer_decay: float = 1.0
    """A weight's learning rate is multiplied by this once for each layer above it; see `layers_above`."""
    frozen: Sequence[str] = ()
    """Frozen operations: weights and batch statistics are fixed, dropout is off."""
    epochs_frozen: int | None = None
    """The number of epochs that they stay frozen; None for all."""

    def frozen_in(self, epoch: int) -> Sequence[str]:
        """The operations that are frozen in an epoch, counted from 1."""
        return self.frozen if self.epochs_frozen is None or epoch <= self.epochs_frozen else ()


class Data(Protocol):
    """The samples. Training samples may differ from epoch to epoch; validation and test samples never do."""

    @property
    def train_size(self) -> int:
        """Training samples per epoch."""

    @property
    def validation(self) -> Samples:
        """The validation samples, the same at each call."""

    @property
    def test(self) -> Samples:
        """The test samples, the same at each call."""

    def epoch(self, number: int, batch_size: int, prepared: Prepare) -> Callable[[int], Samples]:
        """Number of a batch, counted from 0 → its samples, to which `prepared` was applied."""
        ...

    def to_fit(self) -> Samples:
        """Training samples to which transforms are fitted."""
        ...

    def counted(self, output: str, samples: Samples) -> Tensor | None:
        """The values of an output that its metrics are computed from: booleans in its shape; None for all."""
        ...

    def training_mean(self, output: str) -> float:
        """The mean of the training targets of an output, in its unit; NaN if there is no such mean."""
        ...


@dataclass(frozen=True)
class DrawnData:
    """Data sets that draw all samples of an epoch at once and hold them in memory."""

    train: Callable[[int], Samples]
    validation: Samples
    test: Samples
    train_size: int

    def epoch(self, number: int, batch_size: int, prepared: Prepare) -> Callable[[int], Samples]:
        samples = prepared(self.train(number))
        batches = {name: values.split(batch_size) for name, values in samples.items()}
        return lambda index: {name: of_name[index] for name, of_name in batches.items()}

    def to_fit(self) -> Samples:
        return self.train(0)

    def counted(self, output: str, samples: Samples) -> Tensor | None:
        return None

    def training_mean(self, output: str) -> float:
        return math.nan
