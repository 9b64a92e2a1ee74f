"""The file of the catalog: replaced atomically, changed under a lock, read without one."""

from __future__ import annotations

import re
import zlib
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
"""Seconds a listing waits for another process before it continues without updating the file."""


FORM = 2
"""Version of the rows' form; a catalog with another version is rebuilt."""

HEAD = re.compile(rb'\{"written":\{"1":\{"form":(\d+),"crc32":(\d+)\}\}[,}]')
"""Beginning of the file: a table of one row with the checksum of the rest."""


class LockedStorage(Storage):
    """TinyDB's storage as one file that is replaced atomically, changed only under a lock, and read without one.

    TinyDB reads and writes in separate calls; `transaction` holds the lock around all of them. A checksum proves that
    this class wrote the file, so that its rows need not be checked one by one.
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
                        files.write_bytes(self._path, _with_head(self._pending))
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
        """The tables in the file; empty if another version of qexp wrote rows of another form."""
        try:
            content = files.read_bytes(self._path)
        except FileNotFoundError:
            return {}
        head = HEAD.match(content)
        if head is None or int(head[1]) != FORM:
            _require_tables(self._path, content)
            return {}
        if int(head[2]) != zlib.crc32(memoryview(content)[head.end() :]):
            raise DamagedError(f"{self._path} is damaged: its content does not match its checksum")
        data: dict[str, dict[str, Any]] = orjson.loads(content)
        del data["written"]
        return data


def _with_head(tables: dict[str, dict[str, Any]]) -> bytes:
    body = orjson.dumps(tables)[1:]
    return b'{"written":{"1":{"form":%d,"crc32":%d}}' % (FORM, zlib.crc32(body)) + b"," * (body != b"}") + body


def _require_tables(path: Path, content: bytes) -> None:
    """Raise DamagedError unless the content has the form of a catalog."""
    try:
        tables = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise DamagedError(f"{path} is damaged: {error}") from None
    rows = tables.get("runs", {}) if isinstance(tables, dict) else None
    if not isinstance(rows, dict) or not all(isinstance(row, dict) and "summary" in row for row in rows.values()):
        raise DamagedError(f"{path} is damaged: it is not a table of runs")
