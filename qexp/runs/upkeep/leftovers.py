"""Leftovers of killed processes: temporary files, locks, drafts of folders, and former folders."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from qexp import files, folders
from qexp.errors import QexpError
from qexp.folders import is_stale
from qexp.runs.upkeep.finding import Finding

DEEP = 3
"""Levels of folders of a workspace in which leftovers are searched."""

RESULTS = (".tar", ".nc", ".npy", ".png", ".pdf", ".svg", ".html")
"""Endings of files that commands write outside of runs; other hidden files there are the user's."""


def of_run(folder: Path) -> Iterator[Finding]:
    """Leftovers in a run's folder, except in `code/`, which holds the user's files."""
    for parent, inner, names in os.walk(folder):
        if Path(parent) == folder and "code" in inner:
            inner.remove("code")
        for name in [name for name in inner if folders.LEFTOVER.fullmatch(name)]:
            inner.remove(name)  # a whole leftover, or at work
            yield from of_folder(Path(parent) / name)
        for path in (Path(parent) / name for name in names):
            if path.suffix == ".lock":
                yield from of_lock(path)
            elif is_stale_temporary(path):
                yield temporary(path)


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


def of_folder(path: Path) -> Iterator[Finding]:
    """The finding for a draft, or a former folder, that a killed process has left."""
    if not folders.is_left(path):
        return
    name = folders.place_of(path).name
    if folders.is_lost(path):
        what = f"is {name}: a process was killed between moving it away and putting a new one in its place"
        yield Finding(path, what, "put it back", damaged=True, repair=lambda: put_back(path))
    elif folders.is_draft(path):
        what = f"was left by a process that was killed while it wrote or replaced {name}"
        yield Finding(path, what, "delete it", repair=lambda: folders.delete(path))
    else:
        yield Finding(path, f"was replaced by a new {name}", "delete it", repair=lambda: folders.delete(path))


def put_back(path: Path) -> None:
    place = folders.place_of(path)
    if not folders.restore(place) and not place.exists():
        raise QexpError(f"cannot rename it to {place.name}")


def of_place(place: Path) -> Iterator[Finding]:
    """What is left in a folder that holds runs; nothing of one that may not be read, which findings of its runs say."""
    with suppress(PermissionError):
        for path in sorted(place.iterdir()):
            yield from of_folder(path)


def of_workspace(root: Path, left_out: Collection[Path]) -> Iterator[Finding]:
    """What killed commands have left beside the files and folders that they write outside of runs.

    Of files only archives are deleted by a repair: others with similar names may be the user's.
    left_out  folders that are not searched
    """
    for parent, names, inside in os.walk(root):
        here = Path(parent)
        for path in (here / name for name in sorted(names)):
            yield from of_folder(path)
        deep = len(here.relative_to(root).parts) + 1 < DEEP
        names[:] = [name for name in names if deep and not name.startswith(".") and here / name not in left_out]
        for path in (here / name for name in sorted(inside)):
            match = files.TEMPORARY.fullmatch(path.name)
            if match is not None and match["suffix"].startswith(RESULTS) and is_stale_temporary(path):
                archive = match["suffix"].startswith(".tar")
                yield temporary(path) if archive else replace(temporary(path), repair=None)
