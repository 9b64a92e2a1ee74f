"""What state a run is in at this moment, whatever its record claims."""

from __future__ import annotations

import time
from contextlib import suppress

from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.process import alive
from qexp.runs.record.record import AttemptRecord
from qexp.runs.record.state import State

FORGOTTEN = "forgotten"
"""What a scheduler that answers says of a job that it does not know any more."""

SECONDS_ACROSS_A_NETWORK = 60.0
"""What a compute node has written may take so long to be seen here."""


def state_now(directory: RunDirectory, state: State, attempt: AttemptRecord | None, word: str | None = None) -> State:
    """The state that a record claims, if it can be believed: a run whose process is gone is lost.

    attempt  the last one, if its process has not written that it ended
    word     what the scheduler says of the run's job now, one of our states or FORGOTTEN; None if none was asked
    """
    said = None if word in (None, FORGOTTEN) else State(word)
    if state is State.INTERRUPTED and said in (State.QUEUED, State.TIMEOUT, State.PREEMPTED):
        return said  # the process knows that it was stopped, but not why, nor whether it will be started again
    if not state.unfinished:
        return state
    if said is State.DONE:
        return state if _heard_just_now(directory) else State.LOST
    if said is not None:
        return said
    if attempt is None:
        return State.LOST if word == FORGOTTEN and not _heard_just_now(directory) else state
    heartbeat = directory.attempt(attempt.number) / "heartbeat"
    return state if alive(attempt.process, heartbeat) else State.LOST


def _heard_just_now(directory: RunDirectory) -> bool:
    """Whether an attempt, maybe one that the record does not show here yet, was alive a minute ago."""
    for heartbeat in directory.path.glob("attempts/*/heartbeat"):
        with suppress(FileNotFoundError):
            if time.time() - heartbeat.stat().st_mtime < SECONDS_ACROSS_A_NETWORK:
                return True
    return False
