"""What state a run is in at this moment, whatever its record claims."""

from __future__ import annotations

from typing import Final, Literal

from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.heartbeat import fresh
from qexp.runs.record.process import alive
from qexp.runs.record.record import AttemptRecord
from qexp.runs.record.state import State

FORGOTTEN: Final = "forgotten"
"""What a scheduler that answers says of a job that it does not know any more."""

Report = State | Literal["forgotten"]
"""What the launcher of a run says of it."""

SECONDS_ACROSS_A_NETWORK = 60.0
"""What a compute node has written may take so long to be seen here."""


def state_now(
    directory: RunDirectory, state: State, attempt: AttemptRecord | None, report: Report | None = None
) -> State:
    """The state that a record claims, if it can be believed: a run whose process is gone is lost.

    attempt  the last one, if its process has not written that it ended
    report   what its launcher says of it now; None if none was asked
    """
    said = report if isinstance(report, State) else None
    if state is State.INTERRUPTED and said in (State.QUEUED, State.TIMEOUT, State.PREEMPTED):
        return said  # the process knows that it was stopped, but not why, nor whether it will be started again
    if not state.unfinished:
        return state
    if said is State.DONE:
        return state if _heard_just_now(directory) else State.LOST
    if said is not None:
        return said
    if attempt is None:
        return State.LOST if report == FORGOTTEN and not _heard_just_now(directory) else state
    heartbeat = directory.attempt(attempt.number) / "heartbeat"
    return state if alive(attempt.process, heartbeat) else State.LOST


def _heard_just_now(directory: RunDirectory) -> bool:
    """Whether an attempt, maybe one that the record does not show here yet, was alive a minute ago."""
    return any(fresh(one, SECONDS_ACROSS_A_NETWORK) for one in directory.path.glob("attempts/*/heartbeat"))
