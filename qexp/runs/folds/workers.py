"""Training of a run's batches of folds in several worker processes with one core each.

A worker reads batch numbers from its standard input and writes progress and results to its standard output, one JSON
document per line. The worker ends when its input ends: either no batch is left, or the run's process has died.
"""

from __future__ import annotations

import json
import logging
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import torch

from qexp import machine
from qexp.assemble.folds import Folds
from qexp.assemble.kinds.tabular import TabularKind
from qexp.errors import QexpError
from qexp.files import drafts_of
from qexp.networks.stacked_training import Line
from qexp.runs.folds.batches import batches_of, train_batch
from qexp.runs.folds.progress import DisplayedSteps, Steps
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.trust import tables_of
from qexp.runs.signals import handled
from qexp.seeds import Seeds

log = logging.getLogger("qexp.run")

SECONDS_BETWEEN_LOOKS = 0.2


@dataclass
class _Worker:
    process: subprocess.Popen[str]
    batch: int | None = None
    steps: float = 0.0
    """Steps done in the current batch."""
    said: list[str] = field(default_factory=list)
    """Printed lines that are not messages, such as a traceback."""


def train_in_processes(
    directory: RunDirectory,
    batches: Sequence[int],
    processes: int,
    progress: DisplayedSteps,
    batch_done: Callable[[int, Sequence[str]], None],
    interrupted: Callable[[], bool],
) -> bool:
    """Train batches of folds, each in the next free process; False if interrupted.

    batch_done  called with the number of each finished batch and the names of its failed folds
    Raises QexpError if a process ends before it has finished its batch, MemoryError if it ran out of memory.
    """
    waiting, heard = list(batches), queue.SimpleQueue[tuple[_Worker, dict[str, Any] | None]]()
    workers = [_begin(directory, heard) for _ in range(processes)]
    steps_done, stopping = 0.0, False
    try:
        for worker in workers:
            _next(worker, waiting)
        left = len(workers)
        while left:
            if interrupted() and not stopping:
                stopping = True
                for worker in workers:
                    worker.process.terminate()
            try:
                worker, message = heard.get(timeout=SECONDS_BETWEEN_LOOKS)
            except queue.Empty:
                continue
            if message is None:
                left -= 1
                if worker.batch is not None and not stopping:
                    _explain(worker)
            elif "done" in message:
                steps_done += message["steps"]
                worker.steps = 0.0
                batch_done(message["done"], message["failed"])
                _next(worker, [] if stopping else waiting)
            elif "log" in message:
                log.info("%s", message["log"])
            else:
                worker.steps = message["steps"]
                under_way = sum(one.steps for one in workers)
                progress.show(progress.done + steps_done + under_way, message["line"], message["seconds"])
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.wait()
    return not stopping


def _begin(directory: RunDirectory, heard: queue.SimpleQueue[tuple[_Worker, dict[str, Any] | None]]) -> _Worker:
    lease = drafts_of(directory.path)
    drafts = ["--drafts", str(lease)] if lease is not None else []
    # In a new session, Ctrl-C on the terminal reaches only the run's process, which passes it on.
    process = subprocess.Popen(
        [sys.executable, "-m", "qexp", "train-folds", str(directory.path), *drafts],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    worker = _Worker(process)

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                worker.said.append(line)
                continue
            heard.put((worker, message))
        process.wait()
        heard.put((worker, None))

    threading.Thread(target=listen, daemon=True).start()
    return worker


def _next(worker: _Worker, waiting: list[int]) -> None:
    """Give a worker its next batch; if none is left, close its input so that it ends."""
    worker.batch = waiting.pop(0) if waiting else None
    assert worker.process.stdin is not None
    try:
        if worker.batch is None:
            worker.process.stdin.close()
        else:
            worker.process.stdin.write(f"{worker.batch}\n")
            worker.process.stdin.flush()
    except BrokenPipeError:
        pass  # the worker has died; its listener reports that


def _explain(worker: _Worker) -> None:
    code = worker.process.returncode
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    if code == -signal.SIGKILL:
        raise MemoryError(f"a process that trained folds {how}; perhaps it ran out of memory")
    said = "".join(worker.said[-20:]).strip()
    if machine.says_no_memory(worker.said[-1] if worker.said else ""):
        raise MemoryError(f"a process that trained folds {how}:\n{said}")
    raise QexpError(f"a process that trained folds {how}:\n{said}")


# In the worker


def work(directory: RunDirectory, orders: IO[str], answers: IO[str]) -> bool:
    """Train the batches whose numbers are read from `orders`, until it ends; False if asked to stop.

    answers  receives progress and results
    """
    torch.set_num_threads(1)
    record = directory.record()
    spec, tables = directory.spec(), tables_of(directory)
    dataset = TabularKind().dataset(spec["dataset"], tables, None)
    plan = Folds(spec, dataset, tables, Seeds(record.seed), torch.device("cpu"))
    batches = batches_of(plan)
    stop = threading.Event()
    numbers: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    busy = threading.Event()

    def read() -> None:
        for line in orders:
            numbers.put(int(line))
        numbers.put(None)
        if busy.is_set():
            stop.set()  # the run's process has died: otherwise it closes the input only after this batch

    threading.Thread(target=read, daemon=True).start()
    with handled((signal.SIGTERM,), lambda number, frame: stop.set()):
        while (number := numbers.get()) is not None:
            busy.set()
            speaker = _Speaker(answers)
            failed = train_batch(directory, plan, batches, number, speaker, stop.is_set)
            if failed is None:
                return False
            busy.clear()
            speaker.say({"done": number, "steps": speaker.done, "failed": failed})
    return not stop.is_set()


class _Speaker(Steps):
    """Reports epochs to the run's process."""

    def __init__(self, answers: IO[str]) -> None:
        super().__init__()
        self._answers = answers

    def show(self, steps: float, line: Line, seconds: float) -> None:
        self.say({"steps": steps, "line": line, "seconds": seconds})

    def checkpoint_written(self, epoch: int) -> None:
        self.say({"log": f"checkpoint after epoch {epoch} of a stack"})

    def say(self, message: dict[str, Any]) -> None:
        try:
            self._answers.write(json.dumps(message) + "\n")
            self._answers.flush()
        except BrokenPipeError:
            pass  # the run's process has died; the input ends as well
