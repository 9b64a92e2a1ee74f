"""Executing a run inside a wrap: another program starts the process of the run.

The wrap may replace itself by that process, wait for it, or start it in a container. Signals are therefore sent to the
run's own process, as soon as the record names it, and the end of the run counts, not that of the wrap.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import FrameType

from qexp.errors import InterruptedRunError, QexpError, RunFailedError
from qexp.runs.record import lease
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.names import now
from qexp.runs.record.record import AttemptRecord
from qexp.runs.record.state import State
from qexp.runs.record.trust import require_trust
from qexp.runs.signals import handled
from qexp.runs.state.states import state_now
from qexp.runs.state.stopping import signal_attempt
from qexp.runs.wrap import Wrap

log = logging.getLogger("qexp.run")

PAUSE = 0.1
"""Seconds between two looks at the wrap and at signals."""


def execute_wrapped(
    directory: RunDirectory, wrap: Wrap, device: str = "auto", threads: int | None = None, *, apart: bool = False
) -> None:
    """Train and evaluate a prepared or interrupted run in a process that the wrap starts, and wait for its end.

    apart  whether the wrap gets a process group of its own, so that Ctrl-C on a terminal reaches it through this
           process only, which passes it on to the run alone
    Raises RunFailedError or InterruptedRunError after the record says so; before anything starts, UntrustedCodeError.
    """
    if directory.record().state is State.DONE:
        return
    require_trust(directory)
    before = max(lease.attempts(directory), default=0)
    options = [] if threads is None else ["--threads", str(threads)]
    words = wrap.around(directory, "execute", str(directory.path.absolute()), "--device", device, *options)
    around = shlex.join(wrap.words(directory))
    signals = _Signals()
    numbers = [one for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) != signal.SIG_IGN]
    with handled(numbers, signals.note):
        try:
            process = subprocess.Popen([*words, "--inside", around], stdin=subprocess.DEVNULL, start_new_session=apart)
        except OSError as error:
            raise _never_began(directory, f"the wrap cannot be started: {error.strerror}: {words[0]}", False) from None
        wrapped = _Wrapped(directory, before, process)
        while not wrapped.ended():
            signals.pass_on(wrapped)
    _report(wrapped, around, bool(signals.received))


@dataclass
class _Wrapped:
    """A wrap at work, and the attempt inside it."""

    directory: RunDirectory
    before: int
    """The number of the last attempt before it."""
    process: subprocess.Popen[bytes]
    code: int | None = None

    def attempt(self) -> AttemptRecord | None:
        """The attempt inside the wrap, once it has begun."""
        attempts = self.directory.record().attempts
        return attempts[-1] if attempts and attempts[-1].number > self.before else None

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
        """Send a signal to the run's process, or, before that has begun, to all processes of the wrap."""
        attempt = self.attempt()
        if attempt is not None and attempt.ended is None:
            try:
                signal_attempt(self.directory, attempt, number)
            except QexpError:  # not visible from here; container engines pass signals on
                self.process.send_signal(number)
        elif attempt is None and self.code is None:
            self._signal_group(number)

    def _signal_group(self, number: signal.Signals) -> None:
        group = os.getpgid(self.process.pid)
        if group not in (os.getpgrp(), self.process.pid):
            return self.process.send_signal(number)
        before = signal.signal(number, signal.SIG_IGN)
        try:
            os.killpg(group, number)
        finally:
            signal.signal(number, before)
        return None


@dataclass
class _Signals:
    """The signals that this process has received, and how many of them were passed on."""

    received: list[int] = field(default_factory=list)
    passed: int = 0

    def note(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)

    def pass_on(self, wrapped: _Wrapped) -> None:
        """Pass on what was received: the first as SIGTERM, as Ctrl-C a second time ends a run without a checkpoint."""
        while self.passed < len(self.received):
            again = self.passed and self.received[self.passed] == signal.SIGINT
            self.passed += 1
            wrapped.send(signal.SIGINT if again else signal.SIGTERM)


def _report(wrapped: _Wrapped, around: str, stopped: bool) -> None:
    """Raise an error unless the run inside the wrap is done."""
    directory, attempt = wrapped.directory, wrapped.attempt()
    if attempt is None:
        raise _never_began(
            directory, f"the wrap ended with {_words(wrapped.code)} before the run began: {around}", stopped
        )
    state = attempt.state if attempt.state is not State.RUNNING else State.LOST
    if state is State.INTERRUPTED:
        raise InterruptedRunError(f"{directory.name} was interrupted; continue with --resume")
    if state is not State.DONE:
        why = directory.record().error or f"its process is gone, and the wrap ended with {_words(wrapped.code)}"
        raise RunFailedError(
            f"{directory.name} {state.words}: {why}\nsee {directory.attempt(attempt.number) / 'log.txt'}"
        )
    if wrapped.code:
        log.warning("%s is done, but its wrap ended with %s: %s", directory.name, _words(wrapped.code), around)


def _never_began(directory: RunDirectory, why: str, stopped: bool) -> RunFailedError | InterruptedRunError:
    """The error for a wrap that did not start the run; a run that was never at work before gets it into its record."""
    record = directory.record()
    state = State.INTERRUPTED if stopped else State.FAILED
    if record.state in (State.CREATED, State.QUEUED):
        directory.write(replace(record, state=state, ended=now(), error=None if stopped else why))
    if stopped:
        return InterruptedRunError(f"{directory.name} was interrupted before it began; continue with --resume")
    return RunFailedError(f"{directory.name} failed: {why}")


def _words(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    return f"signal {signal.Signals(-code).name}"
