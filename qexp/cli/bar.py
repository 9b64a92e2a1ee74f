"""A bar of progress."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Show(Protocol):
    """Shows how far something is."""

    def __call__(self, share: float, words: str, name: str | None = None) -> None:
        """share: what is done, of 1; words: the same in words; name: of what is being done now, if that changes."""


def on_a_terminal() -> bool:
    """Whether messages go to a terminal on which a bar can be drawn."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def bar(name: str) -> Iterator[Show]:
    """A bar with the time left on a terminal, nothing elsewhere."""
    if not on_a_terminal():
        yield lambda share, words, name=None: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[words]}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as drawn:
        task = drawn.add_task(name, total=1.0, words="")

        def show(share: float, words: str, name: str | None = None) -> None:
            drawn.update(task, completed=share, words=words, description=name)

        yield show
