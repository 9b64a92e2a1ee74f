"""Heartbeats: a process at work touches a file, so that others can see that it lives where they cannot ask for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from qexp import clocks

HEARTBEAT_SECONDS = 15.0
"""A process at work touches its heartbeat file this often."""

SILENT_SECONDS = 20 * HEARTBEAT_SECONDS
"""After so long a silence a process that cannot be asked for is believed dead."""


def fresh(heartbeat: Path, within: float = SILENT_SECONDS) -> bool:
    """Whether a heartbeat was touched in the last seconds, by the clock of its file system.

    One from the future proves nothing. The same tolerance holds for it, for file systems that take the time from the
    machine that writes.
    """
    try:
        return abs(clocks.age(heartbeat)) < within
    except OSError:
        return False


@contextmanager
def beating(heartbeat: Path, goes_on: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Touch a file for as long as this lasts, also during a long step, or until `goes_on` says no."""
    heartbeat.touch()
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT_SECONDS) and goes_on():
            with suppress(OSError):  # a full disk or a vanished directory is reported by whoever writes there
                heartbeat.touch()

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
