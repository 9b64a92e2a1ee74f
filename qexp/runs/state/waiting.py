"""Waiting for runs to end; only the records of these runs are read."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence

from qexp import clocks
from qexp.errors import DamagedError, NotFoundError, QexpError
from qexp.files import real_path
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.state import State
from qexp.runs.state.jobs import Reports, jobs_of
from qexp.runs.state.states import state_now

SECONDS_TO_START = 20.0
"""Seconds after which a prepared run that has not started counts as abandoned: a run normally starts at once."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds between two checks; short at first, for runs that end soon."""


class Watch:
    """The current states of runs, for repeated queries."""

    def __init__(self) -> None:
        self._reports = Reports()

    def states(self, directories: Sequence[RunDirectory]) -> dict[RunDirectory, State]:
        """Run → its current state; GONE without a record, DAMAGED if the record cannot be read."""
        records, unread = {}, {}
        for directory in directories:
            try:
                records[directory] = directory.record()
            except NotFoundError:
                unread[directory] = State.GONE
            except DamagedError:
                unread[directory] = State.DAMAGED
        words = self._reports.words(jobs_of(records))
        states = {
            directory: state_now(directory, record.state, record.open_attempt, words.get(directory))
            for directory, record in records.items()
        }
        return {directory: (states | unread)[directory] for directory in directories}

    def state(self, directory: RunDirectory) -> State:
        return self.states([directory])[directory]


def endings(directories: Iterable[RunDirectory], timeout: float | None = None) -> Iterator[tuple[RunDirectory, State]]:
    """Each run with its state when it has ended, or as CREATED if it was prepared but never started.

    Raises QexpError after a timeout, naming those that have not ended.
    """
    watch = Watch()
    left = list({real_path(directory.path): directory for directory in directories}.values())
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    pause = FIRST_PAUSE
    while True:
        states = watch.states(left)
        ended = [directory for directory, state in states.items() if not state.unfinished or _left(directory, state)]
        yield from ((directory, states[directory]) for directory in ended)
        left = [directory for directory in left if directory not in ended]
        if not left:
            return
        remaining = deadline - time.monotonic()
        if not remaining > 0:
            unfinished = ", ".join(f"{directory.name} ({states[directory]})" for directory in left)
            raise QexpError(f"after {timeout:g} s not yet ended: {unfinished}")
        time.sleep(min(pause, remaining))
        pause = min(1.5 * pause, LONGEST_PAUSE)


def _left(directory: RunDirectory, state: State) -> bool:
    """Whether a run was prepared more than `SECONDS_TO_START` ago and has not been started."""
    if state is not State.CREATED:
        return False
    try:
        return clocks.age(directory.record_file) > SECONDS_TO_START
    except OSError:
        return False
