"""The file of the catalog: replaced atomically, changed under a lock, read without one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from tinydb.storages import Storage

from qexp import files
from qexp.errors import DamagedError, QexpError
from qexp.locks import locked

LOCK_SECONDS = 10.0
"""A listing waits so long for another process, and then goes on without bringing the file up to date."""


class LockedStorage(Storage):
    """TinyDB's storage as one file that is replaced atomically, changed only under a lock, and read without one.

    TinyDB reads and writes in separate calls; `transaction` holds the lock around them all.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pending: dict[str, dict[str, Any]] | None = None
        self._changed = False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        try:
            with locked(self._path, LOCK_SECONDS):
                self._pending, self._changed = self._load(), False
                try:
                    yield
                    if self._changed:
                        files.write_bytes(self._path, orjson.dumps(self._pending))
                finally:
                    self._pending = None
        except OSError as error:
            raise QexpError(f"cannot write {self._path}: {error.strerror or error}") from error

    def read(self) -> dict[str, dict[str, Any]] | None:
        return self._pending if self._pending is not None else self._load()

    def write(self, data: dict[str, dict[str, Any]]) -> None:
        if self._pending is None:
            with self.transaction():
                self._pending, self._changed = data, True
        else:
            self._pending, self._changed = data, True

    def _load(self) -> dict[str, dict[str, Any]]:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise DamagedError(f"{self._path} cannot be read: {error.strerror}") from None
        try:
            data = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise DamagedError(f"{self._path} is damaged: {error}") from None
        if not isinstance(data, dict):
            raise DamagedError(f"{self._path} is damaged: it is no table")
        return data
