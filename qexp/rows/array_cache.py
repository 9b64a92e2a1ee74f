"""A cache of prepared arrays in files, which are mapped into memory.

The name of a file is a hash of everything it was made from: other data, another spec or another
version of this code gives another file. The cache can be deleted at any time.
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

THOROUGHLY = "QEXP_CACHE_CHECK"
"""Environment variable: whether hashes of arrays are checked before use, as by `verify`."""

ARRAY, NOTE = "f32", "note"
"""Endings of files."""

MAPPED_AT_ONCE = 64 * 2**20
"""Bytes that are read before mapped memory is returned to the system."""


def cache_folder() -> Path:
    """The folder of the cache: `QEXP_CACHE`, else qexp/ in the user's cache folder."""
    folder = os.environ.get(VARIABLE)
    if folder:
        return Path(folder).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qexp"


def content_hash(path: Path) -> str:
    """SHA-256 of a file in hexadecimal, cached until its size, time of change or inode changes."""
    key = ("content", *file_state(path))
    known = note(key)
    if known is not None:
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
    return _read_note(_path(key, NOTE))


def _read_note(path: Path) -> dict[str, Any] | None:
    with contextlib.suppress(OSError, QexpError):
        digest, _, content = files.read_bytes(path).partition(b"\n")
        # else it is damaged, or of an older version
        if hashlib.sha256(content).hexdigest().encode() == digest:
            os.utime(path)  # for `unused_for`
            document: dict[str, Any] = json.loads(content)
            return document
    return None


def keep_note(key: Sequence[Any], document: dict[str, Any]) -> None:
    """Store a JSON document under a key; a folder that cannot be written to is no error."""
    _write_note(_path(key, NOTE), document)


def _write_note(path: Path, document: dict[str, Any]) -> None:
    with contextlib.suppress(OSError, QexpError):
        path.parent.mkdir(parents=True, exist_ok=True)
        content = formats.json_bytes(document)
        path.unlink(missing_ok=True)  # it may be a pipe
        # What is cut off has another hash, so that nothing need be synced.
        path.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def _path(key: Sequence[Any], suffix: str) -> Path:
    name = hashlib.sha256(json.dumps(list(key)).encode()).hexdigest()
    return cache_folder() / "arrays" / f"{name}.{suffix}"


MAPPED_AROUND = 2**16
"""Bytes that the system maps at once around a byte that is read."""


class CachedArray:
    """A file of the cache with an array in single precision; only accessed parts are read."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.path = path
        self.shape = shape
        self._read = 0

    @cached_property
    def _map(self) -> mmap.mmap:
        with self.path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    @cached_property
    def values(self) -> Array:
        return np.frombuffer(self._map, dtype=np.float32).reshape(self.shape)

    def note_read(self, count: int) -> None:
        """Count bytes that were read; from time to time mapped memory is returned, so that it does
        not grow.

        The system keeps the content in its file cache while it has free memory.
        """
        self._read += count
        if self._read > MAPPED_AT_ONCE:
            self._map.madvise(mmap.MADV_DONTNEED)
            self._read = 0


def find(key: Sequence[Any], shape: tuple[int, ...]) -> CachedArray | None:
    """The array of a key, or None if it is not in the cache."""
    array = CachedArray(_path(key, ARRAY), shape)
    return array if _is_whole(array.path, 4 * math.prod(shape)) else None


def _is_whole(path: Path, size: int | None = None, thoroughly: bool = False) -> bool:
    """Whether an array is as it was written: of that size and time, else of that hash.

    thoroughly  whether its hash is compared in any case
    """
    if not path.is_file() or (size is not None and path.stat().st_size != size):
        return False
    about = _read_note(_note_of(path))
    state = list(file_state(path)[1:])
    if about is None:
        return False
    if about["state"] == state and not (thoroughly or os.environ.get(THOROUGHLY)):
        return True
    is_whole = files.sha256_of(path) == str(about["sha256"])
    if is_whole and about["state"] != state:
        _write_note(_note_of(path), {**about, "state": state})
    return is_whole


def _note_of(path: Path) -> Path:
    """What is known of an array; the time of that file is when the array was last used."""
    return path.with_name(f"{path.name}.{NOTE}")


def damaged() -> Iterator[Path]:
    """Arrays that are not what was written; they are made anew where they are needed."""
    with contextlib.suppress(PermissionError):  # it belongs to another user
        for path in sorted((cache_folder() / "arrays").glob(f"*.{ARRAY}")):
            if _note_of(path).exists() and not _is_whole(path, thoroughly=True):
                yield path


def cached_by_content(
    shape: tuple[int, ...], blocks: Iterable[Array], key: Callable[[], Sequence[Any]]
) -> CachedArray:
    """The array of a key that is known only after all blocks were read; an existing file of that
    key is kept.

    Raises QexpError if it cannot be written.
    """
    with _room_for(shape) as folder:
        # an abandoned one is purged, too
        handle, name = tempfile.mkstemp(prefix=".", suffix=".f32", dir=folder)
        draft = Path(name)
        digest = hashlib.sha256()
        try:
            with os.fdopen(handle, "wb") as file:
                for block in blocks:
                    numbers = np.ascontiguousarray(block, dtype=np.float32).data
                    file.write(numbers)
                    digest.update(numbers)
                content_key = key()
                array = find(content_key, shape)
                if array is not None:
                    return array
                file.flush()
                os.fsync(file.fileno())
            draft.chmod(0o644)
            about = {"sha256": digest.hexdigest(), "state": file_state(draft)[1:]}
            path = _path(content_key, ARRAY)
            draft.replace(path)
            _write_note(_note_of(path), about)
        finally:
            draft.unlink(missing_ok=True)
    return CachedArray(path, shape)


@contextlib.contextmanager
def _room_for(shape: tuple[int, ...]) -> Iterator[Path]:
    """The folder of arrays, with room for one of a shape. Raises QexpError if writing fails."""
    folder = cache_folder() / "arrays"
    size = 4 * math.prod(shape)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < size:
            raise QexpError(
                f"prepared data take {size / 1e6:.1f} MB, but {folder} has {free / 1e6:.1f} MB"
                f" left; make room, or name another folder with {VARIABLE}"
            )
        yield folder
    except OSError as error:
        raise QexpError(
            f"prepared data cannot be kept in {folder}: {error.strerror or error}; name another"
            f" folder with {VARIABLE}"
        ) from error


def unused_for(age: timedelta) -> list[Path]:
    """Arrays and notes that were not used for this long."""
    limit = time.time() - age.total_seconds()
    unused = []
    for path in sorted((cache_folder() / "arrays").glob("*")):
        with contextlib.suppress(FileNotFoundError):  # deleted by another process
            note_of = _note_of(path)
            if (note_of if note_of.exists() else path).stat().st_mtime < limit:
                unused.append(path)
    return unused
