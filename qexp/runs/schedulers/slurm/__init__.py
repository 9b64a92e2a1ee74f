"""Slurm as a launcher: runs are tasks of job arrays."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp.runs.schedulers.slurm.options import OPTIONS

if TYPE_CHECKING:
    from qexp.runs.record.directory import RunDirectory
    from qexp.runs.record.state import State
    from qexp.runs.schedulers.options import Option


class Slurm:
    """Implements `Scheduler`; a job is a task of an array, such as `123_4`.

    Modules are imported inside the methods, because every `qexp --help` reads the table of launchers.
    """

    options: Mapping[str, Option] = OPTIONS

    def submit(
        self,
        folder: Path,
        runs: Sequence[RunDirectory],
        options: Mapping[str, Any],
        at_most: int | None,
        name: str,
        device: str = "auto",
    ) -> dict[str, str]:
        from qexp.runs.schedulers.slurm import submission

        return submission.submit(folder, runs, options, at_most, name, device)

    def submit_commands(
        self,
        folder: Path,
        commands: Sequence[Sequence[str]],
        options: Mapping[str, Any],
        at_most: int | None,
        name: str,
    ) -> list[str]:
        from qexp.runs.schedulers.slurm import submission

        return submission.submit_commands(folder, commands, options, at_most, name)

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
