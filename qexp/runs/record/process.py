"""Which process works on a run, told so that another can see later whether it still lives."""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from qexp.runs.record.heartbeat import fresh
from qexp.runs.record.parts import MisfitError, Part

LARGEST_PID = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Process(Part):
    host: str
    boot_id: str = ""
    pid_namespace: str = ""
    """Containers on one machine count their processes separately."""
    pid: int
    start: str = ""
    """When the process started: a number is soon given to another one."""

    def __post_init__(self) -> None:
        if not 0 < self.pid <= LARGEST_PID:  # a signal to a number below means other processes
            raise MisfitError(f"is {self.pid}, which is the number of no process", "pid")


def this_process() -> Process:
    pid = os.getpid()
    return Process(
        host=socket.gethostname(),
        boot_id=boot_id(),
        pid_namespace=pid_namespace(),
        pid=pid,
        start=process_start(pid) or "",
    )


def alive(process: Process, heartbeat: Path) -> bool:
    """Whether the process that a record names is still at work.

    A process of this machine is asked for directly. One elsewhere, also on a machine that only has this one's name, and
    one that the system hides from this user, is believed as long as its heartbeat is fresh.
    """
    if not in_view(process):
        return fresh(heartbeat)
    start = process_start(process.pid)
    if start is None and _hidden(process.pid):
        return fresh(heartbeat)
    return start is not None and start == process.start


def in_view(process: Process) -> bool:
    """Whether a process is, or was, one of this machine since it was started, and of this container."""
    here = (socket.gethostname(), boot_id(), pid_namespace())
    return (process.host, process.boot_id, process.pid_namespace) == here


def _hidden(pid: int) -> bool:
    """Whether there is a process of another user, which /proc may keep to itself (hidepid) but a signal finds."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return False


@cache
def boot_id() -> str:
    """Another one after every start of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return _answer("sysctl", "-n", "kern.boottime") or "unknown"


@cache
def pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def process_start(pid: int) -> str | None:
    """When a process of this machine started, in the system's own words; None if it is gone or a zombie."""
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces and parentheses
        return None if fields[0] in "ZX" else fields[19]
    return _answer("ps", "-o", "lstart=", "-p", str(pid))


def _answer(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
