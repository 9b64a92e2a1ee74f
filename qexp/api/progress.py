"""Progress of trainings and pools: bars and tables on a terminal or in a notebook, else lines."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

from qexp.base.machine import in_a_kernel, on_a_terminal, progress_bar
from qexp.base.options import DISPLAYED, Counted, Report, uncounted
from qexp.base.text import cleaned, without_middle
from qexp.errors import in_python
from qexp.examples.options import Watch, unwatched
from qexp.jobs.launchers import Watcher
from qexp.kinds.attempt import Display

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.live import Live
    from rich.progress import Progress, TaskID

    from qexp.store.record import State


def message(text: str) -> None:
    print(cleaned(text), file=sys.stderr)


class Cell:
    """What a notebook shows below a cell, and shows anew when it is updated."""

    def __init__(self, content: Callable[[], RenderableType]) -> None:
        from IPython.display import DisplayHandle

        self._content = content
        self._updated_at = time.monotonic()
        self._handle: Any = DisplayHandle()
        self._handle.display(_mime(content()), raw=True)

    def update(self) -> None:
        """Show it anew, five times per second at most."""
        if time.monotonic() - self._updated_at >= 0.2:
            self._updated_at = time.monotonic()
            self._handle.update(_mime(self._content()), raw=True)

    def end(self, text: str) -> None:
        """Show a text, which stays."""
        self._handle.update(_mime(text), raw=True)


def _mime(content: RenderableType) -> dict[str, str]:
    from qexp.web.html import plain_text  # loads numpy, which completion does without

    text = cleaned(plain_text(content, 110))
    return {"text/plain": text, "text/html": f'<pre style="margin: 0">{escape(text)}</pre>'}


class TrainingDisplay(Display):
    """A bar with losses and time left on a terminal or in a notebook; else ten lines per run."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._cell: Cell | None = None
        self._task: TaskID | None = None
        self._epochs = 1
        self._of = self._losses = ""
        self._shown_at = 0.0

    def start(self, name: str, epochs: int, done: int, of: str = "") -> None:
        self._epochs = epochs
        self._of = f" {of}".rstrip()
        if done:
            message(f"{name}: continues after epoch {done} of {epochs}")
        if on_a_terminal() or in_a_kernel():
            self._bar = progress_bar("epoch", "losses")
            self._task = self._bar.add_task(
                name, total=epochs, completed=done, epoch=self._among(done), losses=""
            )
            if in_a_kernel():
                self._cell = Cell(self._bar.get_renderable)
            else:
                self._bar.start()

    def batch(self, epoch: int, batch: int, batches: int) -> None:
        if time.monotonic() - self._shown_at < 0.1:
            return
        self._shown_at = time.monotonic()
        self._show(epoch, epoch - 1 + batch / batches)

    def _show(self, epoch: int, completed: float) -> None:
        if self._bar is None or self._task is None:
            return
        self._bar.update(
            self._task, completed=completed, epoch=self._among(epoch), losses=self._losses
        )
        if self._cell is not None:
            self._cell.update()

    def epoch(self, line: dict[str, Any], seconds: float) -> None:
        # which programs of others need not have
        epoch = line["epoch"]
        rate = line.get("learning_rate")
        losses = {"loss": line["train"]["loss"], "validation": line["validation"]["loss"]}
        self._losses = "  ".join(
            f"{words} {loss:.4g}" for words, loss in losses.items() if loss is not None
        )
        self._show(epoch, epoch)
        is_told = epoch in (1, self._epochs) or epoch % max(self._epochs // 10, 1) == 0
        if self._bar is None and is_told:
            rated = f"  rate {rate:.2g}" if rate is not None else ""  # for which a bar has no room
            text = f"epoch {self._among(epoch)}{self._of}  {self._losses}{rated}"
            message(f"{text}  {seconds:.2f} s/epoch")

    def _among(self, epoch: int) -> str:
        """`3/20`, or `3` where a program does not say how many epochs there are."""
        return f"{epoch}/{self._epochs}" if self._epochs else str(epoch)

    def stop(self) -> None:
        if self._cell is not None and self._bar is not None:
            (task,) = self._bar.tasks
            text = f"{task.description}: epoch {task.fields['epoch']}  {self._losses}"
            self._cell.end(text.rstrip())
        elif self._bar is not None:
            self._bar.stop()
        self._bar = self._cell = None


# The progress of a pool of runs: a live table on a terminal, otherwise a line per run.


OTHER_COLUMNS = 44
"""Width of what stands beside the name of a run that is at work."""


class PoolDisplay(Watcher):
    def __init__(self) -> None:
        self._live: Live | None = None
        self._cell: Cell | None = None
        self._total = 0
        self._states: dict[str, State] = {}
        self._seconds: list[float] = []
        """How long each run took that has ended."""
        self._running: dict[str, float] = {}
        """Run → when it started."""
        self._lines: Mapping[str, dict[str, Any]] = {}
        self._troubles: set[str] = set()

    def start(self, runs: Sequence[str]) -> None:
        self._total = len(runs)
        if in_a_kernel():
            self._cell = Cell(self._table)
        if self._cell is not None or not on_a_terminal():
            return
        from rich.console import Console
        from rich.live import Live

        self._live = Live(
            console=Console(stderr=True),
            transient=True,
            refresh_per_second=4,
            get_renderable=self._table,
        )
        self._live.start()

    def run_started(self, run: str) -> None:
        self._running[run] = time.monotonic()
        # of a queue, which may grow, the runs are not known before they start
        self._total = max(self._total, len(self._states) + len(self._running))

    def progress(self, lines: Mapping[str, dict[str, Any]]) -> None:
        self._lines = lines
        if self._cell is not None:
            self._cell.update()

    def run_ended(self, run: str, state: State, seconds: float) -> None:
        self._running.pop(run, None)
        self._states[run] = state
        self._seconds.append(seconds)
        ended = f"{len(self._states)} of {self._total}"
        self._say(f"{run}: {state.words} after {seconds:.1f} s ({ended})")

    def not_started(self, run: str, why: str) -> None:
        if why not in self._troubles:  # on a full disk it is the same for all of them
            self._troubles.add(why)
            self._say(f"{run}: not started: {why}")

    def stopping(self) -> None:
        more = "running ones write a checkpoint; once more to kill them"
        self._say(f"stopping: nothing new starts, {more}")

    def stop(self) -> None:
        if self._live is not None:
            self._live.stop()
        if self._cell is not None:
            ended = Counter(state.words for state in self._states.values())
            counts = ", ".join(f"{number} {words}" for words, number in ended.items())
            self._cell.end(f"{self._total} runs: {counts or 'none ended'}")
        self._live = self._cell = None

    def _say(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False)
        elif self._cell is None:
            message(text)

    def _table(self) -> Group:
        from rich.console import Group
        from rich.table import Table

        waiting = self._total - len(self._states) - len(self._running)
        counts = f"{len(self._states)} of {self._total} ended, {len(self._running)} running"
        counts += f", {waiting} waiting"
        table = Table(box=None, pad_edge=False)
        for column in ("run", "epoch", "validation", "time", "left"):
            table.add_column(column, justify="left" if column == "run" else "right", no_wrap=True)
        name_width = None
        if self._live is not None:
            name_width = max(20, self._live.console.width - OTHER_COLUMNS)
        now = time.monotonic()
        ends = list(self._seconds)
        left_of = dict[str, float]()
        for run, started in self._running.items():
            seconds = now - started
            line = self._lines.get(run)
            epoch, loss, left = "-", "-", "-"
            if line is not None:
                epoch = str(line["epoch"])
                if line["validation"]["loss"] is not None:
                    loss = f"{line['validation']['loss']:.4g}"
                if line.get("of"):
                    epoch = f"{epoch} of {line['of']}"
                    ends.append(seconds * line["of"] / line["epoch"])
                    left_of[run] = ends[-1] - seconds
                    left = _in_words(left_of[run])
            name = run if name_width is None else without_middle(run, name_width)
            table.add_row(name, epoch, loss, f"{seconds:.0f} s", left)
        if ends and (self._running or waiting):
            usual = sum(ends) / len(ends)
            to_do = waiting * usual
            for run, start in self._running.items():
                to_do += left_of.get(run, max(0.0, usual - now + start))
            all_left = to_do / max(1, len(self._running))
            counts += f", about {_in_words(all_left)} left"
        return Group(counts, table)


def _in_words(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


# The progress of anything that is counted.


class Show(Protocol):
    """Shows how far something is."""

    def __call__(self, share: float, words: str, name: str | None = None) -> None:
        """share: what is done, of 1; words: the same in words; name: of what is being done now."""


def _seen() -> bool:
    """Whether somebody sees a bar, who did not ask for none."""
    return DISPLAYED.get() and (on_a_terminal() or in_a_kernel())


@contextmanager
def bar(name: str) -> Iterator[Show]:
    """A bar with the time left on a terminal and in a notebook; elsewhere lines."""
    if not _seen():
        yield _lines(name) if DISPLAYED.get() else lambda share, words, name=None: None
        return
    drawn = progress_bar("words")
    cells = list[Cell]()
    task = drawn.add_task(name, total=1.0, words="")

    def show(share: float, words: str, name: str | None = None) -> None:
        drawn.update(task, completed=share, words=words, description=name)
        if in_a_kernel():
            cells[:] = cells or [Cell(drawn.get_renderable)]
            cells[0].update()
        else:
            drawn.start()

    try:
        yield show
    finally:
        if drawn.live.is_started:  # else it would print an empty line
            drawn.stop()
        for cell in cells:
            # as on a terminal: the last words were about something that had just begun
            cell.end("")


SECONDS_OF_LINE = 60.0
"""Between two lines about progress, and before the first one."""


def _lines(of_all: str) -> Show:
    began = said = time.monotonic()

    def show(share: float, words: str, name: str | None = None) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= SECONDS_OF_LINE and 0 < share < 1:
            said = now
            left = (now - began) * (1 / share - 1)
            message(f"{name or of_all}: {words}, about {_in_words(left)} left")

    return show


@contextmanager
def counted(given: Counted, name: str, things: str) -> Iterator[Counted]:
    """What is told how many are done: what was given, else a bar."""
    if given is not uncounted:
        yield given
        return
    with bar(name) as show:
        yield lambda done, count: show(done / count, f"{done:,} of {count:,} {things}")


@contextmanager
def watching(given: Watch, name: str) -> Iterator[Watch]:
    """Likewise what is told which piece of synthetic data is made."""
    if given is not unwatched:
        yield given
        return
    with bar(name) as show:
        yield lambda piece, share: show(share, f"{100 * share:3.0f} %", piece)


# Warnings on the way.


LOG = logging.getLogger("qexp.run")


class _Told(logging.Handler):
    def __init__(self, tell: Report) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING:  # errors are raised
            self._tell(record.getMessage())


@contextmanager
def warnings_told(tell: Report) -> Iterator[None]:
    """Tells warnings of runs trained meanwhile; few open the log of a run that went well."""
    handler = _Told(tell)
    LOG.addHandler(handler)
    try:
        yield
    finally:
        LOG.removeHandler(handler)


def _below_the_cell(text: str) -> None:
    """Show a warning where a notebook would have it in red like an error."""
    from IPython.display import DisplayHandle

    text = cleaned(in_python(text))
    style = "border-left: 5px solid #d98e04; padding: .2rem .7rem; white-space: pre-wrap"
    html = f'<div style="{style}">{escape(text)}</div>'
    DisplayHandle().display({"text/plain": f"warning: {text}", "text/html": html}, raw=True)


def _on_stderr(text: str) -> None:
    print(f"warning: {cleaned(in_python(text))}", file=sys.stderr)


@contextmanager
def notices() -> Iterator[Report]:
    """Takes warnings, and shows them with those of runs trained meanwhile, unless logged."""
    told: AbstractContextManager[None] = nullcontext()
    if in_a_kernel():
        told = warnings_told(_below_the_cell)
    elif not LOG.hasHandlers():  # while a run is trained, its log alone would have them
        told = warnings_told(_on_stderr)
    with told:
        yield lambda text: LOG.warning("%s", text)


# What Python shows if nothing else is said.


def display_of(display: Any) -> Display | None:
    """A display that was given; else a bar where somebody sees it, and nothing for False."""
    if display is None or display is True:
        return TrainingDisplay() if _seen() else None
    return None if display is False else display


def watcher_of(watched: Any) -> Callable[[], Watcher]:
    """Likewise what makes the watcher of a pool."""
    if watched is None or watched is True:
        return PoolDisplay if _seen() else Watcher
    return watched or Watcher
