"""What grows while a run is at work: state, curves and log, read once however many clients look."""

from __future__ import annotations

import codecs
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from qexp.errors import QexpError
from qexp.pages.curves import curves, lines_of
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.lease import attempts
from qexp.runs.record.state import State
from qexp.runs.state.waiting import Watch
from qexp.server.kept import Kept

SECONDS = 1.0
"""Between two looks at a run."""

SHARE = 0.02
"""Largest share of its time that the server spends on the curves of a run; long ones grow in larger steps."""

MOST_LOG = 200_000
"""Bytes of a log that are sent at once; of more, the last ones."""


@dataclass(frozen=True)
class Growth:
    state: State
    progress: str
    """Such as "epoch 3 of 20"."""
    curves: bytes
    """As JSON; empty if there are none yet."""
    curves_version: int
    attempt: int
    log_size: int
    """Of the last attempt [bytes]."""


class Feed:
    """One run that is looked at."""

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self._watch = Watch()
        self._growth = Growth(State.CREATED, "", b"", 0, 0, 0)
        self._stamps: list[tuple[int, int]] = []
        self._next_curves = 0.0
        self._kept = Kept(self._look, seconds=SECONDS)

    async def now(self) -> Growth:
        return await self._kept.now()

    def _look(self) -> Growth:
        # State before the rest: a run that had ended by now adds nothing after this look.
        state = self._watch.state(self.directory)
        attempt = max(attempts(self.directory), default=0)
        size = _size(log_file(self.directory, attempt))
        self._growth = replace(self._growth, state=state, attempt=attempt, log_size=size)
        if time.monotonic() >= self._next_curves or not state.unfinished:
            self._look_at_curves()
        return self._growth

    def _look_at_curves(self) -> None:
        begun = time.monotonic()
        files = [one.metrics_file for one in (self.directory, *self.directory.all_folds())]
        stamps = [_stamp(file) for file in files]
        if stamps == self._stamps:
            return
        try:
            record, lines = self.directory.record(), lines_of(self.directory)
            drawn = orjson.dumps(curves(lines, record.units), option=orjson.OPT_SERIALIZE_NUMPY)
        except QexpError:  # it is being replaced or removed; the next look tells
            return
        self._stamps = stamps
        # Lines are written after every epoch, the record only now and then; of folds there are several at a time.
        done = lines[""][-1]["epoch"] if lines.get("") else record.epochs.done
        self._growth = replace(
            self._growth,
            progress=f"epoch {done} of {record.epochs.of}" if record.epochs.of and not record.folds else "",
            curves=drawn,
            curves_version=self._growth.curves_version + 1,
        )
        now = time.monotonic()
        self._next_curves = now + (now - begun) / SHARE


def log_place(directory: RunDirectory) -> str:
    """The end of the last attempt's log, as `LogReader` writes it."""
    attempt = max(attempts(directory), default=0)
    return f"{attempt}:{_size(log_file(directory, attempt))}"


def log_file(directory: RunDirectory, attempt: int) -> Path:
    return directory.attempt(attempt) / "log.txt"


class LogReader:
    """What one client has seen of a log."""

    def __init__(self, directory: RunDirectory, place: str) -> None:
        """`place`: the number of an attempt, and the bytes of its log that were seen, such as 2:1034."""
        attempt, _, seen = place.partition(":")
        self._directory = directory
        self._attempt, self._seen = (int(one) if one.isdecimal() and len(one) < 16 else 0 for one in (attempt, seen))
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a piece can end inside a character

    @property
    def place(self) -> str:
        """Up to where complete characters were seen."""
        return f"{self._attempt}:{self._seen - len(self._decoder.getstate()[0])}"

    def grown(self, growth: Growth) -> dict[str, Any] | None:
        """The text that was added, and whether it is that of another attempt, or follows a gap; None without any."""
        anew = growth.attempt != self._attempt or growth.log_size < self._seen
        if anew:
            self._attempt, self._seen = growth.attempt, 0
            self._decoder.reset()
        start = max(self._seen, growth.log_size - MOST_LOG)
        if start >= growth.log_size:
            return None
        try:
            with log_file(self._directory, self._attempt).open("rb") as file:
                file.seek(start)
                text = self._decoder.decode(file.read(growth.log_size - start))
        except OSError:
            return None
        gap, self._seen = start > self._seen, growth.log_size
        return {"text": text, "anew": anew or gap}


def _size(file: Path) -> int:
    return _stamp(file)[1]


def _stamp(file: Path) -> tuple[int, int]:
    try:
        status = os.stat(file)  # noqa: PTH116
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size
