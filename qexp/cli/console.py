"""Printing: results to stdout, messages and progress to stderr, colours and bars on a terminal only.

Records, specs and logs may come from others, so no text reaches a terminal without being `cleaned` here.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qexp.fragments.plain import cleaned, in_one_line

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from qexp.analysis.comparison.typesetting import Table

WorkspaceOption = Annotated[
    str | None,
    typer.Option("--workspace", metavar="DIR", help="The directory that holds specs/; searched upwards if left out."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

BOLD, RED, GREEN, YELLOW, CYAN = "1", "31", "32", "33", "36"  # of ANSI terminals

STATE_STYLES = {
    "done": GREEN, "running": CYAN, "interrupted": YELLOW, "preempted": YELLOW,
    "failed": RED, "lost": RED, "out_of_memory": RED, "timeout": RED, "damaged": RED,
}  # fmt: skip


def message(text: str) -> None:
    print(cleaned(text), file=sys.stderr)


def warning(text: str) -> None:
    message(f"warning: {text}")


def error(text: str) -> None:
    message(f"error: {text}" if "\n" not in text else f"error:\n{text}")


def result(text: str) -> None:
    print(cleaned(text))


def piece(text: str) -> None:
    """A part of a result, without an end of the line."""
    sys.stdout.write(cleaned(text))


def print_json(document: Any) -> None:
    from qexp.files import json_bytes

    sys.stdout.write(json_bytes(document).decode())


def print_csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from qexp.files import csv_text

    text = csv_text(columns, rows)
    sys.stdout.write(cleaned(text) if sys.stdout.isatty() else text)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Aligned columns, nothing cut off; on a terminal with a bold head and coloured states.

    right  the columns that are aligned to the right
    """
    styled = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    lines = [[in_one_line(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for index, line in enumerate(lines):
        cells = []
        for name, cell, width in zip(columns, line, widths, strict=True):
            padded = cell.rjust(width) if name in right else cell.ljust(width)
            style = BOLD if index == 0 else STATE_STYLES.get(cell)
            cells.append(f"\x1b[{style}m{padded}\x1b[0m" if styled and style else padded)
        print("  ".join(cells).rstrip())


def print_parts(parts: Iterable[Table | str], apart: bool = False) -> None:
    """Tables with their titles, and sentences, as `analysis.comparison.result_tables` gives them.

    apart  an empty line before each table
    """
    for part in parts:
        if isinstance(part, str):
            result(part)
            continue
        if apart:
            result("")
        if part.title:
            result(part.title)
        print_table(part.columns, part.rows, right=list(part.right))


class TrainingDisplay:
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
        if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[epoch]}"),
            TextColumn("{task.fields[losses]}"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
            console=Console(stderr=True), transient=True,
        )  # fmt: skip
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
