"""Folders that are complete or missing, and what killed processes leave of them."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from qexp.base import files
from qexp.base.files import TEMPORARY, locked, make_folder, sync_folder, write_bytes, writing
from qexp.base.machine import terminable
from qexp.errors import QexpError

# Folders that appear complete or not at all, also if the process that writes them is killed at any
# moment.
#
# A folder NAME is filled as `.NAME.<8 digits>.draft` beside it, which its process keeps locked, and
# is then given its name. An older NAME is exchanged with it in one step, or, where the file system
# cannot do that, becomes `.NAME.<8 digits>.former` before. Therefore a draft whose lock is free can
# be deleted; a former folder is complete, is put back where NAME is missing, and is only deleted,
# as a draft, where NAME is there.


LEFTOVER = re.compile(r"\.(?P<whole>.+)\.[0-9a-f]{8}\.(?P<kind>draft|former)", re.DOTALL)
"""Names of drafts and of former folders; `whole` is the final name."""

STALE_SECONDS = 3600.0
"""Seconds after which an unchanged file or unlocked folder counts as left by a dead process."""


@contextmanager
def drafted(target: Path) -> Iterator[Path]:
    """A new, locked folder beside the target, deleted at the end if not renamed. Raises OSError."""
    draft = _beside(target, "draft")
    handle = None
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


@contextmanager
def new_draft(target: Path) -> Iterator[Path]:
    """A draft after `clear`, in a folder that is made. Raises QexpError if there cannot be one."""
    make_folder(target.parent)
    clear(target)
    with ExitStack() as until_the_end:
        with writing(f"to {target.parent}"):
            draft = until_the_end.enter_context(drafted(target))
        yield draft


def put(draft: Path, target: Path) -> None:
    """Give a complete draft its name, and delete the former folder of that name. Raises OSError."""
    if not _exchange(draft, target):
        try:
            _take_turns(draft, target)
        finally:
            restore(target)
    sync_folder(target.parent)
    shutil.rmtree(draft, ignore_errors=True)
    clear(target)


def put_unless(exists: Callable[[], bool], draft: Path, target: Path) -> bool:
    """Put a complete draft in its place unless something is there that counts; of several processes
    one at a time.

    exists  whether it is; raises QexpError if something else is there
    """
    with writing(target), locked(target.parent):
        if exists():
            return False
        put(draft, target)
    return True


def restore(target: Path) -> bool:
    """Put back a folder that a killed process moved away and had not replaced yet."""
    if os.path.lexists(target):
        return False
    with suppress(OSError):
        formers = _leftovers_of(target, "former")
        if formers:
            max(formers, key=lambda path: path.lstat().st_ctime).rename(target)
            sync_folder(target.parent)
            return True
    return False


def clear(target: Path) -> None:
    """Restore a folder, and delete what killed processes have left of it, or of a file, beside it;
    what cannot be deleted stays.
    """
    restore(target)
    with suppress(OSError):
        for path in target.parent.iterdir():
            match = TEMPORARY.fullmatch(path.name)
            if match is not None and match["whole"] == target.name and is_stale_temporary(path):
                path.unlink(missing_ok=True)
        for leftover in [*_leftovers_of(target, "draft"), *_leftovers_of(target, "former")]:
            with suppress(OSError, QexpError):
                delete(leftover)


def is_leftover(path: Path) -> bool:
    """Whether a folder is a former one, or a draft that no process is at work on."""
    if not LEFTOVER.fullmatch(path.name) or not path.is_dir() or path.is_symlink():
        return False
    try:
        with _at_work(path) as at_work:
            return not at_work or not is_draft(path)
    except OSError:
        return False


def is_lost(leftover: Path) -> bool:
    """Whether a former folder is all that there is of its name."""
    return not is_draft(leftover) and not os.path.lexists(target_of(leftover))


def is_draft(leftover: Path) -> bool:
    return leftover.name.endswith(".draft")


def target_of(leftover: Path) -> Path:
    """The place of the folder that a draft, or a former folder, belongs to."""
    match = LEFTOVER.fullmatch(leftover.name)
    assert match is not None
    return leftover.with_name(match["whole"])


def delete(leftover: Path) -> None:
    """Delete what a killed process has left, or all. Raises QexpError if it is in use; OSError."""
    if not is_draft(leftover):
        condemned = _beside(target_of(leftover), "draft")
        if is_lost(leftover):
            raise QexpError(f"{leftover.name} is all that there is of {target_of(leftover).name}")
        leftover.rename(condemned)  # incomplete from now on
        # the lock of a complete folder is of a process that has just put it in its place
        shutil.rmtree(condemned)
        return
    with _at_work(leftover) as at_work:
        if at_work:
            raise QexpError("a process is at work on it")
        shutil.rmtree(leftover)


@contextmanager
def _at_work(draft: Path) -> Iterator[bool]:
    """Whether a process is at work on a draft; if not, none begins before the end of the block.
    Raises OSError.

    It holds the lock of the draft or, where folders cannot be locked, has changed something in it
    lately.
    """
    handle = os.open(draft, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # another one has its name by now
            at_work = not os.path.samestat(os.fstat(handle), draft.stat())
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


def is_stale_temporary(path: Path) -> bool:
    """Whether a file is incomplete, and has not changed for a long time."""
    return bool(TEMPORARY.fullmatch(path.name)) and path.is_file() and is_stale(path)


def last_change(path: Path) -> float:
    """Time of the last status change of a file, or of anything in a folder; unlike mtime it cannot
    be set back.

    Raises OSError if files vanish meanwhile because a process is at work.
    """
    latest = path.lstat().st_ctime
    for parent, folders, names in os.walk(path):
        for name in (*folders, *names):
            latest = max(latest, Path(parent, name).lstat().st_ctime)
    return latest


def _beside(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.{kind}")


def _leftovers_of(target: Path, kind: str) -> list[Path]:
    leftovers = []
    for path in target.parent.iterdir():
        match = LEFTOVER.fullmatch(path.name)
        if match and (match["whole"], match["kind"]) == (target.name, kind):
            leftovers.append(path)
    return leftovers


def _locked(draft: Path) -> int | None:
    """The handle that locks a new draft until it is closed; None if the draft was deleted."""
    with suppress(FileNotFoundError), ExitStack() as unless_returned:
        handle = os.open(draft, os.O_RDONLY)
        unless_returned.callback(os.close, handle)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.path.samestat(os.fstat(handle), draft.stat()):
            unless_returned.pop_all()
            return handle
    return None


def _take_turns(draft: Path, target: Path) -> None:
    """Rename a draft to its name, and before that the folder of that name. Raises OSError."""
    while True:
        try:
            draft.rename(target)
            return
        except OSError as error:
            # Another folder has the name; one that is missing now was just moved away.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or target.is_file():
                raise
        with suppress(FileNotFoundError):  # another process was faster
            target.rename(_beside(target, "former"))


def _exchange(draft: Path, target: Path) -> bool:
    """Exchange two folders' names in one step; False without a second one or such a step."""
    renameat2 = _renameat2()
    if renameat2 is None or target.is_symlink() or not target.is_dir():
        return False
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
    refused: int = renameat2(here, os.fsencode(draft), here, os.fsencode(target), exchange)
    return not refused


@cache
def _renameat2() -> Any:
    """The function of the C library of Linux; None elsewhere."""
    import ctypes

    try:
        return ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):
        return None


def names_in(target: Path) -> set[str]:
    """The names in a folder, none if it does not exist. Raises QexpError if a folder cannot be."""
    try:
        return {path.name for path in target.iterdir()} if target.exists() else set()
    except NotADirectoryError:
        raise QexpError(f"`to={target}`: there is a file of that name; choose another") from None
    except OSError as error:
        raise QexpError(f"`to={target}`: {error.strerror}") from error


def write_folder(target: Path, contents: Mapping[str, bytes]) -> None:
    """Create a folder with all its files, or nothing; an old folder is deleted when the new one is
    complete.

    contents  name → content; names may have folders in them
    """
    folder = Path(os.path.realpath(target))  # keep a link as a link
    make_folder(folder.parent)
    clear(folder)
    with writing(target), terminable(), drafted(folder) as draft:
        for name, content in contents.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            write_bytes(draft / name, content)
        put(draft, folder)
