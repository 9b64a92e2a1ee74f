"""Reuse of predicted files: a file that the same run made from the same data is left as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from qexp import clocks, files
from qexp.analysis.prediction.draws import Draws, file_of_draws
from qexp.errors import DamagedError, QexpError

STALE_SECONDS = 3600.0
"""Seconds without growth after which a half-written file counts as left by a dead process."""


def identity(path: Path) -> dict[str, Any]:
    """Name, size and time of a file, which change with its content; found without reading it."""
    status = path.stat()
    return {"name": path.name, "bytes": status.st_size, "modified": status.st_mtime_ns}


def key_of(
    origin: Mapping[str, str],
    source: Any,
    *,
    columns: Mapping[str, str] | None = None,
    interval: float | None = None,
    misfit: bool = False,
    draws: Draws | None = None,
    refined: bool = False,
) -> dict[str, Any]:
    """What a predicted file is made from.

    origin    the run
    source    the `identity` of what is read
    columns   its names of the run's columns, if they are others
    interval  the coverage of intervals, if there are any
    misfit    whether there are p-values
    draws     from posteriors, in the file beside it, if there are any
    refined   whether posteriors are those of the known likelihood
    """
    asked = {
        "columns": columns,
        "interval": interval,
        "misfit": misfit or None,
        "draws": draws and draws.count,
        "refined": refined or None,
    }
    return {"origin": dict(origin), "input": source, **{name: one for name, one in asked.items() if one is not None}}


def write_record(target: Path, key: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write the record of a predicted file beside it: `<file>.json`.

    key    see `key_of`
    about  further entries
    """
    files.write_json(_record_of(target), {**key, "output": identity(target), **about})


def reusable(source: Path, target: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of an existing file that was made from the same run and input; None if it or its draws are missing.

    Raises QexpError if the file was made otherwise or was changed.
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
    elif record.get("columns") != key.get("columns"):
        reason = "and was made from other columns; see --columns"
    elif record.get("refined") != key.get("refined"):
        reason = "and was made with posteriors of another kind, or without any; see --refined"
    elif record.get("interval") != key.get("interval"):
        reason = "and was made with other intervals, or without any; see --interval"
    elif record.get("draws") != key.get("draws"):
        reason = "and was made with another number of draws, or without any; see --draws"
    elif key.get("misfit") and not record.get("misfit"):
        reason = "and was made without --misfit"
    elif record.get("output") != identity(target):
        reason = "and was changed since it was made"
    else:
        return record if "draws" not in key or file_of_draws(target).exists() else None
    raise QexpError(f"{target} exists already, {reason}; --overwrite replaces it")


def clear(target: Path) -> None:
    """Delete half-written versions of this file that killed processes left."""
    half_written = re.compile(rf"\.{re.escape(target.name)}\.[a-z0-9_]{{8}}{re.escape(target.suffix)}")
    with suppress(OSError):  # leftovers do no harm
        for path in target.absolute().parent.iterdir():
            if half_written.fullmatch(path.name) and clocks.age(path) > STALE_SECONDS:
                path.unlink()


def _record_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")
