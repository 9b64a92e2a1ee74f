"""The logs of a run's attempts: read once, or followed while they grow."""

from __future__ import annotations

import codecs
import time
from collections.abc import Iterator
from pathlib import Path

from qexp.errors import NotFoundError
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.lease import attempts
from qexp.runs.state.waiting import Watch

PAUSE = 0.2
"""Seconds between two reads of a log that may grow."""

PIECE = 1 << 16


def read(directory: RunDirectory, attempt: int | None = None) -> Iterator[str]:
    """The log of an attempt (default: the last), in pieces. Raises NotFoundError if it does not exist."""
    number = attempt or _last(directory)
    if number is None:
        raise NotFoundError(f"{directory.name} has no log yet: it is {Watch().state(directory)}")
    _require(directory, number)
    yield from _Tail(directory.attempt(number) / "log.txt").grown()


def follow(directory: RunDirectory, attempt: int | None = None) -> Iterator[str]:
    """The log with everything added until the run ends; if no attempt is given, later attempts follow as well."""
    if attempt is not None:
        _require(directory, attempt)
    watch, number = Watch(), attempt or _last(directory) or 0
    tail = _Tail(directory.attempt(number) / "log.txt")
    while True:
        # State before log: an attempt that had ended or was replaced by now adds nothing after this read.
        ended = not watch.state(directory).unfinished
        later = [other for other in attempts(directory) if other > number]
        yield from tail.grown()
        if later and attempt is None:
            number = later[0]
            tail = _Tail(directory.attempt(number) / "log.txt")
        elif ended or later:
            return
        else:
            time.sleep(PAUSE)


def _last(directory: RunDirectory) -> int | None:
    return max(attempts(directory), default=None)


def _require(directory: RunDirectory, number: int) -> None:
    known = attempts(directory)
    if number not in known:
        which = f"there are {', '.join(map(str, known))}" if known else "it has none yet"
        raise NotFoundError(f"{directory.name} has no attempt {number}; {which}")


class _Tail:
    """A log file and the position up to which it has been read."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a piece can end inside a character

    def grown(self) -> Iterator[str]:
        """The text added since the last call."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:  # the attempt has only just been claimed
            return
        with file:
            file.seek(self._read)
            while piece := file.read(PIECE):
                self._read += len(piece)
                yield self._decoder.decode(piece)
