"""Stopping runs: a signal is sent to exactly the run's process, or its scheduler cancels the job."""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from collections.abc import Collection
from pathlib import Path

from qexp.errors import QexpError
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.process import Process, alive, number_in_view, pid_namespace
from qexp.runs.record.record import AttemptRecord
from qexp.runs.record.state import State
from qexp.runs.state.jobs import Job, jobs_of, of_schedulers, require_here, store_states
from qexp.runs.state.launches import Launch
from qexp.runs.state.waiting import Watch, endings

PAUSE = 0.1
"""Seconds between two checks whether a pool has ended."""


def stop(directory: RunDirectory, now: bool = False) -> State:
    """Stop a run if it is at work, wait until it has ended, and return its state.

    now  kill it without a new checkpoint; its state is then lost, and it resumes from its last checkpoint
    Raises QexpError for a run on another machine or of another user.
    """
    ask_to_stop(directory, now)
    return wait_for_end(directory)


PROBE = 0
"""The signal that only tells whether a process could be sent one."""


def ask_to_stop(directory: RunDirectory, now: bool = False) -> bool:
    """Send the signal, or cancel the job; returns False if the run is not at work.

    Raises NotFoundError, or DamagedError for a record that cannot be read.
    """
    record = directory.record()
    state = Watch().state(directory)
    if not state.unfinished:
        return False
    job, attempt = jobs_of({directory: record}).get(directory), record.open_attempt
    if job is not None and job.submitted:
        if now:
            raise QexpError(
                f"{directory.name} is job {job.id} of {job.launcher}, which cannot be killed from here; drop --now"
            )
        require_here(directory.name, job)
        _cancel([job])
        return True
    if job is not None and job.launch is not None and state is State.QUEUED:
        if Launch(job.launch).take(directory.name, "withdrawn"):
            return True
        _wait_for_start(directory)  # the pool is just starting it
        attempt = directory.record().open_attempt
    return attempt is not None and signal_attempt(directory, attempt, signal.SIGKILL if now else signal.SIGTERM)


def require_stoppable(directory: RunDirectory) -> None:
    """Raise QexpError for a run at work that cannot be stopped from here; nothing is stopped."""
    record = directory.record()
    job, attempt = jobs_of({directory: record}).get(directory), record.open_attempt
    if job is not None and job.submitted:
        require_here(directory.name, job)
    elif attempt is not None:
        signal_attempt(directory, attempt, PROBE)


def stop_launch(launch: Launch, runs: Path) -> dict[str, State]:
    """Withdraw the waiting runs of a launch, stop the running ones, and wait for their end. Returns run → state.

    runs  the folder of the workspace's runs
    """
    directories = [RunDirectory(runs / name) for name in launch.record()["runs"]]
    if (pool := launch.pool()) is not None:
        _signal(f"launch {launch.id}", pool, launch.heartbeat, signal.SIGTERM)
        while launch.pool_works():  # the pool ends after its runs
            time.sleep(PAUSE)
    at_work = [directory for directory, state in Watch().states(directories).items() if state.at_work]
    jobs = jobs_of({directory: directory.record() for directory in at_work})
    handed_over = {directory: job for directory, job in jobs.items() if job.submitted}
    for directory, job in handed_over.items():
        require_here(directory.name, job)
    _cancel(handed_over.values())
    for directory in at_work:
        if directory not in handed_over:  # its pool was killed and could not pass the signal on
            ask_to_stop(directory)
    for _ in endings(at_work):
        pass
    return {directory.name: state for directory, state in Watch().states(directories).items()}


def wait_for_end(directory: RunDirectory) -> State:
    return next(state for _, state in endings([directory]))


def _wait_for_start(directory: RunDirectory) -> None:
    watch = Watch()
    while watch.state(directory) is State.QUEUED:
        time.sleep(PAUSE)


def _cancel(jobs: Collection[Job]) -> None:
    """Cancel the jobs with one call per scheduler; store the states of those that had not started.

    A scheduler may forget such jobs at once.
    """
    for _, scheduler, own in of_schedulers(jobs):
        store_states(own, scheduler.cancel([job.id for job in own]))


def signal_attempt(directory: RunDirectory, attempt: AttemptRecord, number: int) -> bool:
    """Send a signal to the process of an attempt; returns False if it has ended. Raises QexpError if it is not here."""
    return _signal(directory.name, attempt.process, directory.attempt(attempt.number) / "heartbeat", number)


def _signal(name: str, process: Process, heartbeat: Path, number: int) -> bool:
    """Send a signal to the process of a run or launch; returns False if it has ended."""
    pid = number_in_view(process)
    if pid is None:
        if not alive(process, heartbeat):
            return False
        raise _not_here(name, process)
    try:
        handle = _handle(pid)
    except ProcessLookupError:
        return False
    try:
        # The handle stays with one process even if its number is reused; so its identity is checked only now.
        if not alive(process, heartbeat) or number_in_view(process) != pid:
            return False
        if handle is None:
            os.kill(pid, number)
        else:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        raise QexpError(f"{name} is process {pid} of another user, who alone can stop it") from None
    finally:
        if handle is not None:
            os.close(handle)
    return True


def _not_here(name: str, process: Process) -> QexpError:
    """The message for a process that cannot be signalled from here."""
    host, pid = process.host, process.pid
    if host != socket.gethostname():
        return QexpError(f"{name} runs on {host}, as process {pid}; stop it there")
    if process.pid_namespace != pid_namespace():
        return QexpError(f"{name} runs in another container on {host}, as process {pid} there; stop it there")
    return QexpError(
        f"{name} runs on another machine that is also called {host}, as process {pid}, or this machine was "
        "restarted a few minutes ago and the run is dead; stop it there, or try again later"
    )


def _handle(pid: int) -> int | None:
    """A handle of a process; None if the system does not support it."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):  # old kernels and containers that do not allow it
            return None
        raise
