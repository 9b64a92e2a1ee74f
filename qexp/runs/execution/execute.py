"""Executing a prepared run. It needs nothing but the run's directory."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType

import torch

from qexp import assemble, files
from qexp.errors import InterruptedRunError, QexpError, RunFailedError
from qexp.runs.attempt import Attempt, OwnRecord
from qexp.runs.display import Display, Silent
from qexp.runs.execution.train_network import train_network
from qexp.runs.folds.train import train_folds
from qexp.runs.record import provenance
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.names import now
from qexp.runs.record.process import HEARTBEAT_SECONDS, alive, this_process
from qexp.runs.record.record import AttemptRecord
from qexp.runs.record.state import State
from qexp.runs.schedulers.slurm import this_job
from qexp.runs.signals import handled

log = logging.getLogger("qexp.run")


def execute(
    directory: RunDirectory, device: str = "auto", display: Display | None = None, threads: int | None = None
) -> None:
    """Train and judge a prepared or interrupted run, in this process, from where it stands.

    threads  at most so many; all of the machine's if left out
    Returns when the run is done. Raises RunFailedError or InterruptedRunError after the record says so.
    """
    record = directory.record()
    if record.state is State.DONE:
        return
    with _watched_signals() as interrupted:  # from here on a signal cannot leave a record that says "running"
        own = OwnRecord(directory, record)
        folder = _begin(own)
        with _logging_to(folder / "log.txt"), _heartbeat(folder / "heartbeat"), _threads_restored():
            log.info("run %s, process %d, attempt %s", directory.name, os.getpid(), folder.name)
            state, error = _outcome(lambda: _work(own, device, display or Silent(), interrupted, threads))
            if error is not None:
                own.keep(error=_last_line(error))
                log.error("%s", "".join(traceback.format_exception(error)))
            log.info("%s", state)
            *before, last = own.record.attempts
            own.note(attempts=(*before, replace(last, ended=now(), state=state)), state=state, ended=now())
    if state is State.INTERRUPTED:
        raise InterruptedRunError(f"{directory.name} was interrupted; go on with --resume")
    if error is not None:
        raise RunFailedError(f"{directory.name} {state.words}: {own.record.error}\nsee {folder / 'log.txt'}") from error


def _begin(own: OwnRecord) -> Path:
    """Claim the next attempt, and write down that the run is running. Returns the attempt's folder."""
    directory = own.directory
    number = _claim_attempt(own)
    folder = directory.attempt(number)
    this = AttemptRecord(number=number, process=this_process(), started=now(), state=State.RUNNING)
    files.write_json(folder / "command.json", {"argv": sys.argv, "directory": str(Path.cwd())})
    own.note(
        attempts=(*own.record.attempts, this),
        state=State.RUNNING,
        started=own.record.started or now(),
        ended=None,
        error=None,
        job=this_job(),
    )
    return folder


def _outcome(train: Callable[[], bool]) -> tuple[State, BaseException | None]:
    """The state in which training ends, and the error if it was one."""
    try:
        return (State.DONE if train() else State.INTERRUPTED), None
    except (MemoryError, torch.OutOfMemoryError) as error:
        return State.OUT_OF_MEMORY, error
    except KeyboardInterrupt:
        return State.INTERRUPTED, None
    except BaseException as error:
        return State.FAILED, error


def _work(
    own: OwnRecord, device_name: str, display: Display, interrupted: Callable[[], bool], threads: int | None
) -> bool:
    """Train and evaluate; False if interrupted."""
    directory = own.directory
    spec = directory.spec()
    device = assemble.device_of(device_name)
    tables = assemble.tables_with(directory.extensions)
    cores = torch.get_num_threads()
    if device.type == "cpu":
        wanted = assemble.threads_for(spec, tables)
        torch.set_num_threads(min(wanted, threads or wanted))
    called = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    files.write_json(directory.path / "environment.json", provenance.environment(called, torch.get_num_threads()))
    log.info("device %s, %d threads", called, torch.get_num_threads())
    processes = min(cores, threads or cores)
    attempt = Attempt(directory, own, spec, tables, device, display, interrupted, processes)
    train = train_folds if spec["dataset"]["type"] == "tabular" else train_network
    results = train(attempt)
    if results is None:
        return False
    own.keep(
        results=results.results,
        intervals=results.intervals,
        comparison=results.comparison,
        errors=results.errors,
        features=results.features,
    )
    return True


def _claim_attempt(own: OwnRecord) -> int:
    """Make the next attempt's folder; of several processes that try, one succeeds."""
    directory, record = own.directory, own.record
    *before, last = record.attempts or [None]
    if last is not None and last.state is State.RUNNING:
        if alive(last.process, directory.attempt(last.number) / "heartbeat"):
            raise QexpError(f"{record.name} is running already, as process {last.process.pid}")
        own.keep(attempts=(*before, replace(last, state=State.LOST)))
    taken = [int(path.name) for path in (directory.path / "attempts").iterdir() if path.name.isdigit()]
    number = max(taken, default=0) + 1
    if number > len(record.attempts) + 1 and _just_claimed(directory, number - 1):
        raise QexpError(f"{record.name} is being started by another process")
    try:
        directory.attempt(number).mkdir()
    except FileExistsError:
        raise QexpError(f"{record.name} is being started by another process") from None
    except OSError as error:
        raise QexpError(f"cannot write to {directory.path}: {error.strerror}") from error
    return number


def _just_claimed(directory: RunDirectory, number: int) -> bool:
    """Whether an attempt that the record does not know yet is a few seconds old, and not a dead one's."""
    return time.time() - directory.attempt(number).stat().st_mtime < 10


def _last_line(error: BaseException) -> str:
    text = str(error).strip() or "no message"
    return text if isinstance(error, QexpError) else f"{type(error).__name__}: {text}"


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]
        handler.close()


@contextmanager
def _threads_restored() -> Iterator[None]:
    """Leave torch's number of threads to the caller as it was."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _heartbeat(path: Path) -> Iterator[None]:
    """Touch a file for as long as this process works, also during a long step."""
    path.touch()
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):  # a full disk or a vanished directory is training's to report
                path.touch()

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _watched_signals() -> Iterator[Callable[[], bool]]:
    """Note the first SIGINT or SIGTERM, so that training can end in order; a second SIGINT acts at once.

    A second SIGTERM does not: it comes where two ask for the end, such as `qexp stop`, a pool and Slurm, and must not
    cost the checkpoint. What does not end is killed.
    """
    received = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        if received.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.set()

    with handled((signal.SIGINT, signal.SIGTERM), note):
        yield received.is_set
