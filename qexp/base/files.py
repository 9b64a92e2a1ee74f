"""Files that are complete or missing: drafted, synced, renamed; sizes, hashes, ages, locks."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from qexp.errors import DamagedError, NotFoundError, QexpError, TakenOverError

TEMPORARY = re.compile(
    r"\.(?P<whole>.+(?P<suffix>\.(jsonl?|safetensors|nc|npy|png|pdf|svg|html?|csv|parquet|txt|sh|onnx|pt2?|zip)))"
    r"\.[a-z0-9_]{8}(?P=suffix)?"
)
"""Temporary names of incomplete files by `replacing` and `beside`; `whole` is the final name."""


def stem_of(path: Path) -> str:
    """What results of a file or folder are named after: its name, of a file without the ending."""
    return path.absolute().name if path.is_dir() else path.stem


def safe(name: str) -> str:
    """A name, such as a track's, as that of a file; empty if nothing is left of it."""
    return re.sub(r"[^\w.-]", "_", name).lstrip(".")


def real_path(path: Path) -> Path:
    """A path with links followed; `Path.resolve` fails if another process removes one meanwhile."""
    while True:
        with suppress(FileNotFoundError):
            return path.resolve()


def make_folder(path: Path) -> None:
    """Make a folder and its parents, if they do not exist."""
    with writing(f"to {path}"):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def writing(where: Path | str) -> Iterator[None]:
    """Errors of the file system become QexpError: cannot write `where`, a file or `to` a folder."""
    try:
        yield
    except OSError as error:
        raise QexpError(f"cannot write {where}: {error.strerror or error}") from error


def require_file(path: Path) -> None:
    """Raises NotFoundError if there is no such file."""
    if not path.is_file():
        raise NotFoundError(f"{path}: there is no such file")


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file atomically: after a crash or on a full disk the old one is unchanged."""
    with writing(path), replacing(path) as file:
        file.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """An open temporary file, which replaces `path` at the end, or is deleted after an error."""
    with _draft(path, "") as (handle, temporary):
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _put(temporary, path)


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """The path of a temporary file with the suffix of the final one, for libraries that open it."""
    with _draft(path, path.suffix) as (handle, temporary):
        os.close(handle)
        yield temporary
        sync(temporary)
        _put(temporary, path)


_DRAFTS: dict[Path, Path] = {}
"""See `drafted_in`."""


@contextmanager
def drafted_in(folder: Path, home: Path) -> Iterator[None]:
    """A context in which files below `home` are first written in `folder`, then renamed.

    If another process deletes the folder, this one can no longer replace files below `home`: the
    renaming fails, and TakenOverError is raised.
    """
    root = home.absolute()
    _DRAFTS[root] = folder
    try:
        yield
    finally:
        del _DRAFTS[root]


def drafts_of(path: Path) -> Path | None:
    """The folder in which this process writes new files for a path, if `drafted_in` named one."""
    target = path.absolute()
    return next((folder for root, folder in _DRAFTS.items() if target.is_relative_to(root)), None)


@contextmanager
def _draft(path: Path, suffix: str) -> Iterator[tuple[int, Path]]:
    """A new open file that is to replace `path`, and its name; deleted after an error."""
    drafts = drafts_of(path)
    home = path.absolute().parent
    temporary: Path | None = None
    try:
        # A folder of the run may be a link to another disk; files cannot be renamed across disks.
        if drafts is not None and drafts.stat().st_dev == home.stat().st_dev:
            home = drafts
        temporary = home / f".{path.name}.{secrets.token_hex(4)}{suffix}"
        # Named before it is made, so that a signal between the two leaves nothing.
        yield os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode=0o600), temporary
    except FileNotFoundError:
        gone = temporary if home == drafts else drafts
        if gone is not None and not os.path.lexists(gone):
            raise TakenOverError(
                f"{gone} is gone: another process took over what this one was writing"
            ) from None
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _put(temporary: Path, path: Path) -> None:
    with suppress(PermissionError):  # some file systems keep no permissions
        temporary.chmod(0o644)
    temporary.replace(path)
    sync_folder(path.absolute().parent)


def sync(path: Path) -> None:
    """Sync a file or folder, so that what was written to it survives a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that renamed and new files in it survive a power failure."""
    with suppress(OSError):  # some file systems do not sync folders
        sync(folder)


def size_of(path: Path) -> int:
    """The size in bytes of a file, or of all files in a folder; links in it are not followed."""
    try:
        if not path.is_dir():
            return path.lstat().st_size
        with os.scandir(path) as entries:
            size = 0
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    size += size_of(Path(entry))
                else:
                    size += entry.stat(follow_symlinks=False).st_size
            return size
    except FileNotFoundError:  # temporary files may vanish meanwhile
        return 0


def in_bytes(size: float) -> str:
    """A size in readable form: 1.4 MB."""
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} EB"


def require_plain(path: Path, largest: int | None = None) -> None:
    """Raises DamagedError for a pipe, a device and a link to one, and for a file of more than
    `largest` bytes; OSError if there is none.
    """
    status = path.stat()
    # Opening a named pipe would wait until another process writes to it; opening a folder is an
    # error by itself.
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise DamagedError(f"{path} cannot be read: it is not a plain file")
    if largest is not None and status.st_size > largest:
        raise DamagedError(f"{path} is too large: {status.st_size:,} bytes, at most {largest:,}")


def read_bytes(path: Path, largest: int | None = None) -> bytes:
    """The content of a plain file. Raises FileNotFoundError if it is missing, DamagedError if it
    cannot be read.

    largest  its largest size [bytes], of a file that others wrote
    """
    try:
        require_plain(path, largest)
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {error.strerror or error}") from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# The age of files by the clock of the file system that they lie on.
#
# On a network file system that is the server's clock. The clock of this machine, or of another one,
# may be wrong.


def age(file: Path) -> float:
    """Seconds since a file was last written; negative for a time in the future. Raises OSError."""
    status = file.stat()
    return _now(file, status.st_dev) - status.st_mtime


def now_at(path: Path) -> float:
    """The time that a file gets if it is written beside `path` now. Raises OSError."""
    return _now(path, path.stat().st_dev)


def _now(path: Path, device: int) -> float:
    """The present time of the file system of `path`; this machine's if nothing can be written."""
    # a user may have write access to the run, but not to its attempt
    for folder in path.absolute().parents[:4]:
        try:
            with tempfile.TemporaryFile(dir=folder, prefix=".clock-") as written:
                status = os.fstat(written.fileno())
        except OSError:
            continue
        if status.st_dev == device:
            return status.st_mtime
    return time.time()


# Locks between processes, also of several users who share a folder.


@contextmanager
def locked(file: Path, seconds: float = 10.0) -> Iterator[None]:
    """Hold the lock of a file, `<file>.lock`. Write access to the folder suffices, even if another
    user made the lock.

    Raises QexpError if another process holds it for `seconds`, OSError if the folder cannot be
    written to.
    """
    lock = file.with_name(f"{file.name}.lock")
    mode = 0o644 | (lock.parent.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH))
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
    with suppress(FileNotFoundError), lock.open("rb") as file:
        while not _is_free(file):
            if time.monotonic() > deadline:
                raise Timeout(str(lock))
            time.sleep(0.05)
        # Without a link another process has removed it, and a new one may be in use.
        if os.fstat(file.fileno()).st_nlink:
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
