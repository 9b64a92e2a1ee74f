"""Leftovers of killed processes: temporary files, locks and drafts of runs."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from qexp import clocks, files
from qexp.errors import QexpError
from qexp.runs.record.directory import EVALUATIONS
from qexp.runs.record.evaluations import DRAFT
from qexp.runs.upkeep.finding import Finding

STALE_SECONDS = 3600.0
"""Seconds without a change after which a file counts as left by a dead process."""


def of_run(folder: Path) -> Iterator[Finding]:
    """Leftovers in a run's folder, except in `code/`, which holds the user's files."""
    for parent, folders, names in os.walk(folder):
        if Path(parent) == folder and "code" in folders:
            folders.remove("code")
        if Path(parent) == folder / EVALUATIONS:  # drafts are whole leftovers
            folders[:] = [name for name in folders if not name.startswith(DRAFT)]
        for path in (Path(parent) / name for name in names):
            if path.suffix == ".lock":
                yield from of_lock(path)
            elif is_stale_temporary(path):
                yield temporary(path)


def of_actions(folder: Path) -> Iterator[Finding]:
    """What killed actions left in a run's folder."""
    for draft in sorted((folder / "actions").glob(".*--*")):
        lock = draft.with_name(f"{draft.name[1:].rpartition('--')[0]}.lock")
        try:
            with FileLock(lock, timeout=0):
                pass
        except (Timeout, OSError):  # at work, or not ours to judge
            continue
        yield Finding(draft, "was left by an action that was killed", "delete it", repair=partial(shutil.rmtree, draft))


def is_stale_temporary(path: Path) -> bool:
    return bool(files.TEMPORARY.fullmatch(path.name)) and path.is_file() and is_stale(path)


def temporary(path: Path) -> Finding:
    match = files.TEMPORARY.fullmatch(path.name)
    assert match is not None
    whole = "; the file itself is complete" if path.with_name(match["whole"]).exists() else ""
    return Finding(
        path,
        f"was left by a process that died while it wrote {match['whole']}{whole}",
        "delete it",
        repair=lambda: path.unlink(missing_ok=True),
    )


def of_lock(path: Path) -> Iterator[Finding]:
    """The finding for a stale lock. A lock whose file exists is kept: deleting it could let two processes in."""
    if path.with_suffix("").exists() or path.stat().st_size or not is_stale(path):
        return  # a file with content, such as poetry.lock, is not a lock of qexp

    def unlock() -> None:
        try:
            with FileLock(path, timeout=0):
                path.unlink(missing_ok=True)
        except Timeout:
            raise QexpError("another process holds it") from None

    yield Finding(path, "locks a file that does not exist", "delete it", repair=unlock)


def of_exports(folder: Path) -> Iterator[Finding]:
    """Leftovers of exports to a folder outside of runs; other files with similar names are the user's."""
    for path in sorted(folder.glob(".*.tar*")):
        match = files.TEMPORARY.fullmatch(path.name)
        if match is not None and match["suffix"].startswith(".tar") and is_stale_temporary(path):
            yield temporary(path)


def stale_drafts(place: Path) -> Iterator[Finding]:
    for path in sorted(place.glob(".preparing-*")):
        if path.is_dir() and not path.is_symlink() and is_stale(path):
            yield Finding(
                path,
                f"is an incomplete draft of a run: its process died before {ago(path)}",
                "delete it",
                repair=deletion(path),
            )


def deletion(folder: Path) -> Callable[[], None]:
    return lambda: shutil.rmtree(folder)


def is_stale(path: Path) -> bool:
    try:
        return clocks.now_at(path) - _last_change(path) > STALE_SECONDS
    except OSError:
        return False


def _last_change(path: Path) -> float:
    """Time of the last status change of a file, or of anything in a folder; unlike mtime it cannot be set back.

    Raises OSError if files vanish meanwhile because a process is at work.
    """
    below = (Path(parent) / name for parent, folders, names in os.walk(path) for name in (*folders, *names))
    return max(one.lstat().st_ctime for one in (path, *below))


def ago(path: Path) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(_last_change(path)))
    except OSError:
        return "now"
