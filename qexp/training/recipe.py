"""What a training run is told: how to train, and on what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qexp.training.callbacks import Callback
from qexp.training.losses import Loss
from qexp.training.metrics import Metric
from qexp.training.schedules import Schedule

Samples = Mapping[str, Tensor]
"""Variable → (sample, ...) in the variable's unit, on the training device."""

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}
"""Name in a spec → the type that operations are cast to, if any."""


@dataclass(frozen=True)
class Recipe:
    """How to train; plain values, see the experience spec."""

    losses: Mapping[str, Loss]
    metrics: Mapping[str, Mapping[str, Metric]]
    optimizer: Callable[[Sequence[nn.Parameter], float], torch.optim.Optimizer]
    learning_rate: float
    schedule: Schedule
    epochs: int
    batch_size: int
    callbacks: Sequence[Callback] = ()
    gradient_clip: float | None = None
    precision: str = "float32"
    keep: str = "best"
    """Whose weights are the result: "best", of the epoch with the least validation loss, or "last"."""


@dataclass(frozen=True)
class Data:
    """Where the samples come from. Training samples are new every epoch, the others always the same."""

    train: Callable[[int], Samples]
    validation: Samples
    test: Samples
    train_size: int
