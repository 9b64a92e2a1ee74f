"""Metrics and progress of others' programs, followed while they run: lines become epochs."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from qexp.base import files, formats
from qexp.base.text import leaves, number_in
from qexp.errors import QexpError, TakenOverError
from qexp.kinds.attempt import Work
from qexp.spec.experiences import OUTPUT, RESULT_NAME, RESULT_PARTS, Numbers
from qexp.store.directory import EPOCHS, METRICS
from qexp.store.record import Epochs, Line

log = logging.getLogger("qexp.run")

Row = Mapping[str, float]
"""Name → number, of a line that a program wrote."""

PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "eval", "dev"), "validation"),
    "test": "test",
}
"""How a name begins → the part of the data that it is about; others are about the training part."""

POSITIONS = ("epoch", "step")
RATES = ("learning_rate", "lr")


@cache
def place(name: str) -> tuple[str, str, str]:
    """Part, output and metric of a name, `val_depth.mae`; the output `losses` has each one's."""
    start = re.fullmatch(rf"({'|'.join(PARTS)})[/._ -]+(.+)", name, re.IGNORECASE)
    part, rest = "train", name
    if start:
        part = PARTS[start[1].lower()]
        rest = start[2]
    words = re.split(r"[/.]", rest)
    *outputs, metric = (re.sub(r"[^A-Za-z0-9_-]+", "_", word) for word in words)
    output = "_".join(outputs) or OUTPUT
    if outputs == ["loss"]:
        output = "losses"
    return part, _result_name(output), _result_name(metric)


def _result_name(word: str) -> str:
    return word if RESULT_NAME.fullmatch(word) else f"m_{word}"


class Steps:
    """The numbers of one step after the other, as lines of `metrics.jsonl`."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.count, self.step = 0, 0.0
        self.best: int | None = None
        self.latest = dict[str, float]()
        """The last number of each name."""
        self._line = line_of({}, 0, 0)
        self._lowest = math.inf
        self.finite = self.all_finite = True
        """Whether the numbers of the last step are, and those of all that were added."""
        for line in lines:
            self.count = line["epoch"]
            self.step = step_of(line)
            self.latest |= row_of(line)
            if line["best"]:
                self.best = line["epoch"]
                self._lowest = line["validation"]["loss"]
        self._earlier = self.best, self._lowest
        """The best of the steps before the last, of which more may be logged."""

    def add(self, row: Mapping[str, float], step: float | None) -> Line:
        """The line of a step, with its earlier numbers. Raises QexpError for a past step."""
        step = self.step + 1 if step is None else step
        if not math.isfinite(step) or (self.count and step < self.step):
            raise QexpError(
                f"step {step:g} after step {self.step:g}: steps count upwards; leave it out to"
                " count on"
            )
        if step != self.step or not self.count:
            self.count = self.count + 1
            self.step = step
            self._line = line_of({}, self.count, step)
            self._earlier = (self.best, self._lowest)
            self.finite = True
        self.best, self._lowest = self._earlier
        self.latest |= row
        if not all(map(math.isfinite, row.values())):
            self.finite = self.all_finite = False
        line = _put(row, self._line)
        loss = line["validation"]["loss"]
        if loss is not None and loss < self._lowest:
            self.best, self._lowest = self.count, loss
        line["best"] = self.best == self.count
        return line


class Merged:
    """Rows as epochs: those of one number are one; from a smaller number on, all are replaced."""

    def __init__(self, earlier: Sequence[Line] = (), rows: Iterable[Row] = ()) -> None:
        """earlier  lines of `metrics.jsonl` that the rows continue or replace"""
        self._earlier, self._numbered = earlier, False
        self._epochs = list[tuple[float, dict[str, float]]]()
        self.add(rows)

    def add(self, rows: Iterable[Row]) -> None:
        epochs = self._epochs
        for row in rows:
            number = next((row[name] for name in POSITIONS if name in row), math.nan)
            if math.isfinite(number):
                self._numbered = True
            else:
                number = epochs[-1][0] if self._numbered else len(self._earlier) + len(epochs) + 1
            while epochs and epochs[-1][0] > number:
                epochs.pop()
            if epochs and epochs[-1][0] == number:
                epochs[-1][1].update(row)
            else:
                epochs.append((number, dict(row)))

    def lines(self) -> list[Line]:
        """Lines of `metrics.jsonl`."""
        first = self._epochs[0][0] if self._epochs else math.inf
        earlier = [line for line in self._earlier if step_of(line) < first]
        steps = Steps(earlier)
        added = [steps.add(without_position(row), number) for number, row in self._epochs]
        return [*earlier, *(added if steps.all_finite else map(formats.with_marks, added))]


def without_position(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in POSITIONS}


def step_of(line: Line) -> float:
    return float(line["step" if "step" in line else "epoch"])


def line_of(row: Row, epoch: int, number: float) -> Line:
    line: Line = {"epoch": epoch, "train": {"loss": None}, "validation": {"loss": None}}
    if number != epoch:
        line["step"] = int(number) if abs(number) < 2**53 and number == int(number) else number
    return _put(row, line)


def _put(row: Row, line: Line) -> Line:
    """The line, with the numbers of a row in it, too."""
    for name, value in row.items():
        part, output, metric = place(name)
        if name in RATES:
            line["learning_rate"] = value
        elif (output, metric) == (OUTPUT, "loss") and part in line:
            line[part]["loss"] = value
        else:
            line.setdefault(part, {}).setdefault(output, {})[metric] = value
    return line


def row_of(line: Line) -> Row:
    """The numbers of a line, by names that `place` understands."""
    numbers = leaves({part: line[part] for part in RESULT_PARTS if part in line})
    row = dict[str, float]()
    for name, value in numbers:
        if value is not None:
            row[name] = value
        elif name.count(".") > 1:  # a loss may be none
            row[name] = math.nan
    return row


def results_of(row: Row) -> Numbers:
    """A row as a program's results; null for what is not finite."""
    numbers = Numbers()
    line = formats.with_marks(line_of(row, 1, 1))
    for part in RESULT_PARTS:
        outputs = dict(line.get(part, {}))
        outputs.pop("losses", None)
        loss = outputs.pop("loss", None)
        if loss is not None:
            outputs[OUTPUT] = {"loss": loss, **outputs.get(OUTPUT, {})}
        if outputs:
            numbers[part] = outputs
    return numbers


def rows_in(content: bytes, names: list[str]) -> list[Row]:
    """Rows of JSON lines or CSV; lines that are not whole, or without a number, are left out.

    names  of the columns of CSV, which a header changes
    """
    rows = list[Row]()
    for line in filter(str.strip, content.decode("utf-8-sig", "replace").split("\n")):
        row: dict[str, float | None] = {}
        with suppress(ValueError, RecursionError, csv.Error):
            if line.lstrip().startswith("{"):
                row = dict(leaves(json.loads(line, parse_int=float)))
            else:
                cells = next(csv.reader([re.sub("[;\t]", ",", line)]))
                values = list(map(number_in, cells))
                if set(values) == {None} and (not names or (len(cells) > 1 and all(cells[1:]))):
                    names[:] = map(str.strip, cells)
                    continue
                row = dict(zip(names, values, strict=True))
        numbers = {name: value for name, value in row.items() if name and type(value) is float}
        if numbers:
            rows.append(numbers)
    return rows


def printed_rows(pattern: re.Pattern[str], content: bytes) -> list[Row]:
    """The numbers in the named groups of a pattern, a row per match in a line or a bar."""
    rows = list[Row]()
    for line in re.split(r"[\r\n]+", content.decode("utf-8", "replace")):
        for match in pattern.finditer(line):
            row = dict[str, float]()
            for name, text in match.groupdict().items():
                number = number_in(text) if text else None
                if number is not None:
                    row[name] = number
            if row:
                rows.append(row)
    return rows


SHARE_OF_TIME = 0.05
"""Share of a run's time that following may take."""
CHUNK_BYTES, KNOWN_BYTES = 1 << 22, 1 << 12
"""Bytes that are read at a time, and the last of these, by which a file is known again."""


class MetricsFile:
    """JSON lines or CSV that a program appends to or rewrites; may appear late, and be rotated."""

    def __init__(
        self, path: Path, kept_in: Path, *, again: bool, pattern: str | None = None
    ) -> None:
        """kept_in  the run's file of epochs
        again    whether the program continues what an earlier attempt began
        pattern  by which numbers are found, in text of any form
        """
        self.path, self._kept_in = path, kept_in
        self._pattern = None if pattern is None else re.compile(pattern)
        self._names = list[str]()
        self._due = 0.0
        self._first = ""
        self._file: BinaryIO = path.open("rb") if path.is_file() else io.BytesIO()
        self._changed = path.stat().st_mtime_ns if path.is_file() else 0
        self._done, self._known = 0, b""
        for _ in self._chunks(last=True):  # by other runs and attempts
            pass
        if not again or not kept_in.exists():
            files.make_folder(kept_in.parent)
            formats.write_lines(kept_in, [])
        self.epochs = self._earlier = list(formats.read_lines(kept_in))
        self._merged = Merged(self._earlier)

    def look(self, *, last: bool = False) -> None:
        """last: also a line without its end."""
        begun = time.monotonic()
        if begun < self._due and not last:
            return
        self._read(last)  # before it is rotated, or what was written until it was
        with suppress(FileNotFoundError):
            if self.path.is_file():
                there = self.path.open("rb")
                self._file.close()
                self._file = there
                self._read(last)
                if last and not self._first and self.path.stat().st_mtime_ns != self._changed:
                    self._done, self._known = 0, b""  # it was written anew, with the same content
                    self._read(last)
        self._due = time.monotonic() + (time.monotonic() - begun) / SHARE_OF_TIME

    def _read(self, last: bool) -> None:
        found = False
        for begins, rows in self._chunks(last):
            if begins and self._first == str(rows[0]):  # the same file, written anew
                self._merged = Merged(self._earlier)
            self._first = self._first or str(rows[0])
            self._merged.add(rows)
            found = True
        if found:
            self.epochs = self._merged.lines()
            formats.write_lines(self._kept_in, self.epochs)

    def _chunks(self, last: bool) -> Iterator[tuple[bool, list[Row]]]:
        """Rows that were not read yet, in portions, and whether they begin the file."""
        file = self._file
        file.seek(self._done - len(self._known))
        if file.read(len(self._known)) != self._known:
            self._done, self._known, self._names = 0, b"", []
            file.seek(0)
        rest = b""
        begins = self._done == 0
        while content := file.read(CHUNK_BYTES):
            lines, end, rest = (rest + content).rpartition(b"\n")
            yield from self._rows(lines + end, begins)
            begins = False if lines else begins
        if last:
            yield from self._rows(rest, begins)

    def _rows(self, content: bytes, begins: bool) -> Iterator[tuple[bool, list[Row]]]:
        self._done = self._done + len(content)
        self._known = (self._known + content)[-KNOWN_BYTES:]
        if self._pattern:
            rows = printed_rows(self._pattern, content)
            begins = False
        else:
            rows = rows_in(content, self._names)
        if rows:
            yield begins, rows


BAR = re.compile(rb"\d+%\|[^|\r\n]*\|\s*([\d.]+)([kMG]?)/([\d.]+)([kMG]?)\s")
"""What tqdm prints, such as ` 45%|####5     | 45/100 [00:10<00:12,  4.50it/s]`."""

SCALES = {b"": 1, b"k": 1e3, b"M": 1e6, b"G": 1e9}

END_BYTES = 8192
"""Bytes at the end of a file in which the last bar is looked for."""


def counted(log_file: Path, start: int, progress_file: Path) -> tuple[int, int] | None:
    """How many of how many are done, by the last bar of tqdm in the log, or as Qanat reads it in
    `progress.txt`: such a bar, or `count_total=N` and on each line how many more are done.
    """
    for file, begin in ((progress_file, 0), (log_file, start)):
        with suppress(OSError, ValueError), file.open("rb") as written:
            first = written.readline(99)
            if file is progress_file and first.startswith(b"count_total="):
                total = int(first[12:])
                steps = written.read().split()
                return total if b"finished" in steps else min(sum(map(int, steps)), total), total
            written.seek(max(begin, written.seek(0, os.SEEK_END) - END_BYTES))
            bars = BAR.findall(written.read())
            if bars:
                done, scale, total, total_scale = bars[-1]
                return _scaled(done, scale), _scaled(total, total_scale)
    return None


def _scaled(number: bytes, scale: bytes) -> int:
    return round(float(number) * SCALES[scale])


SECONDS_BETWEEN_NOTES = 2.0
"""Least time between two changes of the record on account of progress."""


class Progress:
    """What is found of a program while it runs, and noted in the run's record."""

    def __init__(self, work: Work, metrics: Path, *, again: bool) -> None:
        """metrics  the file in which the program may write them
        again    whether the program continues what an earlier attempt began
        """
        self._own = work.own
        self._log = work.attempt / "log.txt"
        self._next = 0.0
        self._start = self._log.stat().st_size
        pattern = work.spec.get("numbers")
        self._declared = bool(work.spec.get("metrics_file") or pattern)
        # While it runs, `metrics.jsonl` may become the program's own.
        self._kept_in = self._own.directory.results / EPOCHS
        self._usual = self._own.directory.path / METRICS
        if again and self._usual.exists() and not self._kept_in.exists():
            self._usual.replace(self._kept_in)
        followed = self._log if pattern else metrics
        self._metrics: MetricsFile | None = MetricsFile(
            followed, self._kept_in, again=again, pattern=pattern
        )
        epochs = work.spec["parameters"].get("epochs")
        self._total = epochs if isinstance(epochs, int) else 0
        if not again:
            self._own.keep(epochs=Epochs())

    def look(self, *, last: bool = False) -> None:
        try:
            if self._metrics is not None:
                self._metrics.look(last=last)
            if last:
                if self._metrics is not None and self._declared and not self._metrics.epochs:
                    log.warning("%s: no metrics were found", self._metrics.path)
                self._own.keep(epochs=self._epochs())
                if self._kept_in.stat().st_size and not self._usual.exists():
                    self._kept_in.replace(self._usual)
            elif time.monotonic() >= self._next:
                self._next = time.monotonic() + SECONDS_BETWEEN_NOTES
                epochs = self._epochs()
                if epochs != self._own.record.epochs:
                    self._own.note(epochs=epochs)
        except TakenOverError:
            raise
        except (OSError, QexpError) as error:  # a full disk need not end a program
            log.warning("its metrics are not followed any further: %s", error)
            self._metrics = None

    def _epochs(self) -> Epochs:
        bar = counted(self._log, self._start, self._own.directory.path / "progress.txt")
        epochs = self._metrics.epochs if self._metrics is not None else []
        if not epochs:
            return Epochs(done=bar[0], of=bar[1]) if bar else self._own.record.epochs
        done = len(epochs)
        best = [line["epoch"] for line in epochs if line["best"]]
        total = self._total
        if bar and abs(bar[0] - done) <= 1:  # else the bar may count batches
            total = bar[1]
        if total < done:
            total = 0
        return Epochs(done=done, of=total, best=best[-1] if best else None)
