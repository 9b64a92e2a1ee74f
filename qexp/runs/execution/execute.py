"""Executing a prepared run. It needs only the run's directory."""

from __future__ import annotations

import logging
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from qexp import machine
from qexp.errors import InterruptedRunError, ProgramError, QexpError, RunFailedError, TakenOverError
from qexp.runs import figures
from qexp.runs.attempt import OwnRecord, Work
from qexp.runs.display import Display, Silent
from qexp.runs.execution.types import TYPES
from qexp.runs.record import lease
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.heartbeat import beating
from qexp.runs.record.lease import HEARTBEAT, Lease, withdraw
from qexp.runs.record.names import now
from qexp.runs.record.record import AttemptRecord
from qexp.runs.record.state import State
from qexp.runs.record.trust import require_trust
from qexp.runs.schedulers import this_job
from qexp.runs.signals import handled
from qexp.spec.experiences import type_name

if TYPE_CHECKING:
    from qexp.assemble import Dataset

log = logging.getLogger("qexp.run")


def execute(
    directory: RunDirectory,
    device: str = "auto",
    display: Display | None = None,
    threads: int | None = None,
    dataset: Dataset | None = None,
    wrap: str | None = None,
) -> None:
    """Train and evaluate a prepared or interrupted run in this process, from its last checkpoint; or run its program.

    threads  most threads to use; all of the machine if left out
    dataset  the run's dataset, if it is already open; else it is opened here
    wrap     the command around this process, for the record
    Returns when the run is done. Raises RunFailedError or InterruptedRunError after the record says so, and, before
    anything is written, UntrustedCodeError, and QexpError for a wrong `QEXP_FIGURES`.
    """
    record = directory.record()
    if record.state is State.DONE:
        return
    require_trust(directory)
    figures.drawn_at_once()
    # From here on a signal cannot leave a record that says "running".
    with _watched_signals() as interrupted, lease.taken(directory, wrap) as held:
        try:
            state, error = _carry_out(held, device, display or Silent(), interrupted, threads, dataset, wrap)
        except TakenOverError:
            raise held.lost() from None
    if state is State.INTERRUPTED:
        raise InterruptedRunError(f"{directory.name} was interrupted; continue with --resume")
    if error is not None:
        raise RunFailedError(
            f"{directory.name} {state.words}: {_last_line(error)}\nsee {held.attempt / 'log.txt'}"
        ) from error


def _carry_out(
    held: Lease,
    device: str,
    display: Display,
    interrupted: Callable[[], bool],
    threads: int | None,
    dataset: Dataset | None,
    wrap: str | None,
) -> tuple[State, BaseException | None]:
    """Work on a run, and record how that ended. Returns the state, and the error if there was one."""
    directory = held.directory
    own = OwnRecord(directory, directory.record())  # read again: the previous holder of the lease may have written
    if own.record.state is State.DONE:
        withdraw(held)
        return State.DONE, None
    _begin(own, held, wrap)
    lost = threading.Event()

    def goes_on() -> bool:
        if not held.held():
            lost.set()
        return not lost.is_set()

    def ended() -> bool:
        return interrupted() or lost.is_set()

    with _logging_to(held.attempt / "log.txt"), beating(held.attempt / HEARTBEAT, goes_on):
        log.info("run %s, process %d, attempt %s", directory.name, os.getpid(), held.attempt.name)
        try:
            work = Work(own, held.attempt, device, display, ended, threads, dataset)
            state, error = _outcome(lambda: _work(work))
            if error is not None:
                own.keep(error=_last_line(error))
                of_program = isinstance(error, ProgramError)  # whose own traceback is in the log
                log.error("%s", error if of_program else "".join(traceback.format_exception(error)))
            log.info("%s", state)
            *before, last = own.record.attempts
            own.note(attempts=(*before, replace(last, ended=now(), state=state)), state=state, ended=now())
        except TakenOverError:
            log.error("%s", held.lost())
            raise
    return state, error


def _begin(own: OwnRecord, held: Lease, wrap: str | None) -> None:
    """Record that the run is running."""
    # The process of an attempt that is still recorded as running did not live to record its end.
    before = [replace(one, state=State.LOST) if one.state is State.RUNNING else one for one in own.record.attempts]
    this = AttemptRecord(number=held.number, process=held.process, started=now(), state=State.RUNNING, wrap=wrap)
    try:
        own.note(
            attempts=(*before, this),
            state=State.RUNNING,
            started=own.record.started or now(),
            ended=None,
            error=None,
            job=this_job(held.directory.path.absolute().parent.parent),
        )
    except QexpError:
        withdraw(held)
        raise


def _outcome(train: Callable[[], bool]) -> tuple[State, BaseException | None]:
    """The state in which training ends, and the error if there was one."""
    try:
        return (State.DONE if train() else State.INTERRUPTED), None
    except KeyboardInterrupt:
        return State.INTERRUPTED, None
    except TakenOverError:
        raise
    except BaseException as error:
        return (State.OUT_OF_MEMORY if machine.ran_out_of_memory(error) else State.FAILED), error


def _work(work: Work) -> bool:
    """Do the work, and keep its results; False if interrupted."""
    results = TYPES[type_name(work.spec)](work)
    if results is None:
        return False
    work.own.keep(
        results=results.results,
        intervals=results.intervals,
        comparison=results.comparison,
        errors=results.errors,
        groups=results.groups,
        features=results.features,
        targets=results.targets,
        units={**work.own.record.units, **results.units},
    )
    directory = work.own.directory
    if not figures.figures_of(directory):
        return True
    if figures.drawn_at_once():
        figures.draw(directory, left_out=log.warning)
    else:
        log.info("no figures, as %s=no; qexp figures %s draws them", figures.VARIABLE, directory.name)
    return True


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
def _watched_signals() -> Iterator[Callable[[], bool]]:
    """Note the first SIGINT or SIGTERM, so that training can end in order; a second SIGINT interrupts at once.

    A second SIGTERM does not: it is sent if two of `qexp stop`, a pool and a scheduler end the run, and the checkpoint
    must still be written. A process that does not end is killed by them.
    """
    received = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        if received.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.set()

    with handled((signal.SIGINT, signal.SIGTERM), note):
        yield received.is_set
