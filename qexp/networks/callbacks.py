"""Callbacks"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qexp.base.tables import Entry, choice, integer, number


@dataclass
class Epoch:
    """What a callback sees of an epoch, and through which it acts on the training."""

    state: Any
    """A `Progress`, or the like, with what callbacks change: `learning_rate_factor`, `stopped`."""
    line: dict[str, Any]
    """The epoch's line of `metrics.jsonl`, to which a callback may add."""
    validation_loss: float
    evaluate_test: Callable[[], dict[str, dict[str, float]]]
    """Output → metric → value over the test part."""

    def __post_init__(self) -> None:
        self.learning_rate: float = self.line["learning_rate"]
        """At the epoch's last step."""

    def scale_learning_rate(self, factor: float) -> None:
        """Multiply the learning rate of all later steps by `factor`."""
        self.state.learning_rate_factor *= factor

    def stop(self, reason: str) -> None:
        """End training after this epoch; `reason` goes into the record."""
        self.state.stopped = reason


class Callback:
    """The base class, which does nothing; subclasses override what they need."""

    def after_epoch(self, epoch: Epoch) -> None:
        """Called after validation."""

    def state(self) -> dict[str, Any]:
        """JSON values from which `restore` continues as if training had never been interrupted."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def restore(self, state: dict[str, Any]) -> None:
        """Set the state that `state` returned."""
        vars(self).update(state)


class ReduceOnPlateau(Callback):
    """Lower the learning rate when the validation loss, or the training loss, stops improving.

    factor              what it is multiplied by
    patience            epochs without improvement; 0 counts as 1
    min_delta           an improvement is a loss below best · (1 − min_relative_delta) − min_delta
    min_relative_delta  torch's `threshold` with its `threshold_mode` "rel"; its patience is this
                        one less 1
    monitor             val_loss or loss, that on training samples
    mode, verbose       of Keras; they change nothing
    """

    def __init__(
        self,
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        monitor: str = "val_loss",
        mode: str = "auto",
        verbose: int = 0,
        min_relative_delta: float = 0.0,
    ) -> None:
        self._factor, self._patience = factor, patience
        self._min_delta, self._min_relative_delta = min_delta, min_relative_delta
        self._cooldown, self._min_lr, self._monitor = cooldown, min_lr, monitor
        self.best, self.epochs_waited, self.cooling = math.inf, 0, 0

    def after_epoch(self, epoch: Epoch) -> None:
        if self.cooling > 0:
            self.cooling = self.cooling - 1
            self.epochs_waited = 0
        loss = _monitored(epoch, self._monitor)
        # of a negative loss, less is further from zero
        share = 1 - math.copysign(self._min_relative_delta, self.best)
        if loss < self.best * share - self._min_delta:
            self.best, self.epochs_waited = loss, 0
        elif self.cooling == 0:
            self.epochs_waited += 1
            if self.epochs_waited >= self._patience and epoch.learning_rate > self._min_lr:
                epoch.scale_learning_rate(max(self._factor, self._min_lr / epoch.learning_rate))
                self.cooling, self.epochs_waited = self._cooldown, 0


class EarlyStopping(Callback):
    """End the run when the validation loss, or the training loss, stops improving.

    patience       epochs without improvement; 0 counts as 1, as in Keras
    mode, verbose  of Keras; they change nothing
    """

    def __init__(
        self,
        patience: int = 10,
        min_delta: float = 0.0,
        monitor: str = "validation",
        mode: str = "auto",
        verbose: int = 0,
    ) -> None:
        self._patience = max(patience, 1)
        self._min_delta = min_delta
        self._monitor = monitor
        self.best, self.epochs_waited = math.inf, 0

    def after_epoch(self, epoch: Epoch) -> None:
        loss = _monitored(epoch, self._monitor)
        if loss < self.best - self._min_delta:
            self.best, self.epochs_waited = loss, 0
            return
        self.epochs_waited += 1
        if self.epochs_waited >= self._patience:
            monitored = "validation" if self._monitor in OF_VALIDATION else "training"
            waited = f"{self._patience} epoch{'s' if self._patience > 1 else ''}"
            epoch.stop(f"the {monitored} loss has not improved for {waited}")


OF_VALIDATION = ("validation", "val_loss")
"""The part of the data, and Keras's name of its loss."""


def _monitored(epoch: Epoch, monitor: str) -> float:
    return epoch.validation_loss if monitor in OF_VALIDATION else float(epoch.line["train"]["loss"])


class TestEvaluate(Callback):
    """Test metrics after every epoch, for learning curves; no choice depends on them."""

    def after_epoch(self, epoch: Epoch) -> None:
        epoch.line["test"] = epoch.evaluate_test()


PATIENCE = integer("epochs without improvement; 0 counts as 1", least=0)
MIN_DELTA = number("smallest decrease of the loss that counts as an improvement", least=0)

OF_KERAS = {
    "mode": choice(
        ["auto", "min"],
        "accepted from Keras, without effect: a loss is better the lower it is",
        message="a loss is better the lower it is, so 'mode' must be 'min' or 'auto'",
        left_out="always",
    ),
    "verbose": {
        "type": ["integer", "boolean"],
        "x-left-out": "always",
        "description": "accepted from Keras, without effect",
    },
}

CALLBACKS: dict[str, Entry] = {
    "reduce_on_plateau": Entry.documented(
        ReduceOnPlateau,
        {"type": "reduce_on_plateau", "parameters": {"patience": 8}},
        factor=number("what the learning rate is multiplied by", above=0, below=1),
        patience=PATIENCE,
        min_delta=MIN_DELTA,
        min_relative_delta=number(
            "the same as a fraction of the lowest loss so far, as torch counts; both can be set",
            least=0,
            below=1,
            left_out="default",
        ),
        cooldown=integer("epochs to wait after a reduction before counting again", least=0),
        min_lr=number("lower bound of the learning rate", least=0),
        monitor=choice(
            ["val_loss", "loss"],
            "the loss on validation samples, or on training samples",
            message=(
                "only the validation loss, 'val_loss', and the training loss, 'loss', are monitored"
            ),
            left_out="default",
        ),
        **OF_KERAS,
    ),
    "early_stopping": Entry.documented(
        EarlyStopping,
        {"type": "early_stopping", "parameters": {"patience": 20}},
        patience=PATIENCE,
        min_delta=MIN_DELTA,
        monitor=choice(
            ["validation", "train", "val_loss", "loss"],
            "part of the data whose loss is monitored, or Keras's name of that loss",
            message=(
                "only the loss on validation samples, 'val_loss' or 'validation', and that on "
                "training samples, 'loss' or 'train', are monitored"
            ),
        ),
        **OF_KERAS,
    ),
    "test_evaluate": Entry.documented(TestEvaluate, {"type": "test_evaluate"}),
}
