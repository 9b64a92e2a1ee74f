"""A small scheduler, as somebody might add one: a folder for each job, and shells that start one
job after the other.

`python -m tests.runs.spool COMMAND...` is `qexp COMMAND...` where the table of launchers has a line
for it.
"""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from qexp.jobs.launchers import LAUNCHERS
from qexp.jobs.scheduler import Option, Submission
from qexp.store.directory import RunDirectory
from qexp.store.record import State
from tests.runs.conftest import until

SHELL = """
for job; do
    mkdir "$job/turn" 2> /dev/null || continue  # it was cancelled
    SPOOL_JOB=$job sh -c "exec $(cat "$job/command")" > "$job/output" 2>&1 &
    echo $! > "$job/new" && mv "$job/new" "$job/pid"
    wait $!
    echo $? > "$job/new" && mv "$job/new" "$job/code"
done
"""

ENDS = {"0": State.DONE, "130": State.INTERRUPTED}
"""Exit code → state; all others are failures."""


class Spool:
    """See `Scheduler`; a job is the path of its folder."""

    options: Mapping[str, Option] = {"nice": Option(r"1?\d", "a number from 0 to 19", default="0")}

    def submit(
        self, submission: Submission, runs: Sequence[RunDirectory], device: str = "auto"
    ) -> dict[str, str]:
        start = [sys.executable, "-m", "tests.runs.spool", "execute", "--device", device]
        commands = [[*start, str(run.path)] for run in runs]
        jobs = self.submit_commands(submission, commands)
        return {run.name: job for run, job in zip(runs, jobs, strict=True)}

    def submit_commands(
        self, submission: Submission, commands: Sequence[Sequence[str]]
    ) -> list[str]:
        jobs = [submission.folder / "spool" / str(number) for number in range(len(commands))]
        for job, command in zip(jobs, commands, strict=True):
            job.mkdir(parents=True)
            (job / "command").write_text(shlex.join(command))
        shells = submission.at_most or len(jobs)
        for first in range(shells):
            subprocess.Popen(
                [
                    "nohup",
                    "nice",
                    "-n",
                    submission.options["nice"],
                    "sh",
                    "-c",
                    SHELL,
                    "sh",
                    *jobs[first::shells],
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
            )
        return [str(job) for job in jobs]

    def states(self, jobs: Iterable[str]) -> dict[str, State]:
        return {job: self._state(Path(job)) for job in jobs if Path(job).exists()}

    def _state(self, job: Path) -> State:
        if (job / "code").exists():
            return ENDS.get((job / "code").read_text().strip(), State.FAILED)
        if (job / "cancelled").exists():
            return State.INTERRUPTED
        return State.RUNNING if (job / "turn").exists() else State.QUEUED

    def cancel(self, jobs: Collection[str]) -> dict[str, State]:
        waited = {}
        for job in map(Path, jobs):
            try:
                (job / "turn").mkdir()
            except FileExistsError:
                if self._state(job) is State.RUNNING:
                    until((job / "pid").exists, "the start of a job whose turn has come")
                    os.kill(int((job / "pid").read_text()), signal.SIGTERM)
            else:
                (job / "cancelled").touch()
                waited[str(job)] = State.INTERRUPTED
        return waited

    def this_job(self) -> tuple[str, str | None] | None:
        job = os.environ.get("SPOOL_JOB")
        return (job, None) if job else None

    def cluster(self) -> str | None:
        return None


if __name__ == "__main__":
    from qexp.cli import app

    LAUNCHERS.own["spool"] = Spool()
    app(prog_name="qexp")
