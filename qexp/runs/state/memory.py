"""What was learned of a launch's jobs is kept in its folder: schedulers forget jobs some time after their end."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from qexp import files
from qexp.errors import DamagedError, QexpError
from qexp.locks import locked
from qexp.runs.schedulers.scheduler import PASSING

LOCK_SECONDS = 60.0
"""Who has waited so long for others that write gives up; what is not kept now can be asked again."""


def remember(folder: Path, states: Mapping[str, str]) -> None:
    """Keep the states of jobs. Those that wait or run are not kept; a job that was requeued is forgotten again."""
    if _merged(remembered(folder), states) == remembered(folder):
        return
    # Whoever may only read asks again the next time.
    with suppress(OSError, QexpError), locked(folder / "states.json", LOCK_SECONDS):
        files.write_json(folder / "states.json", _merged(remembered(folder), states))


def remembered(folder: Path) -> dict[str, str]:
    """Job → its last known state. What cannot be read can be asked again."""
    try:
        states = files.read_json(folder / "states.json")
    except (FileNotFoundError, DamagedError):
        return {}
    return {job: state for job, state in states.items() if isinstance(state, str)} if isinstance(states, dict) else {}


def _merged(known: Mapping[str, str], states: Mapping[str, str]) -> dict[str, str]:
    return {job: state for job, state in {**known, **states}.items() if state not in PASSING}
