"""The metrics and the progress of a program of others, followed while it runs: its lines become the run's epochs."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from qexp.base import formats
from qexp.base.text import leaves, number_in
from qexp.errors import QexpError, TakenOverError
from qexp.kinds.attempt import Work
from qexp.spec.experiences import OUTPUT, RESULT_NAME, RESULT_PARTS, Numbers
from qexp.store.record import Epochs, Line

log = logging.getLogger("qexp.run")

Row = Mapping[str, float]
"""Name → number, of a line that a program wrote."""

PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "eval", "dev"), "validation"),
    "test": "test",
}
"""How a name begins → the part of the data that it is about; that of another name is the training part."""

POSITIONS, RATES = ("epoch", "step"), ("learning_rate", "lr")


@cache
def place(name: str) -> tuple[str, str, str]:
    """Part, output and metric of a name, `val_depth.mae`; the output `losses` has those of each output."""
    start = re.fullmatch(rf"({'|'.join(PARTS)})[/._ -]+(.+)", name, re.IGNORECASE)
    part, rest = (PARTS[start[1].lower()], start[2]) if start else ("train", name)
    *outputs, metric = (re.sub(r"[^A-Za-z0-9_-]+", "_", word) for word in re.split(r"[/.]", rest))
    names = ["losses" if outputs == ["loss"] else "_".join(outputs) or OUTPUT, metric]
    output, metric = (word if RESULT_NAME.fullmatch(word) else f"m_{word}" for word in names)
    return part, output, metric


def epochs_of(rows: Iterable[Row], earlier: Sequence[Line] = ()) -> list[Line]:
    """Lines of `metrics.jsonl`. Rows of one number are one epoch; from a smaller number on, all are replaced.

    earlier  those that the rows, of which there is at least one, continue or replace
    """
    merged, numbered = list[tuple[float, dict[str, float]]](), False
    for row in rows:
        number = next((row[name] for name in POSITIONS if name in row), math.nan)
        if math.isfinite(number):
            numbered = True
        else:
            number = merged[-1][0] if numbered else len(earlier) + len(merged) + 1
        while merged and merged[-1][0] > number:
            merged.pop()
        if merged and merged[-1][0] == number:
            merged[-1][1].update(row)
        else:
            merged.append((number, dict(row)))
    lines = [line for line in earlier if line["step" if "step" in line else "epoch"] < merged[0][0]]
    lowest: float = min((line["validation"]["loss"] for line in lines if line["best"]), default=math.inf)
    for number, row in merged:
        line = formats.with_marks(_line(row, len(lines) + 1, number))
        loss = line["validation"]["loss"]
        line["best"] = loss is not None and loss < lowest
        lowest = loss if line["best"] else lowest
        lines.append(line)
    return lines


def _line(row: Row, epoch: int, number: float) -> Line:
    line: Line = {"epoch": epoch, "train": {"loss": None}, "validation": {"loss": None}}
    if number != epoch:
        line["step"] = int(number) if number == int(number) else number
    for name, value in row.items():
        part, output, metric = place(name)
        if name in RATES:
            line["learning_rate"] = value
        elif (output, metric) == (OUTPUT, "loss") and part in line:
            line[part]["loss"] = value
        elif name not in POSITIONS:
            line.setdefault(part, {}).setdefault(output, {})[metric] = value
    return line


def results_of(lines: Sequence[Line]) -> Numbers:
    """The numbers of the last line, if there is one, as a program's results."""
    numbers: Numbers = {}
    for part in RESULT_PARTS if lines else ():
        outputs = dict(lines[-1].get(part, {}))
        outputs.pop("losses", None)
        if (loss := outputs.pop("loss", None)) is not None:
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
        if numbers := {name: value for name, value in row.items() if name and type(value) is float}:
            rows.append(numbers)
    return rows


SHARE_OF_TIME = 0.05
"""Of its time that a run spends on following; long files are read less often, as all of them is read each time."""


class MetricsFile:
    """JSON lines or CSV that a program appends to, or writes anew; the file may appear late, and be rotated."""

    def __init__(self, path: Path, kept_in: Path, *, again: bool) -> None:
        """kept_in  `metrics.jsonl`
        again    whether the program continues what an earlier attempt began
        """
        self._path, self._kept_in = path, kept_in
        self._rows, self._names, self._due = list[Row](), list[str](), 0.0
        self._file: BinaryIO = path.open("rb") if path.is_file() else io.BytesIO()
        self._changed = path.stat().st_mtime_ns if path.is_file() else 0
        self._seen = self._file.read()  # by other runs and attempts
        rows_in(self._seen, self._names)
        if not again:
            kept_in.unlink(missing_ok=True)
        self.epochs = self._earlier = list(formats.read_lines(kept_in))

    def look(self, *, last: bool = False) -> None:
        """last: also a line without its end."""
        if (begun := time.monotonic()) < self._due and not last:
            return
        self._read(last)  # before it is rotated, or what was written until it was
        with suppress(FileNotFoundError):
            if self._path.is_file():
                there = self._path.open("rb")
                self._file.close()
                self._file = there
                self._read(last)
                if last and not self._rows and self._path.stat().st_mtime_ns != self._changed:
                    self._seen = b""  # it was written anew, with the same content
                    self._read(last)
        self._due = time.monotonic() + (time.monotonic() - begun) / SHARE_OF_TIME
        if last and not self.epochs:
            log.warning("%s: no metrics were found", self._path)

    def _read(self, last: bool) -> None:
        self._file.seek(0)
        content = self._file.read()
        begin = len(self._seen) if content.startswith(self._seen) else 0
        end = len(content) if last else max(begin, content.rfind(b"\n") + 1)
        self._names = self._names if begin else []
        rows, self._seen = rows_in(content[begin:end], self._names), content[:end]
        if rows:
            if begin == 0 and self._rows and str(rows[0]) == str(self._rows[0]):  # the same file, written anew
                self._rows = []
            self._rows += rows
            self.epochs = epochs_of(self._rows, self._earlier)
            formats.write_lines(self._kept_in, self.epochs)


BAR = re.compile(rb"\d+%\|[^|\r\n]*\|\s*([\d.]+)([kMG]?)/([\d.]+)([kMG]?)\s")
"""What tqdm prints, such as ` 45%|####5     | 45/100 [00:10<00:12,  4.50it/s]`."""

SCALES = {b"": 1, b"k": 1e3, b"M": 1e6, b"G": 1e9}

END_BYTES = 8192
"""Bytes at the end of a file in which the last bar is looked for."""


def counted(log_file: Path, start: int, progress_file: Path) -> tuple[int, int] | None:
    """How many of how many are done, by the last bar of tqdm in the log, or as Qanat reads it in `progress.txt`: such a
    bar, or `count_total=N` and on each line how many more are done.
    """
    for file, begin in ((progress_file, 0), (log_file, start)):
        with suppress(OSError, ValueError), file.open("rb") as written:
            if file is progress_file and (first := written.readline(99)).startswith(b"count_total="):
                total, steps = int(first[12:]), written.read().split()
                return total if b"finished" in steps else min(sum(map(int, steps)), total), total
            written.seek(max(begin, written.seek(0, os.SEEK_END) - END_BYTES))
            if bars := BAR.findall(written.read()):
                done, scale, of, scale_of = bars[-1]
                return round(float(done) * SCALES[scale]), round(float(of) * SCALES[scale_of])
    return None


SECONDS_BETWEEN_NOTES = 2.0
"""Least time between two changes of the record on account of progress."""


class Progress:
    """What is found of a program while it runs, and noted in the run's record."""

    def __init__(self, work: Work, metrics: Path | None, *, again: bool) -> None:
        """metrics  the file in which the program writes them
        again    whether the program continues what an earlier attempt began
        """
        self._own, self._log, self._next = work.own, work.attempt / "log.txt", 0.0
        self._start = self._log.stat().st_size
        kept_in = self._own.directory.metrics_file
        self._metrics = None if metrics is None else MetricsFile(metrics, kept_in, again=again)
        of = work.spec["parameters"].get("epochs")
        self._of = of if isinstance(of, int) else 0
        if not again:
            self._own.keep(epochs=Epochs())

    def look(self, *, last: bool = False) -> None:
        try:
            if self._metrics is not None:
                self._metrics.look(last=last)
            if last:
                self._own.keep(epochs=self._epochs())
            elif time.monotonic() >= self._next:
                self._next = time.monotonic() + SECONDS_BETWEEN_NOTES
                if (epochs := self._epochs()) != self._own.record.epochs:
                    self._own.note(epochs=epochs)
        except TakenOverError:
            raise
        except (OSError, QexpError) as error:  # such as a full disk, which need not end a program that writes elsewhere
            log.warning("its metrics are not followed any further: %s", error)
            self._metrics = None

    def _epochs(self) -> Epochs:
        bar = counted(self._log, self._start, self._own.directory.path / "progress.txt")
        if self._metrics is None or not (epochs := self._metrics.epochs):
            return Epochs(done=bar[0], of=bar[1]) if bar else self._own.record.epochs
        done, best = len(epochs), [line["epoch"] for line in epochs if line["best"]]
        of = bar[1] if bar and abs(bar[0] - done) <= 1 else self._of  # a bar may count batches
        return Epochs(done=done, of=of if of >= done else 0, best=best[-1] if best else None)
