"""Callbacks: what happens after every epoch, besides validation. They carry plain state, so that a run can resume."""

from __future__ import annotations

import math
from typing import Any, Protocol

from qexp.tables import Entry


class Epoch(Protocol):
    """What a callback may look at and do after an epoch."""

    validation_loss: float
    line: dict[str, Any]
    """The epoch's line of `metrics.jsonl`, still open."""
    learning_rate: float
    """At the epoch's last step."""

    def scale_learning_rate(self, factor: float) -> None: ...
    def stop(self, reason: str) -> None: ...
    def evaluate_test(self) -> dict[str, dict[str, float]]: ...


class Callback:
    """Does nothing; the others fill in what they need."""

    def after_epoch(self, epoch: Epoch) -> None:
        """Called after validation."""

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on as if never interrupted; plain JSON values."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def restore(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


class ReduceOnPlateau(Callback):
    """Multiply the learning rate by `factor` when the validation loss has not improved for `patience` epochs."""

    def __init__(
        self,
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        self._factor, self._patience, self._min_delta = factor, patience, min_delta
        self._cooldown, self._min_lr = cooldown, min_lr
        self.best = math.inf
        self.epochs_waited = 0
        self.cooling = 0

    def after_epoch(self, epoch: Epoch) -> None:
        if self.cooling > 0:
            self.cooling -= 1
            self.epochs_waited = 0
        if epoch.validation_loss < self.best - self._min_delta:
            self.best = epoch.validation_loss
            self.epochs_waited = 0
        elif self.cooling == 0:
            self.epochs_waited += 1
            if self.epochs_waited >= self._patience and epoch.learning_rate > self._min_lr:
                epoch.scale_learning_rate(max(self._factor, self._min_lr / epoch.learning_rate))
                self.cooling = self._cooldown
                self.epochs_waited = 0


class EarlyStopping(Callback):
    """End the run when the loss on validation or on training samples has not improved for `patience` epochs."""

    def __init__(self, patience: int = 10, min_delta: float = 0.0, monitor: str = "validation") -> None:
        self._patience, self._min_delta, self._monitor = patience, min_delta, monitor
        self.best = math.inf
        self.epochs_waited = 0

    def after_epoch(self, epoch: Epoch) -> None:
        loss = epoch.validation_loss if self._monitor == "validation" else epoch.line["train"]["loss"]
        if loss < self.best - self._min_delta:
            self.best = loss
            self.epochs_waited = 0
            return
        self.epochs_waited += 1
        if self.epochs_waited >= self._patience:
            whose = "validation" if self._monitor == "validation" else "training"
            epoch.stop(f"the {whose} loss has not improved for {self._patience} epochs")


class TestEvaluate(Callback):
    """Add the test metrics to every epoch's line. They are only looked at: nothing is chosen by them."""

    def after_epoch(self, epoch: Epoch) -> None:
        epoch.line["test"] = epoch.evaluate_test()


PATIENCE = {"type": "integer", "minimum": 1, "description": "epochs without improvement"}
MIN_DELTA = {"type": "number", "minimum": 0, "description": "a smaller improvement is none"}

CALLBACKS: dict[str, Entry] = {
    "reduce_on_plateau": Entry(
        build=ReduceOnPlateau,
        parameters={
            "properties": {
                "factor": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                "patience": PATIENCE,
                "min_delta": MIN_DELTA,
                "cooldown": {"type": "integer", "minimum": 0, "description": "epochs before counting again"},
                "min_lr": {"type": "number", "minimum": 0, "description": "the learning rate falls no lower"},
            }
        },
        help="Lower the learning rate when the validation loss stalls.",
        example={"type": "reduce_on_plateau", "parameters": {"patience": 8}},
    ),
    "early_stopping": Entry(
        build=EarlyStopping,
        parameters={
            "properties": {
                "patience": PATIENCE,
                "min_delta": MIN_DELTA,
                "monitor": {"enum": ["validation", "train"], "description": "whose loss it is"},
            }
        },
        help="End the run when the validation loss, or the training loss, stalls.",
        example={"type": "early_stopping", "parameters": {"patience": 20}},
    ),
    "test_evaluate": Entry(
        build=TestEvaluate,
        parameters={},
        help="Test metrics after every epoch, for curves; nothing is chosen by them.",
        example={"type": "test_evaluate"},
    ),
}
