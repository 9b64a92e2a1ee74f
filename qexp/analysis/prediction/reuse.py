"""Whether a file of estimates is one that the same run made of the same data, so that it can be left as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from qexp import clocks, files
from qexp.errors import DamagedError, QexpError

STALE_SECONDS = 3600.0
"""A file that is half written and has not grown for so long belongs to a process that is dead."""


def identity(path: Path) -> dict[str, Any]:
    """What tells a file from a changed one without reading gigabytes."""
    told = path.stat()
    return {"name": path.name, "bytes": told.st_size, "modified": told.st_mtime_ns}


def note(target: Path, key: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write a record beside a file that was made: `<file>.json`.

    key    what it was made from: `origin` (the run) and `input`
    about  what else is known of it
    """
    files.write_json(_record_of(target), {**key, "output": identity(target), **about})


def known(source: Path, target: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of a file that was made from the same; None if there is no file.

    Raises QexpError for another file.
    """
    if not target.exists():
        return None
    try:
        record = files.read_json(_record_of(target))
    except (FileNotFoundError, DamagedError):
        record = {}
    if not isinstance(record, dict) or not record:
        reason = "and no record beside it says how it was made"
    elif record.get("origin") != key["origin"]:
        reason = "and was made by another run"
    elif record.get("input") != key["input"]:
        reason = f"and was made before {source} was changed"
    elif record.get("output") != identity(target):
        reason = "and was changed since it was made"
    else:
        return record
    raise QexpError(f"{target} exists already, {reason}; --overwrite replaces it")


def clear(target: Path) -> None:
    """Delete what processes left that were killed while they wrote this file."""
    half_written = re.compile(rf"\.{re.escape(target.name)}\.[a-z0-9_]{{8}}{re.escape(target.suffix)}")
    with suppress(OSError):  # they are in nobody's way
        for path in target.absolute().parent.iterdir():
            if half_written.fullmatch(path.name) and clocks.age(path) > STALE_SECONDS:
                path.unlink()


def _record_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")
