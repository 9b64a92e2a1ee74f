"""Locks between processes, also of several users who share a folder."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from qexp.errors import QexpError

SHARED = stat.S_IWGRP | stat.S_IWOTH

PAUSE = 0.05
"""Seconds between two attempts to get a lock."""


@contextmanager
def locked(file: Path, seconds: float) -> Iterator[None]:
    """Hold the lock of a file, `<file>.lock`. Write access to the folder suffices, even if another user made the lock.

    Raises QexpError if another process holds it for `seconds`, OSError if the folder cannot be written to.
    """
    lock = file.with_name(f"{file.name}.lock")
    mode = 0o644 | (lock.parent.stat().st_mode & SHARED)
    try:
        if lock.exists() and not os.access(lock, os.W_OK):
            _remove(lock, seconds)
        with FileLock(lock, timeout=seconds, mode=mode):
            yield
    except Timeout:
        raise QexpError(f"{file} has been locked by another process for {seconds:.0f} s") from None


def _remove(lock: Path, seconds: float) -> None:
    """Remove a lock file that only its owner can open for writing, once no process holds it.

    A process that is waiting for it notices that the file is gone, and uses the new one.
    """
    deadline = time.monotonic() + seconds
    with suppress(FileNotFoundError), lock.open("rb") as opened:
        while not _is_free(opened):
            if time.monotonic() > deadline:
                raise Timeout(str(lock))
            time.sleep(PAUSE)
        if os.fstat(opened.fileno()).st_nlink:  # else another process has removed it, and a new one may be in use
            lock.unlink()


def _is_free(lock: IO[bytes]) -> bool:
    """Try to take the lock; True if this process holds it now, until the file is closed."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # over a network a file that is open for reading cannot be locked
    return True
