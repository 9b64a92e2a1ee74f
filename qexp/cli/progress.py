"""Progress of trainings and of pools on stderr: a bar and a live table on a terminal, elsewhere a few lines."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qexp.cli.console import message, on_a_terminal, progress_bar
from qexp.jobs.launchers import Watcher
from qexp.kinds.attempt import Display

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live
    from rich.progress import Progress, TaskID

    from qexp.store.record import State


class TrainingDisplay(Display):
    """A bar with loss, validation and time left on a terminal; otherwise about ten lines per run."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._epochs = 1
        self._losses = ""
        self._shown_at = 0.0

    def start(self, name: str, epochs: int, done: int) -> None:
        self._epochs = epochs
        if done:
            message(f"{name}: continues after epoch {done} of {epochs}")
        if on_a_terminal():
            self._bar = progress_bar("epoch", "losses")
            self._task = self._bar.add_task(name, total=epochs, completed=done, epoch=f"{done}/{epochs}", losses="")
            self._bar.start()

    def batch(self, epoch: int, batch: int, batches: int) -> None:
        if self._bar is None or self._task is None or time.monotonic() - self._shown_at < 0.1:
            return
        self._shown_at = time.monotonic()
        self._bar.update(
            self._task, completed=epoch - 1 + batch / batches, epoch=f"{epoch}/{self._epochs}", losses=self._losses
        )

    def epoch(self, line: dict[str, Any], seconds: float) -> None:
        epoch = line["epoch"]
        validation = line["validation"]["loss"]
        validated = f"validation {validation:.4g}  " if validation is not None else ""
        self._losses = f"loss {line['train']['loss']:.4g}  {validated}rate {line['learning_rate']:.2g}"
        if self._bar is None and (epoch in (1, self._epochs) or epoch % max(self._epochs // 10, 1) == 0):
            message(f"epoch {epoch}/{self._epochs}  {self._losses}  {seconds:.2f} s/epoch")

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


# The progress of a pool of runs: a live table on a terminal, otherwise a line per run.


class PoolDisplay(Watcher):
    def __init__(self) -> None:
        self._live: Live | None = None
        self._total = 0
        self._states: dict[str, State] = {}
        self._running: dict[str, float] = {}
        """Run → when it started."""
        self._lines: Mapping[str, dict[str, Any]] = {}
        self._troubles: set[str] = set()

    def start(self, runs: Sequence[str]) -> None:
        self._total = len(runs)
        if not on_a_terminal():
            return
        from rich.console import Console
        from rich.live import Live

        self._live = Live(
            console=Console(stderr=True), transient=True, refresh_per_second=4, get_renderable=self._table
        )
        self._live.start()

    def run_started(self, run: str) -> None:
        self._running[run] = time.monotonic()

    def progress(self, lines: Mapping[str, dict[str, Any]]) -> None:
        self._lines = lines

    def run_ended(self, run: str, state: State, seconds: float) -> None:
        self._running.pop(run, None)
        self._states[run] = state
        self._say(f"{run}: {state.words} after {seconds:.1f} s ({len(self._states)} of {self._total})")

    def not_started(self, run: str, why: str) -> None:
        if why not in self._troubles:  # on a full disk it is the same for all of them
            self._troubles.add(why)
            self._say(f"{run}: not started: {why}")

    def stopping(self) -> None:
        self._say("stopping: nothing new starts, running ones write a checkpoint; once more to kill them")

    def stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _say(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            message(text)

    def _table(self) -> Group:
        from rich.console import Group
        from rich.table import Table

        waiting = self._total - len(self._states) - len(self._running)
        counts = f"{len(self._states)} of {self._total} ended, {len(self._running)} running, {waiting} waiting"
        table = Table(box=None, pad_edge=False)
        for column in ("run", "epoch", "validation", "time"):
            table.add_column(column, justify="left" if column == "run" else "right")
        for run, started in self._running.items():
            line = self._lines.get(run)
            epoch, validation = (str(line["epoch"]), line["validation"]["loss"]) if line else ("-", None)
            loss = "-" if validation is None else f"{validation:.4g}"
            table.add_row(run, epoch, loss, f"{time.monotonic() - started:.0f} s")
        return Group(counts, table)
