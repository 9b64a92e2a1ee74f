"""Stamps: values that change whenever a run's record, annotations or evaluations do, found without reading them."""

from __future__ import annotations

import os

from qexp.runs.record import tagging
from qexp.runs.record.directory import EVALUATIONS

COARSE, FINE = 2.0, 0.05
"""Seconds within which two changes may get the same time: on file systems with whole seconds, and on others."""

LONGEST = 600.0
"""Largest duration of a listing [s]. Files that change during it are later than `now`; far later times are ignored."""

Stamp = list[int]


def stamp_of(run: str) -> Stamp | None:
    """Time, size and inode of the record and, if there are any, of annotations and evaluations; None without a record.

    Raises OSError if they cannot be accessed. Both files are always replaced, so that their inodes change; the folder
    of evaluations changes its time when one is added, replaced or removed.
    """
    # Texts instead of Paths, because with 10,000 runs Paths take most of the time. `os.access` before `os.stat` for
    # the same reason: raising an error takes longer than both calls.
    stamp = _of_file(f"{run}/run.json")
    if stamp is None:
        return None
    annotations = f"{run}/{tagging.FILE}"
    if os.access(annotations, os.F_OK):
        stamp += _of_file(annotations) or ()
    evaluations = f"{run}/{EVALUATIONS}"
    if os.access(evaluations, os.F_OK):
        stamp += _of_file(evaluations) or ()
    return stamp


def lasting_stamp_of(run: str, now: float) -> Stamp | None:
    """The stamp; None if a file changed so recently that another change could get the same stamp.

    A file system may reuse the inode of a replaced file.
    now  the current time of that file system, or slightly earlier
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
