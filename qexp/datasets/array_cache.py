"""Data made ready once, and kept: arrays in files, mapped into memory as they are needed.

What is in a file is named by what it was made of, so that it never has to be thought of: other data, another spec or
another version of this code makes another file. All of it can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import mmap
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from qexp import files
from qexp.errors import QexpError

Array = NDArray[np.float32]

VARIABLE = "QEXP_CACHE"
"""Environment variable: the folder in which prepared data are kept, if not `~/.cache/qexp`."""

MAPPED_AT_ONCE = 64 * 2**20
"""Bytes that are read before what is mapped is given back to the system."""


def cache_folder() -> Path:
    """Where prepared data are kept: `QEXP_CACHE`, else qexp/ in the user's cache folder."""
    if given := os.environ.get(VARIABLE):
        return Path(given).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qexp"


def content_hash(path: Path) -> str:
    """SHA-256 of a file's content; that of a file that has not changed since is remembered."""
    status = path.stat()
    seen = {"size": status.st_size, "changed": status.st_mtime_ns, "inode": status.st_ino}
    note = cache_folder() / "hashes" / f"{hashlib.sha256(str(path.absolute()).encode()).hexdigest()}.json"
    with contextlib.suppress(OSError, ValueError, KeyError):
        known = json.loads(note.read_text())
        if known["seen"] == seen:
            return str(known["sha256"])
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    with contextlib.suppress(OSError, QexpError):  # it is then read again the next time
        note.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(note, {"path": str(path.absolute()), "seen": seen, "sha256": found})
    return found


def note(key: Sequence[Any]) -> dict[str, Any] | None:
    """What was written down under a key, or None."""
    with contextlib.suppress(OSError, ValueError):
        document: dict[str, Any] = json.loads(_place(key, "json").read_text())
        return document
    return None


def keep_note(key: Sequence[Any], document: dict[str, Any]) -> None:
    """Write something down under a key; it is found out again where that cannot be done."""
    with contextlib.suppress(OSError, QexpError):
        path = _place(key, "json")
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, document)


def _place(key: Sequence[Any], suffix: str) -> Path:
    name = hashlib.sha256(json.dumps(list(key)).encode()).hexdigest()
    return cache_folder() / "arrays" / f"{name}.{suffix}"


MAPPED_AROUND = 2**16
"""Bytes: so much is mapped by the system wherever a single one is looked at."""


@dataclass(frozen=True)
class CachedArray:
    """An array of 32-bit numbers in a file."""

    path: Path
    shape: tuple[int, ...]

    def opened(self) -> Mapped:
        return Mapped(self)


class Mapped:
    """The array of a file, read where it is looked at."""

    def __init__(self, cached: CachedArray) -> None:
        with cached.path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.values: Array = np.frombuffer(self._map, dtype=np.float32).reshape(cached.shape)
        self._read = 0

    def note_read(self, count: int) -> None:
        """Tell how many bytes were read; now and then all that is mapped is given back, so that memory does not fill.

        The system keeps what it read for as long as it has room.
        """
        self._read += count
        if self._read > MAPPED_AT_ONCE:
            self._map.madvise(mmap.MADV_DONTNEED)
            self._read = 0


def cached(key: Sequence[Any], shape: tuple[int, ...], blocks: Callable[[], Iterator[Array]]) -> CachedArray:
    """The file of a key, made from blocks along the first axis if it is not there yet.

    Raises QexpError where it cannot be written.
    """
    if there := known(key, shape):
        return there
    made = CachedArray(_place(key, "f32"), shape)
    with _room_for(shape), files.replacing(made.path) as file:
        _write(file, blocks())
    return made


def known(key: Sequence[Any], shape: tuple[int, ...]) -> CachedArray | None:
    """The file of a key, if it is there."""
    made = CachedArray(_place(key, "f32"), shape)
    if not (made.path.is_file() and made.path.stat().st_size == 4 * math.prod(shape)):
        return None
    with contextlib.suppress(OSError):  # a cache of somebody else's
        os.utime(made.path)  # for `unused_for`
    return made


def cached_by_content(shape: tuple[int, ...], blocks: Iterable[Array], key: Callable[[], Sequence[Any]]) -> CachedArray:
    """The file of a key that is known only once all blocks have been read; one that is there already stays.

    Raises QexpError where it cannot be written.
    """
    with _room_for(shape) as folder:
        handle, name = tempfile.mkstemp(prefix=".", suffix=".f32", dir=folder)  # what is left of it is purged, too
        draft = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                _write(file, blocks)
                found = key()
                if there := known(found, shape):
                    return there
                file.flush()
                os.fsync(file.fileno())
            draft.chmod(0o644)
            draft.replace(_place(found, "f32"))
        finally:
            draft.unlink(missing_ok=True)
    return CachedArray(_place(found, "f32"), shape)


def _write(file: IO[bytes], blocks: Iterable[Array]) -> None:
    for block in blocks:
        file.write(np.ascontiguousarray(block, dtype=np.float32).data)


@contextlib.contextmanager
def _room_for(shape: tuple[int, ...]) -> Iterator[Path]:
    """The folder of the arrays, with room for one of a shape; what goes wrong in writing it says what would help."""
    folder, size = cache_folder() / "arrays", 4 * math.prod(shape)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _require_room(folder, size)
        yield folder
    except OSError as error:
        raise QexpError(
            f"prepared data cannot be kept in {folder}: {error.strerror or error}; name another folder with {VARIABLE}"
        ) from error


def unused_for(age: timedelta) -> list[Path]:
    """Arrays that no run has looked for in so long."""
    before = time.time() - age.total_seconds()
    arrays = (cache_folder() / "arrays").glob("*.f32")
    return sorted(path for path in arrays if path.stat().st_mtime < before)


def _require_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise QexpError(
            f"prepared data take {size / 1e6:.1f} MB, but {folder} has {free / 1e6:.1f} MB left; "
            f"make room, or name another folder with {VARIABLE}"
        )
