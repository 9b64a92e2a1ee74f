"""What a training run is told: how to train, and on what."""

from __future__ import annotations

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
"""Name in a spec → the type that operations are cast to, if any."""


@dataclass(frozen=True)
class Recipe:
    """How to train; plain values, see the experience spec."""

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
    """Whose weights are the result: "best", of the epoch with the least validation loss, or "last"."""
    layer_decay: float = 1.0
    """What the learning rate of a weight is multiplied by, once for each layer above it; see `layers_above`."""
    frozen: Sequence[str] = ()
    """Operations that stay as they are: neither weights change nor what is normalised by, and nothing is dropped."""
    epochs_frozen: int | None = None
    """How many epochs they do so; None: all."""

    def frozen_in(self, epoch: int) -> Sequence[str]:
        """The operations that stay as they are in an epoch, counted from 1."""
        return self.frozen if self.epochs_frozen is None or epoch <= self.epochs_frozen else ()


class Data(Protocol):
    """Where the samples come from. Training samples are new every epoch, the others always the same."""

    @property
    def train_size(self) -> int: ...
    @property
    def validation(self) -> Samples: ...
    @property
    def test(self) -> Samples: ...
    def epoch(self, number: int, batch_size: int, prepared: Prepare) -> Callable[[int], Samples]:
        """The batches of an epoch by their number, counted from 0, each as `prepared` makes it of plain samples."""
        ...

    def to_fit(self) -> Samples:
        """Training samples for transforms to be fitted to."""
        ...

    def counted(self, output: str, samples: Samples) -> Tensor | None:
        """Which values of samples the metrics of an output are taken of, in its shape; None: all."""
        ...


@dataclass(frozen=True)
class DrawnData:
    """Samples that are drawn all at once: those of an epoch are in memory together."""

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
