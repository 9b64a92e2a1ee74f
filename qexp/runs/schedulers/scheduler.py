"""The interface of a cluster's scheduler."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from qexp.runs.record.directory import RunDirectory
    from qexp.runs.record.state import State
    from qexp.runs.schedulers.options import Acceptor


@dataclass(frozen=True)
class Submission:
    """What the jobs of a launch have in common.

    folder   folder of the launch, for scripts and their output
    name     name of the launch, shown in the scheduler's own lists
    options  as `launch_options` returns them
    at_most  how many jobs may run at a time; None for any number
    """

    folder: Path
    name: str
    options: Mapping[str, Any]
    at_most: int | None = None


class Scheduler(Protocol):
    """Starts submitted jobs when resources allow, and reports their states for some time after their end.

    A job has a text as its id. Jobs have the states of runs; a cancelled job is interrupted.
    """

    @property
    def options(self) -> Mapping[str, Acceptor]:
        """Key → accepted values, in qexp.toml and after --option."""

    def submit(self, submission: Submission, runs: Sequence[RunDirectory], device: str = "auto") -> dict[str, str]:
        """Submit prepared runs, each to be started by `python -m qexp execute DIR --device DEVICE`. Returns run → job.

        If the options contain a wrap, its `arguments` are added to that command, which then calls it.
        Raises SchedulerError if the scheduler refuses; jobs accepted by then are cancelled.
        """

    def submit_commands(self, submission: Submission, commands: Sequence[Sequence[str]]) -> list[str]:
        """Submit commands other than runs. Returns a job for each; their output goes to `submission.folder / "output"`.

        Raises SchedulerError if the scheduler refuses; jobs accepted by then are cancelled.
        """

    def states(self, jobs: Iterable[str]) -> dict[str, State]:
        """Job → current state; jobs that the scheduler no longer lists are left out.

        Raises SchedulerError if it does not answer, QexpError if it cannot be reached from this machine.
        """

    def cancel(self, jobs: Collection[str]) -> dict[str, State]:
        """Cancel jobs that wait or run; jobs that have ended are left alone.

        A run must get SIGTERM and the time to write a checkpoint.
        Returns job → INTERRUPTED for jobs that had not started, as no process will record their end.
        """

    def this_job(self) -> tuple[str, str | None] | None:
        """The job of this process and the name of its cluster, if known.

        None if this process is not a job of this scheduler.
        """

    def cluster(self) -> str | None:
        """The name of the cluster that can be reached from this machine; None if there is none or it is unnamed."""
