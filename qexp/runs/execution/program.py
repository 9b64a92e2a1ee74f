"""A program that a run starts, with all processes that it starts itself; see `guard` for how none is left behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from qexp.errors import QexpError
from qexp.runs.execution import guard


class Program:
    """A running program; made by `started`."""

    def __init__(self, control: int, status: int) -> None:
        self._control, self._status = control, status
        self._heard = b""
        self.number = self._started()

    def ended(self, seconds: float) -> int | None:
        """Its exit code, or minus the number of the signal that killed it; None if it still runs after `seconds`.

        It has ended when all processes that it started have. Raises QexpError if its guard was killed.
        """
        line = self._line(seconds)
        return None if line is None else os.waitstatus_to_exitcode(int(line.partition(" ")[2]))

    def ask_to_end(self) -> None:
        self._request(guard.ASK)

    def kill(self) -> None:
        self._request(guard.KILL)

    def _request(self, what: bytes) -> None:
        with suppress(BrokenPipeError):  # it has just ended
            os.write(self._control, what)

    def _started(self) -> int:
        what, _, number = (self._line(None) or "").partition(" ")
        if what == "failed":
            raise OSError(int(number), os.strerror(int(number)))
        return int(number)

    def _line(self, seconds: float | None) -> str | None:
        """The next line from the guard; None if there is none within `seconds`."""
        while b"\n" not in self._heard:
            if not select.select([self._status], [], [], seconds)[0]:
                return None
            more = os.read(self._status, 4096)
            if not more:
                self._without_guard()
            self._heard += more
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode()

    def _without_guard(self) -> None:
        if hasattr(self, "number"):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.number, signal.SIGKILL)
        raise QexpError("the process that supervises the program was killed, and the program with it")


@contextmanager
def started(words: Sequence[str], folder: Path, environment: Mapping[str, str], output: Path) -> Iterator[Program]:
    """A program, without a shell, which is killed at the end of the block. Its output is appended to a file.

    Raises OSError if it cannot be started.
    """
    to_read, control = os.pipe()
    status, to_write = os.pipe()
    command = [sys.executable, "-I", "-S", guard.__file__, str(to_read), str(to_write), *words]
    with output.open("ab") as log:
        try:
            watching = subprocess.Popen(
                command, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=(to_read, to_write), start_new_session=True,
            )  # fmt: skip
        except BaseException:
            os.close(control)
            os.close(status)
            raise
        finally:
            os.close(to_read)
            os.close(to_write)
    try:
        yield Program(control, status)
    finally:
        os.close(control)  # on which the guard kills what still runs
        watching.wait()
        os.close(status)
