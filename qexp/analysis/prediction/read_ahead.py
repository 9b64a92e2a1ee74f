"""Reading of a file in a thread, ahead of the code that uses the pieces."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from qexp.errors import QexpError

T = TypeVar("T")


def read_ahead(pieces: Iterator[T], path: Path) -> Generator[T, None, None]:
    """All pieces in order; the next one is read while the current one is in use.

    path  the file that is read, for error messages
    Raises QexpError if reading fails.
    """
    with ThreadPoolExecutor(1, "reading") as thread:
        upcoming = thread.submit(next, pieces, None)
        while (piece := _read(upcoming, path)) is not None:
            upcoming = thread.submit(next, pieces, None)
            yield piece


def _read(upcoming: Future[T | None], path: Path) -> T | None:
    try:
        return upcoming.result()
    except OSError as error:
        raise QexpError(f"cannot read {path}: {error.strerror or error}") from error
