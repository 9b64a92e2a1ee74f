"""The queue of a workspace: a launch of this machine that takes further runs while its pool works,
in an order that can be changed.

The order is that of `runs` in `launch.json`. Whether a run waits, and who starts it, say its record
and its turn, as in every launch. Once all runs have ended, the next ones begin another queue.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from qexp.base.files import locked, make_folder
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError, NotFoundError, QexpError
from qexp.jobs.launchers import LOCK_SECONDS, Launch, all_launches
from qexp.jobs.scheduler import together
from qexp.jobs.states import SECONDS_TO_START, Watch
from qexp.store.directory import RunDirectory
from qexp.store.process import fresh
from qexp.store.record import State

SECONDS_BETWEEN_LOOKS = 0.25
"""Seconds between two looks at progress and signals; the end of a run is noticed at once."""


def queue_of(workspace: Workspace) -> Launch | None:
    """The newest queue, unless all of its runs have ended."""
    for launch in reversed(all_launches(workspace)):
        if launch.is_queue:
            return launch if states_in(launch) else None
    return None


@contextmanager
def changing(workspace: Workspace) -> Iterator[Launch | None]:
    """The queue, which no other process fills or orders until the block ends."""
    make_folder(workspace.runs / ".launches")
    with locked(workspace.runs / ".launches" / "queue", LOCK_SECONDS):
        yield queue_of(workspace)


def states_in(queue: Launch) -> dict[RunDirectory, State]:
    """The runs at work, and then those that wait, in order."""
    there = dict[RunDirectory, State]()
    for run, state in Watch().states(queue.directories).items():
        with suppress(NotFoundError, DamagedError):  # it was removed in the meantime
            if state.unfinished and run.record().launch == queue.id:
                there[run] = state
    return there


def waiting_in(queue: Launch) -> list[RunDirectory]:
    """The runs that no process was started for, in order."""
    return [run for run in states_in(queue) if not queue.turn_file(run.name).exists()]


def next_in(queue: Launch, jobs: int) -> list[RunDirectory]:
    """The runs of the next process, once one has ended; none if there are no more for a pool of so
    many processes.
    """
    while queue.record().settings["jobs"] == jobs:
        time.sleep(SECONDS_BETWEEN_LOOKS)  # also between two tries to start one on a full disk
        waiting = waiting_in(queue)
        at_work = list[RunDirectory]()  # also in processes of a pool that was killed
        for run, state in states_in(queue).items():
            if state is State.RUNNING or fresh(queue.turn_file(run.name), SECONDS_TO_START):
                at_work.append(run)
        if not waiting and not at_work:
            break
        if waiting and len(together(at_work)) < jobs:
            return together(waiting)[0]
    return []


def move(queue: Launch, runs: Sequence[RunDirectory], position: str) -> None:
    """Put waiting runs first, last, or at a place from 1 on. Raises QexpError for others."""
    waiting = waiting_in(queue)
    for run in runs:
        if run not in waiting:
            state = Watch().state(run).words
            raise QexpError(f"{run.name} does not wait in the queue: it is {state}")
    others = [run for run in waiting if run not in runs]
    place = {"first": 0, "last": len(others)}.get(position)
    place = int(position) - 1 if place is None else place
    order = [run.name for run in (*others[:place], *runs, *others[place:])]
    started = [name for name in queue.record().runs if name not in order]
    queue.rewrite(runs=(*started, *order))
