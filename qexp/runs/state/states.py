"""What state a run is in at this moment, whatever its record claims."""

from __future__ import annotations

from typing import Any

from qexp.runs.record.directory import UNFINISHED, RunDirectory
from qexp.runs.record.heartbeat import fresh
from qexp.runs.record.process import alive

FORGOTTEN = "forgotten"
"""What a scheduler that answers says of a job that it does not know any more."""

SECONDS_ACROSS_A_NETWORK = 60.0
"""What a compute node has written may take so long to be seen here."""


def state_now(directory: RunDirectory, state: str, process: dict[str, Any] | None, word: str | None = None) -> str:
    """The state that a record claims, if it can be believed: a run whose process is gone is lost.

    word  what the scheduler says of the run's job now, one of our states or FORGOTTEN; None if none was asked
    """
    if state == "interrupted" and word in ("queued", "timeout", "preempted"):
        return word  # the process knows that it was stopped, but not why, nor whether it will be started again
    if state not in UNFINISHED:
        return state
    if word == "done":
        return state if _heard_just_now(directory) else "lost"
    if word is not None and word != FORGOTTEN:
        return word
    if process is None:
        return "lost" if word == FORGOTTEN and not _heard_just_now(directory) else state
    heartbeat = directory.attempt(process["attempt"]) / "heartbeat"
    return state if alive(process, heartbeat) else "lost"


def process_of(record: dict[str, Any]) -> dict[str, Any] | None:
    """The process of a record's last attempt, if that has not ended."""
    attempts = record.get("attempts") or []
    if not attempts or attempts[-1]["ended"] is not None:
        return None
    return {**attempts[-1]["process"], "attempt": attempts[-1]["number"]}


def _heard_just_now(directory: RunDirectory) -> bool:
    """Whether an attempt, maybe one that the record does not show here yet, was alive a minute ago."""
    return any(fresh(one, SECONDS_ACROSS_A_NETWORK) for one in directory.path.glob("attempts/*/heartbeat"))
