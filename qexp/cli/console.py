"""Printing: results to stdout, messages and progress to stderr, colours and bars on a terminal only.

Records, specs and logs may come from others, so no text reaches a terminal without being `cleaned` here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from qexp.base.machine import on_a_terminal, progress_bar
from qexp.base.text import cleaned, in_one_line
from qexp.errors import QexpError, spelled

if TYPE_CHECKING:
    from qexp.base.text import Table

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


FLAGS: dict[str, str] = {}
"""Argument of the command at work → its option, such as seed → --seed."""


def option(argument: str) -> str:
    """An argument of Python as the shell writes it."""
    return FLAGS.get(argument, f"--{argument.replace('_', '-')}")


def message(text: str) -> None:
    print(cleaned(spelled(text, option)), file=sys.stderr)


def warning(text: str) -> None:
    message(f"warning: {text}")


def error(what: str | QexpError) -> None:
    text = what.spelled(option) if isinstance(what, QexpError) else spelled(what, option)
    message(f"error: {text}" if "\n" not in text else f"error:\n{text}")


def result(text: str) -> None:
    print(cleaned(text))


def piece(text: str) -> None:
    """A part of a result, without an end of the line."""
    sys.stdout.write(cleaned(text))


def print_json(document: Any) -> None:
    from qexp.base.files import json_bytes

    sys.stdout.write(json_bytes(document).decode())


def print_csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from qexp.base.files import csv_text

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


def print_parts(parts: Iterable[Table | str]) -> None:
    """Tables with their titles, each after an empty line unless it is the first part, and sentences."""
    for number, part in enumerate(parts):
        if isinstance(part, str):
            result(in_one_line(part))
            continue
        if number:
            result("")
        if part.title:
            result(part.title)
        print_table(part.columns, part.rows, right=list(part.right))


class Show(Protocol):
    """Shows how far something is."""

    def __call__(self, share: float, words: str, name: str | None = None) -> None:
        """share: what is done, of 1; words: the same in words; name: of what is being done now, if that changes."""


@contextmanager
def bar(name: str) -> Iterator[Show]:
    """A bar with the time left on a terminal, nothing elsewhere."""
    if not on_a_terminal():
        yield lambda share, words, name=None: None
        return
    with progress_bar("words") as drawn:
        task = drawn.add_task(name, total=1.0, words="")

        def show(share: float, words: str, name: str | None = None) -> None:
            drawn.update(task, completed=share, words=words, description=name)

        yield show
