"""The age of files by the clock of the file system that they lie on.

On a network file system that clock is the server's. This machine's own, or another machine's, may be wrong.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

FOLDERS_TRIED = 4
"""A user who may only read a run's attempt may perhaps write to the attempts, the run, or the folder of all runs."""


def age(file: Path) -> float:
    """Seconds since a file was last written; negative for a time in the future. Raises OSError."""
    status = file.stat()
    return _now(file, status.st_dev) - status.st_mtime


def now_at(path: Path) -> float:
    """The time that a file written beside `path` at this moment gets. Raises OSError."""
    return _now(path, path.stat().st_dev)


def _now(path: Path, device: int) -> float:
    """Where nothing can be written on that file system, this machine's own time must do."""
    for folder in path.absolute().parents[:FOLDERS_TRIED]:
        try:
            with tempfile.TemporaryFile(dir=folder, prefix=".clock-") as written:
                status = os.fstat(written.fileno())
        except OSError:
            continue
        if status.st_dev == device:
            return status.st_mtime
    return time.time()
