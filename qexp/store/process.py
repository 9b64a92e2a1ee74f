"""Heartbeats: a process at work writes to a file, so that other machines can see that it is
alive.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal

from qexp.base import files
from qexp.base.machine import in_background
from qexp.store.documents import MisfitError, Part

HEARTBEAT_SECONDS = 15.0
"""Seconds between two heartbeats of a process at work."""

SILENT_SECONDS = 20 * HEARTBEAT_SECONDS
"""Seconds without a heartbeat after which a process on another machine is considered dead."""


def fresh(heartbeat: Path, seconds: float = SILENT_SECONDS) -> bool:
    """Whether a heartbeat is at most so many seconds old by the clock of its file system.

    A heartbeat further than that in the future does not count; a smaller lead is accepted, because
    some file systems take the time from the machine that writes.
    """
    try:
        return abs(files.age(heartbeat)) < seconds
    except OSError:
        return False


def beat(heartbeat: Path) -> None:
    """Set a heartbeat's time to now by the clock of its file system; create it if needed. Raises
    OSError.

    The file is written to, because on some file systems `touch` sets the time of this machine.
    """
    handle = os.open(heartbeat, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(handle, b"\n", 0)
    except OSError:  # a full disk can refuse even to write the same bytes again
        os.utime(handle)
    finally:
        os.close(handle)


def beating(
    heartbeat: Path, goes_on: Callable[[], bool] = lambda: True
) -> AbstractContextManager[None]:
    """Beat in a thread until the block ends or `goes_on` returns false."""

    def keep_on(ended: threading.Event) -> None:
        while goes_on():
            # a full disk or a deleted directory is reported by the code that writes there
            with suppress(OSError):
                beat(heartbeat)
            if ended.wait(HEARTBEAT_SECONDS):
                return

    return in_background("heartbeat", keep_on)


# The process that works on a run, described so that another process can check later whether it is
# alive.


UNKNOWN = "unknown"
"""The boot id of a machine that does not tell it."""

LOCK = "process.lock"
"""File beside a heartbeat that the process holds locked."""


@dataclass(frozen=True, kw_only=True)
class Process(Part):
    """A process, described so that no other is taken for it."""

    host: str
    """Name of the machine."""
    boot_id: str = ""
    """The machine's boot, because process numbers start again with each."""
    pid_namespace: str = ""
    """PID namespace: containers on one machine number their processes separately."""
    pid: int
    """Number of the process."""
    start: str = ""
    """When the process started; distinguishes it from a later process with the same id."""
    locks: bool | None = None
    """Whether it holds a lock on `LOCK` beside its heartbeat, which the system releases when it
    ends.
    """

    LEFT_OUT: ClassVar[tuple[str, ...]] = ("locks",)

    def __post_init__(self) -> None:
        if not 0 < self.pid < 2**31:  # a signal to a smaller number goes to a group of processes
            raise MisfitError(f"is {self.pid}, which cannot be the number of a process", "pid")


def this_process() -> Process:
    pid = os.getpid()
    return Process(
        host=socket.gethostname(),
        boot_id=boot_id(),
        pid_namespace=pid_namespace(),
        pid=pid,
        # Not by its number: a container may show the /proc of another PID namespace.
        start=process_start("self") or "",
    )


@contextmanager
def holding_lock(folder: Path) -> Iterator[bool]:
    """Hold a lock in a folder until the block ends, or the process does; False if the file system
    has no locks.

    The lock belongs to the process (POSIX), so that no child inherits it.
    """
    with (folder / LOCK).open("wb") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = True
        except OSError:
            locked = False
        yield locked


def _lock_is_held(folder: Path) -> bool:
    try:
        with (folder / LOCK).open("rb") as file:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX allows both
        return True
    except OSError:
        return False
    return False


def alive(process: Process, heartbeat: Path) -> bool:
    """Whether the process that a record names is still at work.

    A process of this machine is looked up directly. A process elsewhere (even on a machine with
    this one's name) or one that the system hides from this user counts as alive while its heartbeat
    is fresh. Of one in another container on this machine the lock tells: all containers share the
    kernel.
    """
    if not in_view(process):
        if process.locks and _in_another_container(process):
            return _lock_is_held(heartbeat.parent)
        return fresh(heartbeat)
    start = process_start(process.pid)
    if start is None and _hidden(process.pid):
        return fresh(heartbeat)
    return start is not None and start == process.start


def in_view(process: Process) -> bool:
    """Whether a process ran on this machine since its last boot, and in this container."""
    here = (socket.gethostname(), boot_id(), pid_namespace())
    return (process.host, process.boot_id, process.pid_namespace) == here


def _in_another_container(process: Process) -> bool:
    """Whether a process ran in another container here; a copied machine has the same namespace."""
    return process.boot_id == boot_id() != UNKNOWN and process.pid_namespace != pid_namespace()


def number_in_view(process: Process) -> int | None:
    """The number by which a process can be signalled from here; None if it has ended or cannot be
    seen.

    A process in a container that was started from here has one number inside and another one
    outside.
    """
    if in_view(process):
        return process.pid
    if not _in_another_container(process):
        return None
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = status.read_text().splitlines()
            numbers = next(line for line in lines if line.startswith("NSpid:")).split()[1:]
        except (OSError, StopIteration):
            continue
        pid_here = int(numbers[0])
        is_same = len(numbers) > 1 and numbers[-1] == str(process.pid)
        if is_same and process_start(pid_here) == process.start:
            return pid_here
    return None


def _hidden(pid: int) -> bool:
    """Whether another user has such a process: /proc may hide it (hidepid), a signal finds it."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return False


@cache
def boot_id() -> str:
    """An identifier that changes with every boot of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        # { sec = 1764000000, usec = 123456 } Tue Nov 25 …: the rest depends on the time zone and
        # the language.
        seconds = re.search(r"\bsec\s*=\s*(\d+)", _answer("sysctl", "-n", "kern.boottime") or "")
        return seconds[1] if seconds else UNKNOWN


@cache
def pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def process_start(pid: int | Literal["self"]) -> str | None:
    """The system's starting time of a process here; None if it has ended or is a zombie."""
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        fields = stat.rpartition(")")[
            2
        ].split()  # the name before it may contain spaces and parentheses
        return None if fields[0] in "ZX" else fields[19]
    return _answer(
        "ps",
        "-o",
        "lstart=",
        "-p",
        str(os.getpid() if pid == "self" else pid),
    )


def _answer(*command: str) -> str | None:
    """What a command prints, the same in every time zone and language."""
    alike = {**os.environ, "LC_ALL": "C", "TZ": "UTC0"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=5, check=False, env=alike
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
