"""The search's memory: Optuna's journal, in a file of the search's folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from qexp.base.files import locked, whole_line

SECONDS = 60.0
"""How long a process waits for others that write."""

LONGEST = 2**20
"""Bytes at the end of the file in which a torn entry begins."""


class JournalFile(BaseJournalBackend):
    """A journal that several processes and machines append to, and that a kill or a full disk cannot damage.

    Optuna's own backend appends to a line that was torn when its writer was killed, and can read nothing after that.
    Here the next writer cuts it off: who wrote it was never told that it is there. A killed process does not keep the
    lock.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read = 0, 0
        """Number of entries read before, and of their bytes."""

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        number, offset = self._read if self._read[0] <= log_number_from else (0, 0)
        entries = []
        with suppress(FileNotFoundError), self._file.open("rb") as file:
            file.seek(offset)
            for line in file:
                if (entry := whole_line(line)) is None:
                    break
                if number >= log_number_from:
                    entries.append(entry)
                number, offset = number + 1, offset + len(line)
        self._read = number, offset
        return entries

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with locked(self._file, SECONDS), self._file.open("a+b") as file:
            size = file.seek(0, os.SEEK_END)
            start = file.seek(max(0, size - LONGEST))
            whole = start + file.read().rfind(b"\n") + 1
            if whole < size:
                file.truncate(whole)
            try:
                file.write("".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode())
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                file.truncate(whole)
                raise
