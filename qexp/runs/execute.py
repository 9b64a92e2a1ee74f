"""Executing a prepared run, as this process or inside a wrap. It needs only the run's directory."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from qexp.base import files, formats, machine
from qexp.base.machine import ended_with_all, handled, start_child
from qexp.errors import InterruptedRunError, ProgramError, QexpError, RunFailedError, TakenOverError
from qexp.figures import canvas
from qexp.jobs.launchers import this_job
from qexp.jobs.scheduler import Wrap
from qexp.jobs.states import signal_attempt, state_now
from qexp.kinds import figures
from qexp.kinds.attempt import Attempt, Display, OwnRecord, Results, Work
from qexp.results.classes import keep_classes
from qexp.runs.notice import notify_of_attempt
from qexp.spec.experiences import type_name, type_of
from qexp.spec.kinds import load_stage
from qexp.store import provenance
from qexp.store.directory import RunDirectory
from qexp.store.lease import HEARTBEAT, STOP, Lease, attempts, take_lease, withdraw
from qexp.store.process import beating
from qexp.store.record import AttemptRecord, Record, State, now
from qexp.store.system import sampled

if TYPE_CHECKING:
    import torch

    from qexp.kinds.kind import Dataset


log = logging.getLogger("qexp.run")


def execute(
    directory: RunDirectory,
    device: str = "auto",
    display: Display | None = None,
    threads: int | None = None,
    dataset: Dataset | None = None,
    wrap: str | None = None,
) -> None:
    """Train and evaluate a prepared or interrupted run in this process, from its last checkpoint;
    or run its program.

    threads  most threads to use; all of the machine if left out
    dataset  the run's dataset, if it is already open; else it is opened here
    wrap     the command around this process, for the record
    Returns when the run is done. Raises RunFailedError or InterruptedRunError after the record says
    so, and, before anything is written, UntrustedCodeError, and QexpError for a wrong
    `QEXP_FIGURES`.
    """
    record = directory.record()
    if record.state is State.DONE:
        return
    if record.stack is not None:
        execute_stack([directory], device, display, threads, wrap)
        return
    if machine.STARTED_TOGETHER > 1:
        require_processes_for(directory.spec())
    directory.require_trust()
    require_executable(record)
    canvas.draws_at_once()
    # From here on a signal cannot leave a record that says "running".
    with _watched_signals() as interrupted, take_lease(directory, wrap) as lease:
        # read again: the last holder of the lease may have written
        own = OwnRecord(directory, directory.record())
        if own.record.state is State.DONE:
            withdraw(lease)
            return
        with recorded(own, lease, wrap) as outcome:

            def ends() -> bool:
                return interrupted() or outcome.lost.is_set()

            display = display or Display()
            work = Work(own, lease.attempt, device, display, ends, threads, dataset)
            results = TYPES[type_name(work.spec)](work)
            if results is None:
                raise KeyboardInterrupt
            keep(results, own)
    if outcome.error is not None:
        why = _last_line(outcome.error)
        raise _not_done(directory, outcome.state, why, lease.attempt) from outcome.error


def require_executable(record: Record) -> None:
    """Raises QexpError for a run that a script logged, which alone can continue or repeat it."""
    if record.script is not None:
        go_on = ""
        if record.state is not State.DONE:
            go_on = f", or go on: {record.continued_by(record.name)}"
        raise QexpError(
            f"{record.name} was logged by a script; start that: {shlex.join(record.command)}{go_on}"
        )


def require_processes_for(spec: Mapping[str, Any]) -> None:
    """Raises QexpError if this process was started with others that cannot share the work."""
    if machine.STARTED_TOGETHER == 1:
        return
    from qexp.kinds.objects import data_kind
    from qexp.networks.losses import LOSSES
    from qexp.networks.processes import together

    if together().count == 1:
        why = "in Python they cannot train a run; use the command: torchrun … -m qexp run …"
    elif type_of(spec).outputs(dict(spec)) is None:
        why = "a program is started by one; let the command of the experience start several"
    elif data_kind(spec["dataset"]).several_networks:
        why = (
            "these networks are many small ones, trained side by side in one process; start it"
            " without torchrun"
        )
    elif own := {loss["type"] for loss in spec["losses"].values()} - LOSSES.keys():
        why = (
            f"the loss '{min(own)}' is the workspace's own, perhaps no mean over samples; start it"
            " without torchrun"
        )
    else:
        return
    raise QexpError(f"{machine.STARTED_TOGETHER} processes were started together, but {why}")


SECONDS_TO_JOIN = 5.0
"""Seconds after which a process says that it waits for those that were started together with it."""


def is_first() -> bool:
    """Whether this is the first of several processes; the others return once it is trained."""
    if machine.STARTED_TOGETHER == 1:
        return True
    from qexp.networks.processes import join

    waits = (
        f"waits for the others of {machine.STARTED_TOGETHER} processes; without torchrun, unset"
        " WORLD_SIZE"
    )
    said = threading.Timer(SECONDS_TO_JOIN, log.warning, [waits])
    said.daemon = True
    said.start()
    processes = join()
    said.cancel()
    if processes.first:
        return True
    log.disabled = True  # the first says everything
    with _watched_signals() as interrupted:
        try:
            path, device, threads = processes.of_first((Path(), "", 0))
        except QexpError:  # it has ended, and trained nothing
            return False
        own = OwnRecord(RunDirectory(path), RunDirectory(path).record())
        train_and_evaluate(Work(own, path, device, Display(), interrupted, threads, None))
    return False


def _not_done(directory: RunDirectory, state: State, why: str, attempt: Path) -> QexpError:
    if state is State.INTERRUPTED:
        return InterruptedRunError(f"{directory.name} was interrupted; continue with `resume=True`")
    return RunFailedError(f"{directory.name} {state.words}: {why}\nsee {attempt / 'log.txt'}")


def _begin(own: OwnRecord, lease: Lease, wrap: str | None) -> None:
    """Record that the run is running."""
    # The process of an attempt that is still recorded as running did not live to record its end.
    earlier = list(own.record.attempts)
    for index, attempt in enumerate(earlier):
        if attempt.state is State.RUNNING:
            earlier[index] = replace(attempt, state=State.LOST)
    this = AttemptRecord(
        number=lease.number, process=lease.process, started=now(), state=State.RUNNING, wrap=wrap
    )
    try:
        own.note(
            attempts=(*earlier, this),
            state=State.RUNNING,
            started=own.record.started or now(),
            ended=None,
            error=None,
            job=this_job(lease.directory.path.absolute().parent.parent),
        )
    except QexpError:
        withdraw(lease)
        raise


@dataclass
class Outcome:
    """How the work of an attempt ended."""

    state: State = State.DONE
    error: BaseException | None = None
    """Why it failed, or what interrupted it."""
    lost: threading.Event = field(default_factory=threading.Event)
    """Set when another process has taken the run over."""


@contextmanager
def recorded(own: OwnRecord, lease: Lease, wrap: str | None = None) -> Iterator[Outcome]:
    """The work of an attempt, which is logged and alive to others; how it ends is recorded, and is
    the outcome.

    wrap  the command around this process
    No exception leaves the block but TakenOverError. In a forked process nothing is recorded.
    """
    outcome = Outcome()
    log_file = lease.attempt / "log.txt"

    def goes_on() -> bool:
        if not lease.is_held():
            outcome.lost.set()
        return not outcome.lost.is_set()

    directory = own.directory
    with (
        _logging_to(log_file, directory),
        beating(lease.attempt / HEARTBEAT, goes_on),
        sampled(directory.path, goes_on),
    ):
        try:
            _begin(own, lease, wrap)
            numbers = lease.directory.name, os.getpid(), lease.attempt.name
            log.info("run %s, process %d, attempt %s", *numbers)
            try:
                yield outcome
            except TakenOverError:
                raise
            except BaseException as error:
                outcome.state = _state_after(error)
                outcome.error = error
            if lease.is_own:
                _end(own, outcome)
        except TakenOverError:
            lost = lease.lost()
            log.error("%s", lost)
            raise lost from None


def _end(own: OwnRecord, outcome: Outcome) -> None:
    """Record how an attempt has ended, and tell whoever waits."""
    error = None if outcome.state.resumable else outcome.error
    if error is not None:
        own.keep(error=_last_line(error))
        of_program = isinstance(error, ProgramError)  # whose own traceback is in the log
        log.error("%s", error if of_program else "".join(traceback.format_exception(error)))
    log.info("%s", outcome.state)
    *earlier, last = own.record.attempts
    if outcome.state is State.DONE:
        hashes = dict[str, str]()
        for file in filter(Path.is_file, own.directory.weight_files()):
            hashes[file.relative_to(own.directory.path).as_posix()] = files.sha256_of(file)
        own.keep(hashes=hashes or None)
    own.note(
        attempts=(*earlier, replace(last, ended=now(), state=outcome.state)),
        state=outcome.state,
        ended=now(),
    )
    notify_of_attempt(own.directory, own.record)


def _state_after(error: BaseException) -> State:
    if isinstance(error, KeyboardInterrupt):
        return State.INTERRUPTED
    return State.OUT_OF_MEMORY if machine.ran_out_of_memory(error) else State.FAILED


def keep(results: Results, own: OwnRecord, *, drawn: bool = False) -> None:
    """Put the results into the record, and draw the figures, unless they are drawn."""
    numbers = {**vars(results), "units": {**own.record.units, **results.units}}
    del numbers["remarks"]
    own.keep(**numbers)
    directory = own.directory
    keep_classes(directory, directory.spec())
    if drawn or not figures.figures_of(directory):
        return
    if canvas.draws_at_once():
        figures.draw(directory, left_out=log.warning)
    else:
        log.info("no figures, as %s=no; qexp figures %s draws them", canvas.DRAWING, directory.name)


def _last_line(error: BaseException) -> str:
    text = str(error).strip() or "no message"
    return text if isinstance(error, QexpError) else f"{type(error).__name__}: {text}"


AT_WORK: ContextVar[RunDirectory | None] = ContextVar("AT_WORK", default=None)
"""The run of a stack that something is done for; None if it is done for all."""


@contextmanager
def _at_work(directory: RunDirectory) -> Iterator[None]:
    token = AT_WORK.set(directory)
    try:
        yield
    finally:
        AT_WORK.reset(token)


@contextmanager
def _logging_to(path: Path, directory: RunDirectory) -> Iterator[None]:
    """What is logged for a run, and for all, is written to a file and to nothing else."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(lambda record: AT_WORK.get() in (None, directory))
    with _logging_of_runs():
        log.addHandler(handler)
        try:
            yield
        finally:
            log.removeHandler(handler)
            handler.close()


@contextmanager
def _logging_of_runs() -> Iterator[None]:
    """While several runs train, whose blocks end in any order: log to their files alone."""
    level = log.level
    propagate = log.propagate
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.setLevel(level)
        log.propagate = propagate


@contextmanager
def _watched_signals() -> Iterator[Callable[[], bool]]:
    """Note the first SIGINT or SIGTERM, so that training can end in order; a second SIGINT
    interrupts at once.

    A second SIGTERM does not: it is sent if two of `qexp stop`, a pool and a scheduler end the run,
    and the checkpoint must still be written. A process that does not end is killed by them.
    """
    received = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        if received.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.set()

    with handled((signal.SIGINT, signal.SIGTERM), note):
        yield received.is_set


# The work of a run, by the type of its experience.


def train_and_evaluate(work: Work) -> Results | None:
    """Train by the kind of the dataset; None if interrupted or not the first of the processes."""
    with _on_device(work) as (device, cores, environment):
        return _stage(work)(_attempt(work, device, cores, environment))  # type: ignore[no-any-return]


def _stage(work: Work) -> Any:
    return load_stage(work.spec["dataset"], "train")


@contextmanager
def _on_device(work: Work) -> Iterator[tuple[torch.device, int, dict[str, Any]]]:
    """The device, with the number of threads for a network; the usable cores; the environment."""
    import torch

    from qexp.kinds.objects import device_of, threads_for
    from qexp.kinds.tables import tables_of
    from qexp.networks.processes import together

    processes = together()
    if processes.first:
        processes.of_first((work.own.directory.path.absolute(), work.device, work.threads))
    cores = torch.get_num_threads()
    # training sets its own number of threads
    with machine.threads(cores), machine.freed_memory_kept():
        device = device_of(work.device)
        if device.type == "cpu":
            wanted = threads_for(work.spec, tables_of(work.own.directory))
            torch.set_num_threads(min(wanted, work.threads or wanted))
        called = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
        of_torch = provenance.of_torch(called)
        yield device, cores, provenance.environment(called, torch.get_num_threads(), of_torch)


def _attempt(work: Work, device: torch.device, cores: int, environment: dict[str, Any]) -> Attempt:
    """What a run is trained with; its environment is written."""
    from qexp.kinds.objects import dataset_of
    from qexp.kinds.tables import tables_of
    from qexp.networks.processes import together

    directory = work.own.directory
    processes = together()
    stack = work.own.record.stack
    if processes.count > 1 and processes.first:
        backend = "nccl" if device.type == "cuda" else "gloo"
        *earlier, this = work.own.record.attempts
        this = replace(this, processes=processes.count, backend=backend)
        work.own.keep(attempts=(*earlier, this))
        log.info("%d processes, %s", processes.count, backend)
    if stack is not None:
        environment = {**environment, "stack": {"size": stack.size, "place": stack.place}}
        log.info("place %d in a stack of %d runs", stack.place + 1, stack.size)
    if processes.first:
        formats.write_json(directory.path / "environment.json", environment)
    log.info("device %s, %d threads", environment["device"], environment["threads"])
    tables = tables_of(directory)
    dataset = work.dataset or dataset_of(work.spec["dataset"], tables)
    for text in dataset.warnings:
        log.warning("%s", text)
    return Attempt(
        directory=directory,
        own=work.own,
        spec=work.spec,
        dataset=dataset,
        tables=tables,
        device=device,
        display=work.display,
        interrupted=work.interrupted,
        processes=min(cores, work.threads or cores),
        alone=partial(_at_work, directory),
    )


TYPES: Mapping[str, Callable[[Work], Results | None]] = {
    "training": train_and_evaluate,
    "command": lambda work: import_module("qexp.runs.program").results_of(work),
}
"""Type of an experience → what does the work; what programs need is loaded for them alone."""


# Executing the runs of a stack, side by side in this process. Each has its lease, its log and the
# record of its end as if it were alone; when one fails, or is stopped, the others go on.


class _RunOfStack:
    """A run of a stack, from its lease to the record of its end."""

    def __init__(
        self,
        directory: RunDirectory,
        device: str,
        display: Display,
        threads: int | None,
        wrap: str | None,
        interrupted: Callable[[], bool],
    ) -> None:
        with _at_work(directory), ExitStack() as opening:
            self.lease = opening.enter_context(take_lease(directory, wrap))
            self.own = OwnRecord(directory, directory.record())
            self.outcome = opening.enter_context(recorded(self.own, self.lease, wrap))
            self._open: ExitStack | None = opening.pop_all()
        stop = self.lease.attempt / STOP

        def ends() -> bool:
            return interrupted() or self.outcome.lost.is_set() or stop.exists()

        self.work = Work(self.own, self.lease.attempt, device, display, ends, threads, None)

    def end(self, error: BaseException | None) -> None:
        """Record how the run has ended, unless it has, and give its lease back."""
        if self._open is None:
            return
        still_open, self._open = self._open, None
        with suppress(TakenOverError), still_open:
            if error is not None:
                raise error


def execute_stack(
    directories: Sequence[RunDirectory],
    device: str = "auto",
    display: Display | None = None,
    threads: int | None = None,
    wrap: str | None = None,
) -> None:
    """Train and evaluate runs of one stack in this process, as far as they are not done.

    Returns when all are done. Raises InterruptedRunError for one that can go on, else
    RunFailedError, after the records say so, and QexpError for one that cannot be executed.
    """
    if machine.STARTED_TOGETHER > 1:
        raise QexpError("runs of a stack are trained in one process; start them without torchrun")
    todo = [directory for directory in directories if directory.record().state is not State.DONE]
    for directory in todo:
        directory.require_trust()
        require_executable(directory.record())
    canvas.draws_at_once()
    members = list[_RunOfStack]()
    errors = list[QexpError]()
    display = display or Display()
    with _watched_signals() as interrupted, _logging_of_runs():
        try:
            for directory in todo:
                try:
                    members.append(
                        _RunOfStack(directory, device, display, threads, wrap, interrupted)
                    )
                except QexpError as error:  # such as that another process works on it
                    errors.append(error)
            if members:
                _train_side_by_side(members)
        except BaseException as error:
            if not members:
                raise
            for member in members:
                member.end(error)
    for member in members:
        directory = member.own.directory
        outcome = member.outcome
        if outcome.error is not None:
            why = _last_line(outcome.error)
            errors.append(_not_done(directory, outcome.state, why, member.lease.attempt))
    if errors:
        raise next((error for error in errors if isinstance(error, InterruptedRunError)), errors[0])


def _train_side_by_side(members: Sequence[_RunOfStack]) -> None:
    """Train and evaluate runs of one stack; each has ended then."""
    attempts: dict[int, Attempt] = {}
    by_run = {member.own.directory: member for member in members}
    evaluated: dict[RunDirectory, Results] = {}

    def ended(attempt: Attempt, how: Results | BaseException | None) -> None:
        if isinstance(how, Results):
            evaluated[attempt.directory] = how
        else:
            by_run[attempt.directory].end(KeyboardInterrupt() if how is None else how)

    stack = members[0].own.record.stack
    assert stack is not None
    with _on_device(members[0].work) as (device, cores, environment):
        for member in members:
            own = member.own
            assert own.record.stack is not None
            try:
                with _at_work(own.directory):
                    attempt = _attempt(member.work, device, cores, environment)
                    attempts[own.record.stack.place] = attempt
            except Exception as error:
                member.end(error)
        if attempts:
            _stage(members[0].work).side_by_side(attempts, stack, ended)
        drawn = drawn_by_others(list(evaluated), min(cores, members[0].work.threads or cores))
        for directory, results in evaluated.items():
            failure = None
            with _at_work(directory):
                try:
                    keep(results, by_run[directory].own, drawn=directory in drawn)
                except Exception as error:
                    failure = error
                by_run[directory].end(failure)


RUNS_TO_DRAW = 4
"""As many as a process draws the figures of in the time in which it starts."""


def drawn_by_others(directories: Sequence[RunDirectory], processes: int) -> set[RunDirectory]:
    """The evaluated runs whose figures processes drew: all, where that beats one by one."""
    count = min(processes, len(directories) // RUNS_TO_DRAW) if canvas.draws_at_once() else 0
    if count < 2:
        return set()
    root = str(directories[0].path.absolute().parent.parent)
    command = [sys.executable, "-m", "qexp", "figures", "--workspace", root]
    parts = [directories[first::count] for first in range(count)]
    children = list[subprocess.Popen[bytes]]()
    with Path(os.devnull).open("wb") as nowhere:
        for part in parts:
            paths = [str(directory.path.absolute()) for directory in part]
            children.append(start_child([*command, *paths], nowhere, apart=False))
    drawn = set[RunDirectory]()
    for part, child in zip(parts, children, strict=True):
        if child.wait() == 0:
            drawn.update(part)
    return drawn


# Executing a run inside a wrap: another program starts the process of the run. It may replace
# itself by it, wait for it, or start it in a container. Signals are sent to the run's own process,
# as soon as the record names it, and the end of the run counts, not that of the wrap.


PAUSE = 0.1
"""Seconds between two looks at the wrap and at signals."""


def execute_wrapped(
    directory: RunDirectory,
    wrap: Wrap,
    device: str = "auto",
    threads: int | None = None,
    *,
    apart: bool = False,
) -> None:
    """Train and evaluate a prepared or interrupted run in a process that the wrap starts, and wait
    for its end.

    apart  whether the wrap gets a process group of its own, so that Ctrl-C on a terminal reaches it
           through this process only, which passes it on to the run alone
    Raises RunFailedError or InterruptedRunError after the record says so; before anything starts,
    UntrustedCodeError.
    """
    if directory.record().state is State.DONE:
        return
    directory.require_trust()
    earlier = max(attempts(directory), default=0)
    options = [] if threads is None else ["--threads", str(threads)]
    path = str(directory.path.absolute())
    wrap_words = shlex.join(wrap.words(directory))
    words = wrap.wrapped(directory, "execute", path, "--device", device, *options)
    received: list[int] = []
    watched = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    numbers = [number for number in watched if signal.getsignal(number) != signal.SIG_IGN]
    with handled(numbers, lambda number, frame: received.append(number)):
        try:
            process = start_child([*words, "--inside", wrap_words], apart=apart)
        except OSError as error:
            why = f"the wrap cannot be started: {error.strerror}: {words[0]}"
            raise _never_began(directory, why, False) from None
        wrapped = _Wrapped(directory, earlier, process)
        passed = 0
        while not wrapped.ended():
            for number in received[passed:]:
                # The first as SIGTERM, as Ctrl-C a second time ends a run without a checkpoint.
                again = passed and number == signal.SIGINT
                wrapped.send(signal.SIGINT if again else signal.SIGTERM)
                passed += 1
        stopped = ended_with_all(wrapped.code or 0, lambda: bool(received))
    _report(wrapped, wrap_words, stopped)


@dataclass
class _Wrapped:
    """A wrap at work, and the attempt inside it."""

    directory: RunDirectory
    earlier: int
    """The number of the last attempt before it."""
    process: subprocess.Popen[bytes]
    code: int | None = None

    def attempt(self) -> AttemptRecord | None:
        """The attempt inside the wrap, once it has begun."""
        attempts = self.directory.record().attempts
        return attempts[-1] if attempts and attempts[-1].number > self.earlier else None

    def ended(self) -> bool:
        """Wait a moment; whether the wrap and the run inside it have ended."""
        if self.code is None:
            with suppress(subprocess.TimeoutExpired):
                self.code = self.process.wait(timeout=PAUSE)
            return False
        attempt = self.attempt()
        if attempt is None or attempt.state is not State.RUNNING:
            return True
        # The wrap was killed, or did not wait for the process that it started.
        if state_now(self.directory, State.RUNNING, attempt) is not State.RUNNING:
            return True
        time.sleep(PAUSE)
        return False

    def send(self, number: signal.Signals) -> None:
        """Signal the run's process, or, before it has begun, all processes of the wrap."""
        attempt = self.attempt()
        if attempt is not None and attempt.ended is None:
            try:
                signal_attempt(self.directory, attempt, number)
            except QexpError:  # not visible from here; container engines pass signals on
                self.process.send_signal(number)
        elif attempt is None and self.code is None:
            group = os.getpgid(self.process.pid)
            if group not in (os.getpgrp(), self.process.pid):
                self.process.send_signal(number)
                return
            handler = signal.signal(number, signal.SIG_IGN)
            try:
                os.killpg(group, number)
            finally:
                signal.signal(number, handler)


def _report(wrapped: _Wrapped, wrap_words: str, stopped: bool) -> None:
    """Raise an error unless the run inside the wrap is done."""
    directory = wrapped.directory
    attempt = wrapped.attempt()
    ended_with = _words(wrapped.code)
    if attempt is None:
        why = f"the wrap ended with {ended_with} before the run began: {wrap_words}"
        raise _never_began(directory, why, stopped)
    state = attempt.state if attempt.state is not State.RUNNING else State.LOST
    if state is not State.DONE:
        gone = f"its process is gone, and the wrap ended with {ended_with}"
        why = directory.record().error or gone
        raise _not_done(directory, state, why, directory.attempt(attempt.number))
    if wrapped.code:
        words = directory.name, ended_with, wrap_words
        log.warning("%s is done, but its wrap ended with %s: %s", *words)


def _never_began(
    directory: RunDirectory, why: str, stopped: bool
) -> RunFailedError | InterruptedRunError:
    """The error for a wrap that did not start the run, recorded if no other attempt was made."""
    record = directory.record()
    state = State.INTERRUPTED if stopped else State.FAILED
    if record.state in (State.CREATED, State.QUEUED):
        directory.write(replace(record, state=state, ended=now(), error=None if stopped else why))
    if stopped:
        return InterruptedRunError(
            f"{directory.name} was interrupted before it began; continue with `resume=True`"
        )
    return RunFailedError(f"{directory.name} failed: {why}")


def _words(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    return f"signal {machine.signal_name(-code).removeprefix('signal ')}"
