"""What a scheduler of a cluster must be able to do, so that runs can be handed to it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from qexp.runs.record.directory import RunDirectory
    from qexp.runs.record.state import State
    from qexp.runs.schedulers.options import Option


class Scheduler(Protocol):
    """Starts what is submitted to it when it can, and knows for some time what became of it.

    A job is named by a text. The states of jobs are those of runs; one that was cancelled is interrupted.
    """

    @property
    def options(self) -> Mapping[str, Option]:
        """Key → what may be given for it, in qexp.toml and after --option."""

    def submit(
        self,
        folder: Path,
        runs: Sequence[RunDirectory],
        options: Mapping[str, Any],
        at_most: int | None,
        name: str,
        device: str = "auto",
    ) -> dict[str, str]:
        """Submit prepared runs, each to be started by `python -m qexp execute DIR --device DEVICE`. Returns run → job.

        folder   of the launch, for scripts and what they print
        options  as `chosen` returns them
        at_most  how many may run at a time; None for any number
        name     of the launch, for people who look at the scheduler's own lists
        Raises SchedulerError if the scheduler refuses; what it had accepted by then is cancelled.
        """

    def submit_commands(
        self,
        folder: Path,
        commands: Sequence[Sequence[str]],
        options: Mapping[str, Any],
        at_most: int | None,
        name: str,
    ) -> list[str]:
        """Submit commands that are no runs. Returns a job for each; what they print goes to `folder / "output"`.

        Raises SchedulerError if the scheduler refuses; what it had accepted by then is cancelled.
        """

    def states(self, jobs: Iterable[str]) -> dict[str, State]:
        """Job → state now; jobs that the scheduler has forgotten are left out.

        Raises SchedulerError if it does not answer, QexpError where it cannot be asked from.
        """

    def cancel(self, jobs: Collection[str]) -> dict[str, State]:
        """End jobs that wait or run, and leave alone those that have ended.

        A run must get SIGTERM and the time to write a checkpoint.
        Returns job → INTERRUPTED of those that had not started: no process will write that down.
        """

    def this_job(self) -> tuple[str, str | None] | None:
        """The job as which this process runs, and the name of its cluster if that is known.

        None if it is none of this scheduler's.
        """

    def cluster(self) -> str | None:
        """The name of the cluster that can be asked from here; None if there is none, or it does not say."""
