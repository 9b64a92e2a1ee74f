"""Heartbeats: a process at work writes to a file, so that other machines can see that it is alive."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from qexp import clocks

HEARTBEAT_SECONDS = 15.0
"""Seconds between two heartbeats of a process at work."""

SILENT_SECONDS = 20 * HEARTBEAT_SECONDS
"""Seconds without a heartbeat after which a process on another machine is considered dead."""


def fresh(heartbeat: Path, within: float = SILENT_SECONDS) -> bool:
    """Whether a heartbeat is at most `within` seconds old by the clock of its file system.

    A heartbeat further than that in the future does not count; a smaller lead is accepted, because some file systems
    take the time from the machine that writes.
    """
    try:
        return abs(clocks.age(heartbeat)) < within
    except OSError:
        return False


def beat(heartbeat: Path) -> None:
    """Set a heartbeat's time to now by the clock of its file system; create it if needed. Raises OSError.

    The file is written to, because on some file systems `touch` sets the time of this machine.
    """
    handle = os.open(heartbeat, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(handle, b"\n", 0)
    except OSError:  # a full disk can refuse even to write the same bytes again
        os.utime(handle)
    finally:
        os.close(handle)


@contextmanager
def beating(heartbeat: Path, goes_on: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Beat in a thread until the block ends or `goes_on` returns false."""
    ended = threading.Event()

    def keep_on() -> None:
        while goes_on():
            with suppress(OSError):  # a full disk or a deleted directory is reported by the code that writes there
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
