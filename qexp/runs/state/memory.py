"""Final states of a launch's jobs, stored in its folder: schedulers forget jobs some time after their end."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from qexp import files
from qexp.errors import DamagedError, QexpError
from qexp.locks import locked
from qexp.runs.record.state import WRITTEN, State

LOCK_SECONDS = 60.0
"""Seconds to wait for other writers before giving up; states that are not stored can be queried again."""


def remember(folder: Path, states: Mapping[str, State]) -> None:
    """Store the final states of jobs; a job that waits or runs (again) is removed from the file."""
    if _merged(remembered(folder), states) == remembered(folder):
        return
    # A user without write permission queries the scheduler again next time.
    with suppress(OSError, QexpError), locked(folder / "states.json", LOCK_SECONDS):
        files.write_json(folder / "states.json", _merged(remembered(folder), states))


def remembered(folder: Path) -> dict[str, State]:
    """Job → its stored state; empty if the file cannot be read, as the states can be queried again."""
    try:
        states = files.read_json(folder / "states.json")
    except (FileNotFoundError, DamagedError):
        return {}
    known = states.items() if isinstance(states, dict) else ()
    return {job: State(state) for job, state in known if isinstance(state, str) and state in WRITTEN}


def _merged(known: Mapping[str, State], states: Mapping[str, State]) -> dict[str, State]:
    return {job: state for job, state in {**known, **states}.items() if not state.at_work}
