"""Stamps: what changes when a run's record or labels do, and takes no reading of them."""

from __future__ import annotations

import os

from qexp.runs.record import tagging

COARSE, FINE = 2.0, 0.05
"""Seconds within which two changes may get one time: on file systems that keep whole seconds, and on others."""

LONGEST = 600.0
"""Seconds that a listing may take: what changed meanwhile is later than `now`, and what is much later is no matter."""

Stamp = list[int]


def stamp_of(run: str) -> Stamp | None:
    """Time, size and inode of the record and, if there are any, of the labels; None if there is no record.

    Raises OSError where that cannot be looked at. Both files are always replaced, so that their inodes change.
    """
    # Texts and no Paths: for 10,000 runs it is this that takes time. For the same reason a file is asked for before
    # its status: an error that is raised takes longer than both.
    stamp = _of_file(f"{run}/run.json")
    if stamp is None:
        return None
    labels = f"{run}/{tagging.FILE}"
    return [*stamp, *(_of_file(labels) or ())] if os.access(labels, os.F_OK) else stamp


def lasting_stamp_of(run: str, now: float) -> Stamp | None:
    """The same, but None if a file was changed so lately that another change may get the same stamp.

    A file system may give the inode of a file that was replaced to the next one.
    now  the time by that file system, at the moment or a little earlier
    """
    stamp = stamp_of(run)
    if stamp is None:
        return None
    for changed in stamp[::3]:
        least = FINE if changed % 1_000_000_000 else COARSE
        if -LONGEST < now - changed / 1e9 < least:
            return None
    return stamp


def _of_file(path: str) -> Stamp | None:
    try:
        status = os.stat(path)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return None
    return [status.st_mtime_ns, status.st_size, status.st_ino]
