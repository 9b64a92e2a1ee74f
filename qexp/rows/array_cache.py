"""A cache of prepared arrays in files, which are mapped into memory.

The name of a file is a hash of everything it was made from: other data, another spec or another version of this code
gives another file. The cache can be deleted at any time.
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
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qexp.base import files, formats
from qexp.errors import QexpError

Array = NDArray[np.float32]

VARIABLE = "QEXP_CACHE"
"""Environment variable: the folder of the cache, instead of `~/.cache/qexp`."""

MAPPED_AT_ONCE = 64 * 2**20
"""Bytes that are read before mapped memory is returned to the system."""


def cache_folder() -> Path:
    """The folder of the cache: `QEXP_CACHE`, else qexp/ in the user's cache folder."""
    if folder := os.environ.get(VARIABLE):
        return Path(folder).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qexp"


def content_hash(path: Path) -> str:
    """SHA-256 of a file's content in hexadecimal, cached until the file's size, time of change or inode changes."""
    key = ("content", *file_state(path))
    if (known := note(key)) is not None:
        return str(known["sha256"])
    digest = files.sha256_of(path)
    keep_note(key, {"sha256": digest})
    return digest


def file_state(path: Path) -> tuple[str, int, int, int]:
    """A file's place, size, time of change and inode: while they stay, so does its content."""
    status = path.stat()
    return str(path.absolute()), status.st_size, status.st_mtime_ns, status.st_ino


def note(key: Sequence[Any]) -> dict[str, Any] | None:
    """The JSON document that `keep_note` stored under a key, or None."""
    with contextlib.suppress(OSError, ValueError):
        path = _path(key, "json")
        document: dict[str, Any] = json.loads(path.read_text())
        os.utime(path)  # for `unused_for`
        return document
    return None


def keep_note(key: Sequence[Any], document: dict[str, Any]) -> None:
    """Store a JSON document under a key; a folder that cannot be written to is no error."""
    with contextlib.suppress(OSError, QexpError):
        path = _path(key, "json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(formats.json_bytes(document))  # what is cut off is no JSON, so that nothing need be synced


def _path(key: Sequence[Any], suffix: str) -> Path:
    name = hashlib.sha256(json.dumps(list(key)).encode()).hexdigest()
    return cache_folder() / "arrays" / f"{name}.{suffix}"


MAPPED_AROUND = 2**16
"""Bytes that the system maps at once around a byte that is read."""


class CachedArray:
    """A file of the cache with an array in single precision, of which only accessed parts are read."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.path, self.shape, self._read = path, shape, 0

    @cached_property
    def _map(self) -> mmap.mmap:
        with self.path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    @cached_property
    def values(self) -> Array:
        return np.frombuffer(self._map, dtype=np.float32).reshape(self.shape)

    def note_read(self, count: int) -> None:
        """Count bytes that were read; from time to time mapped memory is returned, so that it does not grow.

        The system keeps the content in its file cache while it has free memory.
        """
        self._read += count
        if self._read > MAPPED_AT_ONCE:
            self._map.madvise(mmap.MADV_DONTNEED)
            self._read = 0


def find(key: Sequence[Any], shape: tuple[int, ...]) -> CachedArray | None:
    """The array of a key, or None if it is not in the cache."""
    array = CachedArray(_path(key, "f32"), shape)
    if not (array.path.is_file() and array.path.stat().st_size == 4 * math.prod(shape)):
        return None
    with contextlib.suppress(OSError):  # the cache belongs to another user
        os.utime(array.path)  # for `unused_for`
    return array


def cached_by_content(shape: tuple[int, ...], blocks: Iterable[Array], key: Callable[[], Sequence[Any]]) -> CachedArray:
    """The array of a key that is known only after all blocks were read; an existing file of that key is kept.

    Raises QexpError if it cannot be written.
    """
    with _room_for(shape) as folder:
        handle, name = tempfile.mkstemp(prefix=".", suffix=".f32", dir=folder)  # an abandoned one is purged, too
        draft = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                for block in blocks:
                    file.write(np.ascontiguousarray(block, dtype=np.float32).data)
                content_key = key()
                if array := find(content_key, shape):
                    return array
                file.flush()
                os.fsync(file.fileno())
            draft.chmod(0o644)
            draft.replace(_path(content_key, "f32"))
        finally:
            draft.unlink(missing_ok=True)
    return CachedArray(_path(content_key, "f32"), shape)


@contextlib.contextmanager
def _room_for(shape: tuple[int, ...]) -> Iterator[Path]:
    """The folder of the arrays, with enough free space for one of a shape. Raises QexpError if writing fails."""
    folder, size = cache_folder() / "arrays", 4 * math.prod(shape)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(folder).free) < size:
            raise QexpError(
                f"prepared data take {size / 1e6:.1f} MB, but {folder} has {free / 1e6:.1f} MB left; "
                f"make room, or name another folder with {VARIABLE}"
            )
        yield folder
    except OSError as error:
        raise QexpError(
            f"prepared data cannot be kept in {folder}: {error.strerror or error}; name another folder with {VARIABLE}"
        ) from error


def unused_for(age: timedelta) -> list[Path]:
    """Arrays and notes that were not used for this long."""
    before, unused = time.time() - age.total_seconds(), []
    for path in sorted((cache_folder() / "arrays").glob("*")):
        with contextlib.suppress(FileNotFoundError):  # deleted by another process
            if path.stat().st_mtime < before:
                unused.append(path)
    return unused
