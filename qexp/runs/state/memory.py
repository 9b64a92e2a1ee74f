"""What was learned of a launch's jobs is kept in its folder: schedulers forget jobs some time after their end."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from qexp import files
from qexp.errors import DamagedError, QexpError
from qexp.locks import locked
from qexp.runs.record.state import WRITTEN, State

LOCK_SECONDS = 60.0
"""Who has waited so long for others that write gives up; what is not kept now can be asked again."""


def remember(folder: Path, states: Mapping[str, State]) -> None:
    """Keep the states of jobs. Those that wait or run are not kept; a job that was requeued is forgotten again."""
    if _merged(remembered(folder), states) == remembered(folder):
        return
    # Whoever may only read asks again the next time.
    with suppress(OSError, QexpError), locked(folder / "states.json", LOCK_SECONDS):
        files.write_json(folder / "states.json", _merged(remembered(folder), states))


def remembered(folder: Path) -> dict[str, State]:
    """Job → its last known state. What cannot be read can be asked again."""
    try:
        states = files.read_json(folder / "states.json")
    except (FileNotFoundError, DamagedError):
        return {}
    known = states.items() if isinstance(states, dict) else ()
    return {job: State(state) for job, state in known if isinstance(state, str) and state in WRITTEN}


def _merged(known: Mapping[str, State], states: Mapping[str, State]) -> dict[str, State]:
    return {job: state for job, state in {**known, **states}.items() if not state.at_work}
