"""Stopping a run: the signal goes to its process and to no other, and the record says when it has worked."""

from __future__ import annotations

import errno
import os
import signal
import socket
from typing import Any

from qexp.errors import QexpError
from qexp.runs.directory import UNFINISHED, RunDirectory
from qexp.runs.jobs import Job, jobs_of
from qexp.runs.process import alive, pid_namespace
from qexp.runs.states import process_of
from qexp.runs.waiting import Watch, endings


def stop(directory: RunDirectory, now: bool = False) -> str:
    """Stop a run if it is at work, wait until it has ended, and return its state.

    now  kill it instead of letting it write a checkpoint; it is lost then, and resumes from its last one
    Raises QexpError for a run on another machine or of another user.
    """
    ask_to_stop(directory, now)
    return wait_for_end(directory)


def ask_to_stop(directory: RunDirectory, now: bool = False) -> bool:
    """Send the signal, or tell Slurm; False if there is nothing at work that could be stopped."""
    state = Watch().state(directory)
    if state not in UNFINISHED:
        return False
    record = directory.record()
    job, process = jobs_of({directory: record}).get(directory), process_of(record)
    if job is not None and job.launcher == "slurm":
        _cancel(directory, job, state, now)
        return True
    if job is not None and state == "queued":
        raise QexpError(
            f"{directory.name} waits for its turn in launch {job.id}; stop it when it runs, or end the launch"
        )
    return process is not None and _signal(directory, process, signal.SIGKILL if now else signal.SIGTERM)


def wait_for_end(directory: RunDirectory) -> str:
    return next(state for _, state in endings([directory]))


def _cancel(directory: RunDirectory, job: Job, state: str, now: bool) -> None:
    if now:
        raise QexpError(f"{directory.name} is job {job.id} of Slurm, which kills what does not end soon; drop --now")
    from qexp.runs.launch import slurm

    slurm.cancel([job.id])
    if state == "queued" and job.launch is not None:
        # Slurm forgets at once that a task was in an array if it is cancelled before it has started.
        slurm.remember(job.launch, {job.id: "interrupted"})


def _signal(directory: RunDirectory, process: dict[str, Any], number: signal.Signals) -> bool:
    """Whether the process was there to get the signal."""
    pid = int(process["pid"])
    _require_here(directory, process)
    try:
        handle = _handle(pid)
    except ProcessLookupError:
        return False
    try:
        # From here on the handle means one process, whoever gets its number next. So it is asked who it is now.
        if not alive(process, directory.attempt(process["attempt"]) / "heartbeat"):
            return False
        if handle is None:
            os.kill(pid, number)
        else:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        raise QexpError(f"{directory.name} is process {pid} of another user, who alone can stop it") from None
    finally:
        if handle is not None:
            os.close(handle)
    return True


def _require_here(directory: RunDirectory, process: dict[str, Any]) -> None:
    host, pid = process["host"], process["pid"]
    if host != socket.gethostname():
        raise QexpError(f"{directory.name} runs on {host}, as process {pid}; stop it there: qexp stop {directory.name}")
    if process["pid_namespace"] != pid_namespace():
        raise QexpError(f"{directory.name} runs in another container on {host}, as process {pid} there; stop it there")


def _handle(pid: int) -> int | None:
    """A handle of a process; None where the system has no such thing."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):  # old kernels, and containers that forbid it
            return None
        raise
