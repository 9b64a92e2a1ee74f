"""The age of files by the clock of the file system that they lie on.

On a network file system that is the server's clock. The clock of this machine, or of another one, may be wrong.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

FOLDERS_TRIED = 4
"""Levels above a file at which to try to write: a user may have write access to the run, but not to its attempt."""


def age(file: Path) -> float:
    """Seconds since a file was last written; negative for a time in the future. Raises OSError."""
    status = file.stat()
    return _now(file, status.st_dev) - status.st_mtime


def now_at(path: Path) -> float:
    """The time that a file gets if it is written beside `path` now. Raises OSError."""
    return _now(path, path.stat().st_dev)


def _now(path: Path, device: int) -> float:
    """The present time of the file system of `path`; this machine's own if nothing can be written there."""
    for folder in path.absolute().parents[:FOLDERS_TRIED]:
        try:
            with tempfile.TemporaryFile(dir=folder, prefix=".clock-") as written:
                status = os.fstat(written.fileno())
        except OSError:
            continue
        if status.st_dev == device:
            return status.st_mtime
    return time.time()
