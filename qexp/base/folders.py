"""Folders that appear complete or not at all, also if the process that writes them is killed at any moment.

A folder NAME is filled as `.NAME.<8 digits>.draft` beside it, which its process keeps locked, and is then given its
name. An older NAME is exchanged with it in one step, or, where the file system cannot do that, becomes
`.NAME.<8 digits>.former` before. Therefore a draft whose lock is free can be deleted; a former folder is complete, is
put back where NAME is missing, and is only deleted, as a draft, where NAME is there.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from qexp.base import files
from qexp.base.machine import terminable
from qexp.errors import QexpError

LEFTOVER = re.compile(r"\.(?P<whole>.+)\.[0-9a-f]{8}\.(?P<kind>draft|former)", re.DOTALL)
"""Names of drafts and of former folders; `whole` is the final name."""

STALE_SECONDS = 3600.0
"""Seconds without a change after which a file, or a folder that cannot be locked, counts as left by a dead process."""

TAKEN = (errno.ENOTEMPTY, errno.EEXIST)
"""Errors of renaming a folder to a name that another folder has."""

EXCHANGE, HERE = 2, -100
"""RENAME_EXCHANGE and AT_FDCWD of Linux."""


@contextmanager
def drafted(place: Path) -> Iterator[Path]:
    """A new, locked folder beside `place`, which is deleted at the end unless it was given its name. Raises OSError."""
    draft, handle = _beside(place, "draft"), None
    try:
        while handle is None:
            draft.mkdir(mode=0o755)
            handle = _locked(draft)
        yield draft
    finally:
        try:
            shutil.rmtree(draft, ignore_errors=True)
        except BaseException:  # a second signal
            shutil.rmtree(draft, ignore_errors=True)
            raise
        finally:
            if handle is not None:
                os.close(handle)


def put(draft: Path, place: Path) -> None:
    """Give a complete draft its name, in place of the folder of that name, which is deleted then. Raises OSError."""
    if not _exchanged(draft, place):
        try:
            _take_turns(draft, place)
        finally:
            restore(place)
    files.sync_folder(place.parent)
    shutil.rmtree(draft, ignore_errors=True)
    clear(place)


def restore(place: Path) -> bool:
    """Put back a folder that was moved away by a process which was killed before it put another one in its place."""
    if os.path.lexists(place):
        return False
    with suppress(OSError):
        for former in sorted(_left_of(place, "former"), key=lambda path: path.lstat().st_ctime, reverse=True):
            former.rename(place)
            files.sync_folder(place.parent)
            return True
    return False


def clear(place: Path) -> None:
    """Restore a folder, and delete what killed processes have left of it beside it; what cannot be deleted stays."""
    restore(place)
    with suppress(OSError):
        for left in [*_left_of(place, "draft"), *_left_of(place, "former")]:
            with suppress(OSError, QexpError):
                delete(left)


def is_left(path: Path) -> bool:
    """Whether a folder is a former one, or a draft that no process is at work on."""
    if not LEFTOVER.fullmatch(path.name) or not path.is_dir() or path.is_symlink():
        return False
    try:
        with _judged(path) as at_work:
            return not (at_work and is_draft(path))
    except OSError:
        return False


def is_lost(left: Path) -> bool:
    """Whether a former folder is all that there is of its name."""
    return not is_draft(left) and not os.path.lexists(place_of(left))


def is_draft(left: Path) -> bool:
    return left.name.endswith(".draft")


def place_of(left: Path) -> Path:
    """The place of the folder that a draft, or a former folder, belongs to."""
    match = LEFTOVER.fullmatch(left.name)
    assert match is not None
    return left.with_name(match["whole"])


def delete(left: Path) -> None:
    """Delete what a killed process has left. Raises QexpError if it is in use, or all that there is; OSError."""
    if not is_draft(left):
        condemned = _beside(place_of(left), "draft")
        if is_lost(left):
            raise QexpError(f"{left.name} is all that there is of {place_of(left).name}")
        left.rename(condemned)  # incomplete from now on
        shutil.rmtree(condemned)  # the lock of a complete folder is of a process that has just put it in its place
        return
    with _judged(left) as at_work:
        if at_work:
            raise QexpError("a process is at work on it")
        shutil.rmtree(left)


@contextmanager
def _judged(draft: Path) -> Iterator[bool]:
    """Whether a process is at work on a draft; if not, none begins before the end of the block. Raises OSError.

    It holds the lock of the draft or, where folders cannot be locked, has changed something in it lately.
    """
    handle = os.open(draft, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            at_work = not os.path.samestat(os.fstat(handle), draft.stat())  # another one has its name by now
        except BlockingIOError:
            at_work = True
        except FileNotFoundError:
            raise
        except OSError:
            at_work = not is_stale(draft)
        yield at_work
    finally:
        os.close(handle)


def is_stale(path: Path) -> bool:
    """Whether a file, or anything in a folder, has not changed for a long time."""
    try:
        return files.now_at(path) - last_change(path) > STALE_SECONDS
    except OSError:
        return False


def last_change(path: Path) -> float:
    """Time of the last status change of a file, or of anything in a folder; unlike mtime it cannot be set back.

    Raises OSError if files vanish meanwhile because a process is at work.
    """
    below = (Path(parent) / name for parent, folders, names in os.walk(path) for name in (*folders, *names))
    return max(inside.lstat().st_ctime for inside in (path, *below))


def _beside(place: Path, kind: str) -> Path:
    return place.with_name(f".{place.name}.{secrets.token_hex(4)}.{kind}")


def _left_of(place: Path, kind: str) -> list[Path]:
    matches = ((path, LEFTOVER.fullmatch(path.name)) for path in place.parent.iterdir())
    return [path for path, match in matches if match and (match["whole"], match["kind"]) == (place.name, kind)]


def _locked(draft: Path) -> int | None:
    """The handle that holds the lock of a new draft until it is closed; None if the draft was deleted meanwhile."""
    try:
        handle = os.open(draft, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.path.samestat(os.fstat(handle), draft.stat()):
            return handle
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None


def _take_turns(draft: Path, place: Path) -> None:
    """Rename a draft to its name, and before that a folder of that name to a former one. Raises OSError."""
    while True:
        try:
            draft.rename(place)
            return
        except OSError as error:
            if error.errno not in TAKEN or place.is_file():  # a place that is missing now was just moved away
                raise
        with suppress(FileNotFoundError):  # another process was faster
            place.rename(_beside(place, "former"))


def _exchanged(draft: Path, place: Path) -> bool:
    """Exchange the names of two folders in one step; False where there is no second folder, or no such step."""
    renameat2 = _renameat2()
    if renameat2 is None or place.is_symlink() or not place.is_dir():
        return False
    refused: int = renameat2(HERE, os.fsencode(draft), HERE, os.fsencode(place), EXCHANGE)
    return not refused


@cache
def _renameat2() -> Any:
    """The function of the C library of Linux; None elsewhere."""
    import ctypes

    try:
        return ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):
        return None


# Folders of results outside of runs, which appear complete or not at all.


def names_in(target: Path) -> set[str]:
    """The names in a folder, none if it does not exist. Raises QexpError where a folder cannot be."""
    try:
        return {path.name for path in target.iterdir()} if target.exists() else set()
    except NotADirectoryError:
        raise QexpError(f"--to {target}: there is a file of that name; choose another") from None
    except OSError as error:
        raise QexpError(f"--to {target}: {error.strerror}") from error


def write_folder(target: Path, contents: Mapping[str, bytes]) -> None:
    """Create a folder with all its files, or nothing; an old folder is deleted when the new one is complete.

    contents  name → content; names may have folders in them
    """
    place = Path(os.path.realpath(target))  # keep a link as a link
    files.make_folder(place.parent)
    try:
        clear(place)
        with terminable(), drafted(place) as draft:
            for name, content in contents.items():
                (draft / name).parent.mkdir(parents=True, exist_ok=True)
                files.write_bytes(draft / name, content)
            put(draft, place)
    except OSError as error:
        raise QexpError(f"cannot write {target}: {error.strerror or error}") from error
