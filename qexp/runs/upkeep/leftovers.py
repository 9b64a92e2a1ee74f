"""What processes leave behind that were killed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from qexp import clocks, files
from qexp.errors import QexpError
from qexp.runs.upkeep.finding import Finding

STALE_SECONDS = 3600.0
"""What has not changed for so long belongs to a process that is dead."""


def of_run(folder: Path) -> Iterator[Finding]:
    """Below a run's folder; what `code/` keeps is the user's."""
    for parent, folders, names in os.walk(folder):
        if Path(parent) == folder and "code" in folders:
            folders.remove("code")
        for path in (Path(parent) / name for name in names):
            if path.suffix == ".lock":
                yield from of_lock(path)
            elif is_stale_temporary(path):
                yield temporary(path)


def is_stale_temporary(path: Path) -> bool:
    return bool(files.TEMPORARY.fullmatch(path.name)) and path.is_file() and _is_stale(path)


def temporary(path: Path) -> Finding:
    match = files.TEMPORARY.fullmatch(path.name)
    assert match is not None
    whole = "; the file itself is whole" if path.with_name(match["whole"]).exists() else ""
    return Finding(
        path,
        f"is what a process left that died while it wrote {match['whole']}{whole}",
        "delete it",
        mend=lambda: path.unlink(missing_ok=True),
    )


def of_lock(path: Path) -> Iterator[Finding]:
    """A lock whose file is there is in use or will be; taking that away would let two in at once."""
    if path.with_suffix("").exists() or path.stat().st_size or not _is_stale(path):
        return  # one with content, such as poetry.lock, is somebody's own

    def unlock() -> None:
        try:
            with FileLock(path, timeout=0):
                path.unlink(missing_ok=True)
        except Timeout:
            raise QexpError("another process holds it") from None

    yield Finding(path, "locks a file that is not there", "delete it", mend=unlock)


def of_exports(folder: Path) -> Iterator[Finding]:
    """Of exports to a folder that is no run's; other files there that have such names are the user's."""
    for path in sorted(folder.glob(".*.tar*")):
        match = files.TEMPORARY.fullmatch(path.name)
        if match is not None and match["suffix"].startswith(".tar") and is_stale_temporary(path):
            yield temporary(path)


def stale_drafts(place: Path) -> Iterator[Finding]:
    for path in sorted(place.glob(".preparing-*")):
        if path.is_dir() and not path.is_symlink() and _is_stale(path):
            yield Finding(
                path,
                f"is a run that was never whole: its process died before {_ago(path)}",
                "delete it",
                mend=_deletion(path),
            )


def _deletion(folder: Path) -> Callable[[], None]:
    return lambda: shutil.rmtree(folder)


def _is_stale(path: Path) -> bool:
    try:
        return clocks.now_at(path) - _last_change(path) > STALE_SECONDS
    except OSError:
        return False


def _last_change(path: Path) -> float:
    """When a file, or anything below a folder, last changed. Unlike the time of writing, nobody can set it back.

    Raises OSError where somebody is at work, so that files vanish.
    """
    below = (Path(parent) / name for parent, folders, names in os.walk(path) for name in (*folders, *names))
    return max(one.lstat().st_ctime for one in (path, *below))


def _ago(path: Path) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(_last_change(path)))
    except OSError:
        return "now"
