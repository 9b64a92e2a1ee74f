"""Slurm as a launcher: runs are tasks of job arrays."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from qexp.runs.schedulers.slurm.options import OPTIONS

if TYPE_CHECKING:
    from qexp.runs.record.directory import RunDirectory
    from qexp.runs.record.state import State
    from qexp.runs.schedulers.options import Acceptor
    from qexp.runs.schedulers.scheduler import Submission


class Slurm:
    """Implements `Scheduler`; a job is a task of an array, such as `123_4`.

    Modules are imported inside the methods, because every `qexp --help` reads the table of launchers.
    """

    options: Mapping[str, Acceptor] = OPTIONS

    def submit(self, submission: Submission, runs: Sequence[RunDirectory], device: str = "auto") -> dict[str, str]:
        from qexp.runs.schedulers.slurm import arrays

        return arrays.submit(submission, runs, device)

    def submit_commands(self, submission: Submission, commands: Sequence[Sequence[str]]) -> list[str]:
        from qexp.runs.schedulers.slurm import arrays

        return arrays.submit_commands(submission, commands)

    def states(self, jobs: Iterable[str]) -> dict[str, State]:
        from qexp.runs.schedulers.slurm import jobs as tasks

        return tasks.states(jobs)

    def cancel(self, jobs: Collection[str]) -> dict[str, State]:
        from qexp.runs.schedulers.slurm import jobs as tasks

        return tasks.cancel(list(jobs))

    def this_job(self) -> tuple[str, str | None] | None:
        from qexp.runs.schedulers.slurm import jobs as tasks

        return tasks.this_job()

    def cluster(self) -> str | None:
        from qexp.runs.schedulers.slurm import programs

        return programs.cluster()
