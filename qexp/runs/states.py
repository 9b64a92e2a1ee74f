"""What state a run is in at this moment, whatever its record claims."""

from __future__ import annotations

from typing import Any

from qexp.runs.directory import UNFINISHED, RunDirectory
from qexp.runs.process import alive


def state_now(directory: RunDirectory, state: str, process: dict[str, Any] | None) -> str:
    """The state that a record claims, if it can be believed: a run whose process is gone is lost."""
    if state not in UNFINISHED or process is None:
        return state
    heartbeat = directory.attempt(process["attempt"]) / "heartbeat"
    return state if alive(process, heartbeat) else "lost"


def process_of(record: dict[str, Any]) -> dict[str, Any] | None:
    """The process of a record's last attempt, if that has not ended."""
    attempts = record.get("attempts") or []
    if not attempts or attempts[-1]["ended"] is not None:
        return None
    return {**attempts[-1]["process"], "attempt": attempts[-1]["number"]}
