"""The states of a run."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """What a run is doing, or how it ended; JSON holds the value as text."""

    CREATED = "created"
    """It is prepared, and has not started."""
    QUEUED = "queued"
    """It waits in a pool or in the queue of a scheduler."""
    RUNNING = "running"
    """A process is working on it."""
    DONE = "done"
    """Its process ended successfully, and the results are complete."""
    FAILED = "failed"
    """It ended with an error, which `qexp logs` shows."""
    TIMEOUT = "timeout"
    """Its time limit ended it; `--resume` continues it."""
    OUT_OF_MEMORY = "out_of_memory"
    """It needed more memory than it may use."""
    PREEMPTED = "preempted"
    """The scheduler took its place for other work; `--resume` continues it."""
    INTERRUPTED = "interrupted"
    """A signal, Ctrl-C or `qexp stop` ended it; `--resume` continues it."""
    LOST = "lost"
    """Its process disappeared without a word; `--resume` continues it."""
    DAMAGED = "damaged"
    """Its record cannot be read."""
    GONE = "gone"
    """The run has no record; never the state of a listed run."""

    @property
    def unfinished(self) -> bool:
        """Whether the run has not ended yet."""
        return self in _UNFINISHED

    @property
    def at_work(self) -> bool:
        """Whether a process or a scheduler is working on the run, or will be."""
        return self in _AT_WORK

    @property
    def resumable(self) -> bool:
        """Whether the run was cut short by an outside cause, so that `--resume` continues it."""
        return self in _RESUMABLE

    @property
    def without_result(self) -> bool:
        """Whether the run ended without a result, so that `--only-failed` repeats it."""
        return self in _WITHOUT_RESULT

    @property
    def open_ended(self) -> bool:
        """Whether the scheduler or the process may know a later state than the record.

        An interrupted run may be restarted by its scheduler.
        """
        return self in _OPEN_ENDED

    @property
    def readable(self) -> bool:
        """Whether the run has a readable record."""
        return self not in _UNREADABLE

    @property
    def words(self) -> str:
        """The state as words in a sentence: `out of memory`."""
        return self.value.replace("_", " ")


_AT_WORK = frozenset((State.QUEUED, State.RUNNING))
_UNFINISHED = _AT_WORK | {State.CREATED}
_OPEN_ENDED = _UNFINISHED | {State.INTERRUPTED}
_RESUMABLE = frozenset((State.INTERRUPTED, State.PREEMPTED, State.TIMEOUT, State.LOST))
_WITHOUT_RESULT = _RESUMABLE | {State.FAILED, State.OUT_OF_MEMORY}
_UNREADABLE = frozenset((State.DAMAGED, State.GONE))

LISTED = tuple(state for state in State if state is not State.GONE)
"""The states in which runs are listed."""

WRITTEN = tuple(state for state in State if state not in _UNREADABLE)
"""The states that a record may hold."""
