"""The current state of a run, which can differ from the state in its record."""

from __future__ import annotations

from typing import Final, Literal

from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.heartbeat import fresh
from qexp.runs.record.process import alive
from qexp.runs.record.record import AttemptRecord
from qexp.runs.record.state import State

FORGOTTEN: Final = "forgotten"
"""Report on a job that a reachable scheduler no longer lists."""

Report = State | Literal["forgotten"]
"""The state of a run reported by its launcher."""

SECONDS_ACROSS_A_NETWORK = 60.0
"""Longest delay until a file written on a compute node is visible here."""


def state_now(
    directory: RunDirectory, state: State, attempt: AttemptRecord | None, report: Report | None = None
) -> State:
    """The current state of a run: the state in its record unless its launcher or its process contradict it.

    A run whose process has ended without recording that is lost.
    attempt  the last attempt if its process has not recorded its end
    report   the state reported by its launcher; None if there is no report
    """
    said = report if isinstance(report, State) else None
    if state is State.INTERRUPTED and said in (State.QUEUED, State.TIMEOUT, State.PREEMPTED):
        return said  # the process knows that it was stopped, but neither why nor whether it will be restarted
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
    """Whether an attempt, possibly one not yet visible in the record here, was alive within the last minute."""
    return any(fresh(one, SECONDS_ACROSS_A_NETWORK) for one in directory.path.glob("attempts/*/heartbeat"))
