"""Progress of a cross-validation, in epochs of its stacks of networks."""

from __future__ import annotations

import logging

from qexp.networks.stacked_training import EpochLines, Line
from qexp.runs.display import Display
from qexp.runs.folds.directories import UNVALIDATED

log = logging.getLogger("qexp.run")


class Steps:
    """Counts epochs of consecutive stacks as steps of the whole run; subclasses display them."""

    def __init__(self) -> None:
        self.done, self._share, self._epochs = 0.0, 1.0, 1

    def enter(self, share: float, epochs: int) -> None:
        """Begin a stack that counts for `share` steps."""
        self._share, self._epochs = share, epochs

    def leave(self) -> None:
        self.done += self._share

    def epoch_done(self, epoch: int, lines: EpochLines, seconds: float) -> None:
        if lines:
            self.show(self.done + self._share * epoch / self._epochs, {**UNVALIDATED, **lines.mean()}, seconds)

    def show(self, steps: float, line: Line, seconds: float) -> None:
        raise NotImplementedError

    def checkpoint_written(self, epoch: int) -> None:
        raise NotImplementedError


class DisplayedSteps(Steps):
    """Shows the steps on a run's display."""

    def __init__(self, display: Display) -> None:
        super().__init__()
        self._display, self._shown = display, 0

    def skip(self, steps: float) -> None:
        """Count the steps of batches that were finished earlier."""
        self.done += steps

    def show(self, steps: float, line: Line, seconds: float) -> None:
        if int(steps) > self._shown:
            self._shown = int(steps)
            self._display.epoch({**line, "epoch": self._shown}, seconds)
            self._display.batch(self._shown, 1, 1)

    def checkpoint_written(self, epoch: int) -> None:
        log.info("checkpoint after epoch %d of a stack", epoch)
