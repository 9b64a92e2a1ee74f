"""The metrics and the progress of a program of others, followed while it runs: its lines become the run's epochs."""

from __future__ import annotations

import csv
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

import orjson

from qexp.base import files
from qexp.base.text import leaves
from qexp.kinds.attempt import OwnRecord
from qexp.spec.experiences import OUTPUT, RESULT_NAME, RESULT_PARTS, Numbers
from qexp.store.epochs import Line
from qexp.store.record import Epochs

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

    earlier  those that the rows continue, or replace
    """
    merged, numbered = list[tuple[float, dict[str, float]]](), False
    for row in rows:
        number = next((row[name] for name in POSITIONS if name in row), math.nan)
        numbered = numbered or math.isfinite(number)
        if not math.isfinite(number):
            number = merged[-1][0] if numbered and merged else len(earlier) + len(merged) + 1
        while merged and merged[-1][0] > number:
            merged.pop()
        if merged and merged[-1][0] == number:
            merged[-1][1].update(row)
        else:
            merged.append((number, dict(row)))
    lines = [line for line in earlier if not merged or {"step": line["epoch"], **line}["step"] < merged[0][0]]
    lowest = [math.inf, *(line["validation"]["loss"] for line in lines if line["best"])]
    for number, row in merged:
        lines.append(_line(row, len(lines) + 1, int(number) if number == int(number) else number, lowest[-1]))
        lowest += [lines[-1]["validation"]["loss"]] if lines[-1]["best"] else []
    return lines


def _line(row: Row, epoch: int, position: float, lowest: float) -> Line:
    line: Line = {"epoch": epoch, "train": {"loss": None}, "validation": {"loss": None}}
    line |= {} if position == epoch else {"step": position}
    for name, value in row.items():
        part, output, metric = place(name)
        if name in RATES:
            line["learning_rate"] = value
        elif (output, metric) == (OUTPUT, "loss") and part in line:
            line[part]["loss"] = value
        elif name not in POSITIONS:
            line.setdefault(part, {}).setdefault(output, {})[metric] = value
    loss = line["validation"]["loss"]
    line["best"] = loss is not None and loss < lowest
    return line if all(map(math.isfinite, row.values())) else files.with_marks(line)


def results_of(line: Line) -> Numbers:
    """The numbers of a line as a program's results."""
    numbers: Numbers = {}
    for part in RESULT_PARTS:
        numbers[part] = {name: of_one for name, of_one in line.get(part, {}).items() if name not in ("loss", "losses")}
        if (loss := line.get(part, {}).get("loss")) is not None:
            numbers[part][OUTPUT] = {"loss": loss, **numbers[part].get(OUTPUT, {})}
    return {part: outputs for part, outputs in numbers.items() if outputs}


def rows_in(content: bytes) -> tuple[list[Row], list[bytes]]:
    """Rows of JSON lines or CSV, and the lines that are none: not whole, or without a number."""
    rows, others, header, comma = list[Row](), list[bytes](), list[str](), ","
    for line in filter(None, map(bytes.strip, content.splitlines())):
        row: Row = {}
        with suppress(ValueError, RecursionError, csv.Error):
            if line.startswith(b"{"):
                # NaN and Infinity, which JSON does not have, are written all the same.
                document = json.loads(line, parse_int=float) if b"N" in line or b"I" in line else orjson.loads(line)
                row = {name: value for name, value in leaves(document) if type(value) in (int, float)}
            else:
                text = line.decode("utf-8-sig")
                cells = next(csv.reader([text], delimiter=comma))
                values = list(map(_number, cells))
                if all(value is None for value in values) and (not header or len(cells) > 1):
                    comma = max(",;\t", key=text.count)
                    header = [name.strip() for name in next(csv.reader([text], delimiter=comma))]
                    continue
                pairs = zip(header, values, strict=True)
                row = {name: value for name, value in pairs if value is not None}
        (rows if row else others).append(row or line)  # type: ignore[arg-type]
    return rows, others


def _number(cell: str) -> float | None:
    with suppress(ValueError):
        return float(cell)
    return None


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_mtime_ns, status.st_size


SHARE = 0.05
"""Of its time that a run spends on following; long files are read less often, as all of them is read each time."""


class MetricsFile:
    """JSON lines or CSV that a program appends to, or writes anew; the file may appear late, and be rotated."""

    def __init__(self, path: Path, kept_in: Path, *, again: bool, own: bool) -> None:
        """kept_in  `metrics.jsonl`
        again    whether the program continues what an earlier attempt began
        own      whether no other run writes into the file
        """
        self._path, self._kept_in, self._file = path, kept_in, None  # type: Path, Path, BinaryIO | None
        self.epochs = self._before = list(files.read_lines(kept_in)) if again else []
        kept_in.unlink(missing_ok=not self.epochs)
        self._first, self._due, self._left_out = "", 0.0, list[bytes]()
        self._of_others, self._stamp = b"", (0, 0)
        if path.is_file() and not (again and own):
            self._of_others, self._stamp = path.read_bytes(), _stamp(path.stat())

    def look(self, *, last: bool = False) -> None:
        """last: also a line without its end."""
        if (begun := time.monotonic()) < self._due and not last:
            return
        there = self._path.stat() if self._path.is_file() else None
        if there and self._file is not None and not os.path.samestat(there, os.fstat(self._file.fileno())):
            self._read(self._file, last=True)  # it was rotated
            self._file.close()
            self._file = None
        if there and self._file is None:
            self._file = self._path.open("rb")
        if self._file is not None:
            self._read(self._file, last)
        self._due = time.monotonic() + (time.monotonic() - begun) / SHARE
        if last and (others := self._left_out):
            log.warning(
                "%s: lines that are no rows of numbers: %d, such as %r", self._path, len(others), others[0][:60]
            )
        if last and not self.epochs:
            log.warning("%s: no metrics were found", self._path)

    def _read(self, file: BinaryIO, last: bool) -> None:
        before, self._stamp = self._stamp, _stamp(os.fstat(file.fileno()))
        if before == self._stamp and not last:
            return
        file.seek(0)
        content = file.read()
        written_anew = len(content) == len(self._of_others) and before != self._stamp
        if self._of_others and content.startswith(self._of_others) and not written_anew:
            header = b"" if content.startswith(b"{") else content.partition(b"\n")[0] + b"\n"
            content = header + content[len(self._of_others) :]
        rows, self._left_out = rows_in(content if last else content[: content.rfind(b"\n") + 1])
        if rows:
            if self._first not in ("", str(rows[0])):  # another file, which may continue the first
                self._before = self.epochs
            self._first, self.epochs = str(rows[0]), epochs_of(rows, self._before)
            files.write_bytes(self._kept_in, b"".join(orjson.dumps(line) + b"\n" for line in self.epochs))


BAR = re.compile(rb"\d+%\|[^|\r\n]*\|\s*([\d.]+)([kMG]?)/([\d.]+)([kMG]?)\s")
"""What tqdm prints, such as ` 45%|####5     | 45/100 [00:10<00:12,  4.50it/s]`."""

SCALES = {b"": 1, b"k": 1e3, b"M": 1e6, b"G": 1e9}

END = 8192
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
            written.seek(max(begin, written.seek(0, os.SEEK_END) - END))
            if bars := BAR.findall(written.read()):
                done, scale, of, scale_of = bars[-1]
                return round(float(done) * SCALES[scale]), round(float(of) * SCALES[scale_of])
    return None


SECONDS_BETWEEN_NOTES = 2.0
"""Least time between two changes of the record on account of progress."""


class Progress:
    """What is found of a program while it runs, and noted in the run's record."""

    def __init__(self, own: OwnRecord, metrics: MetricsFile | None, epochs: int, log_file: Path) -> None:
        """`epochs`: how many there will be; 0 if that is unknown."""
        self._own, self._metrics, self._of = own, metrics, epochs
        self._log, self._start, self._next = log_file, log_file.stat().st_size, 0.0

    def look(self, *, last: bool = False) -> None:
        try:
            if self._metrics is not None:
                self._metrics.look(last=last)
        except OSError as error:  # such as a full disk, which need not end a program that writes elsewhere
            log.warning("its metrics are not followed any further: %s", error)
            self._metrics = None
        if last:
            self._own.keep(epochs=self._epochs())
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + SECONDS_BETWEEN_NOTES
            if (epochs := self._epochs()) != self._own.record.epochs:
                self._own.note(epochs=epochs)

    def _epochs(self) -> Epochs:
        bar = counted(self._log, self._start, self._own.directory.path / "progress.txt")
        if self._metrics is None or not (epochs := self._metrics.epochs):
            return Epochs(done=bar[0], of=bar[1]) if bar else self._own.record.epochs
        done, best = len(epochs), [line["epoch"] for line in epochs if line["best"]]
        of = bar[1] if bar and abs(bar[0] - done) <= 1 else self._of  # a bar may count batches
        return Epochs(done=done, of=of if of >= done else 0, best=best[-1] if best else None)
