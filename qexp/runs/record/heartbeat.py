"""Heartbeats: a process at work writes to a file, so that others see that it lives where they cannot ask for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from qexp import clocks

HEARTBEAT_SECONDS = 15.0
"""A process at work writes to its heartbeat this often."""

SILENT_SECONDS = 20 * HEARTBEAT_SECONDS
"""After so long a silence a process that cannot be asked for is believed dead."""


def fresh(heartbeat: Path, within: float = SILENT_SECONDS) -> bool:
    """Whether a heartbeat is of the last seconds, by the clock of its file system.

    One from the future proves nothing. The same tolerance holds for it, for file systems that take the time from the
    machine that writes.
    """
    try:
        return abs(clocks.age(heartbeat)) < within
    except OSError:
        return False


def beat(heartbeat: Path) -> None:
    """Give a heartbeat, which is made if it is not there, the time by its file system. Raises OSError.

    Written to: the time of a mere touch comes from this machine on some file systems.
    """
    handle = os.open(heartbeat, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(handle, b"\n", 0)
    except OSError:  # a full disk can refuse even to write what is there once more
        os.utime(handle)
    finally:
        os.close(handle)


@contextmanager
def beating(heartbeat: Path, goes_on: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Beat for as long as this lasts, also during a long step, or until `goes_on` says no."""
    ended = threading.Event()

    def keep_on() -> None:
        while goes_on():
            with suppress(OSError):  # a full disk or a vanished directory is reported by whoever writes there
                beat(heartbeat)
            if ended.wait(HEARTBEAT_SECONDS):
                return

    thread = threading.Thread(target=keep_on, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
