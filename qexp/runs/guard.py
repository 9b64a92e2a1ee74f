"""The parent of a program that a run starts: a process that outlives a killed qexp, and ends what
the program started.

Run as a file, without the rest of qexp: `python -I -S guard.py CONTROL STATUS WORD...`. It starts
the words as a program in a session of its own, and writes to the file descriptor STATUS, a line
each, `started PID` or `failed ERRNO`, then `ended STATUS` as `os.waitpid` gives it. From CONTROL it
reads single bytes: `T` asks the program to end (SIGTERM), `K` kills it. When the other end of
CONTROL is closed, because qexp was killed, it kills the program, too.

It is over only when every process that the program started is: also those in the background, in
groups and sessions of their own. On Linux they become children of this process when their parents
end (see prctl(2), PR_SET_CHILD_SUBREAPER). Elsewhere only the program's group is killed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import sys
import time
from contextlib import suppress

ASK, KILL = b"T", b"K"

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

OWN = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that a scheduler may send to all processes of a job; qexp decides when the program
ends.
"""


def main(control: int, status: int, words: list[str]) -> None:
    for number in OWN:
        signal.signal(number, signal.SIG_IGN)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    wake = _woken_by_ended_children()
    for descriptor in (control, status):
        os.set_inheritable(descriptor, False)
    program = _start(words, status)
    if program is None:
        return
    ended = _serve(program, control, wake)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(program, signal.SIGKILL)  # its number stays taken while the group has members
    if ended is None:
        _, ended = os.waitpid(program, 0)
    _end_others()
    os.write(status, f"ended {ended}\n".encode())


def _prctl(option: int, value: int) -> None:
    """Set a property of this process, where the system has it."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _woken_by_ended_children() -> int:
    """A file descriptor that becomes readable when a child ends."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    return reader


def _start(words: list[str], status: int) -> int | None:
    """Start the program; its number, or None after the report that it cannot be started."""
    guard = os.getpid()
    reader, writer = os.pipe()
    program = os.fork()
    if program == 0:
        try:
            os.setsid()
            for number in (*OWN, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != guard:
                os._exit(1)
            os.execvp(words[0], words)
        except OSError as error:
            os.write(writer, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(writer)
    trouble = os.read(reader, 16)
    os.close(reader)
    os.write(
        status,
        f"failed {trouble.decode()}\n".encode() if trouble else f"started {program}\n".encode(),
    )
    return None if trouble else program


def _serve(program: int, control: int, wake: int) -> int | None:
    """Wait for the program and pass requests on. Returns its status, or None if it is to die."""
    while True:
        # Not `waitid`, which could leave the program unreaped: on macOS Python has it from 3.13 on.
        reaped, ended = os.waitpid(program, os.WNOHANG)
        if reaped:
            return ended
        ready, _, _ = select.select([control, wake], [], [])
        if wake in ready:
            with suppress(BlockingIOError):
                os.read(wake, 4096)
        if control in ready:
            request = os.read(control, 1)
            if request != ASK:
                return None
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(program, signal.SIGTERM)


def _end_others() -> None:
    """Kill and reap all that is left of the program; orphans become children of this process."""
    # the system may hold up killed processes, on a file server for example
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        for child in _children():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


def _children() -> list[int]:
    """The children of this process, on systems with /proc."""
    children = []
    try:
        numbers = [name for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 - without importing pathlib
    except OSError:
        return []
    for name in numbers:
        with (
            suppress(OSError, IndexError, ValueError),
            open(f"/proc/{name}/stat", "rb") as file,  # noqa: PTH123 - as above
        ):
            # The program's name, in parentheses, may contain spaces and parentheses.
            if int(file.read().rpartition(b")")[2].split()[1]) == os.getpid():
                children.append(int(name))
    return children


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
    except OSError as error:
        if error.errno != errno.EPIPE:  # qexp was killed and reads no more
            raise
