"""Jobs that Slurm has accepted: what became of them, and cancelling them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from qexp.errors import SchedulerError
from qexp.runs.record.state import State
from qexp.runs.schedulers.slurm.programs import CLUSTER, ask, parts
from qexp.runs.schedulers.slurm.words import read

JOBS_PER_CALL = 1000
"""A command line has an end."""


def states(jobs: Iterable[str]) -> dict[str, State]:
    """Job → state now, of those that Slurm still knows.

    The controller alone knows what waits and runs, and forgets what has ended after some minutes; the accounting
    remembers that for long, but hears of everything seconds late.
    Raises SchedulerError if neither answers.
    """
    wanted = set(jobs)
    try:
        listed = {job: state for job, state in _listed(_arrays(wanted)) if job in wanted}
    except SchedulerError:
        said = {job: state for job, state in _accounted(_arrays(wanted)) if job in wanted}
        if not said:
            raise
        return said
    forgotten = wanted - listed.keys()
    return listed | _ended(forgotten, dict(_accounted(_arrays(forgotten))))


def _ended(forgotten: Iterable[str], said: Mapping[str, State]) -> dict[str, State]:
    """Job → how it ended, of jobs that the controller does not know any more.

    said  what the accounting says of these jobs and their arrays
    """
    arrays = {_array(job) for job in said if "_" in job}
    ends: dict[str, State] = {}
    for job in forgotten:
        state = said.get(job, State.QUEUED if _array(job) in arrays else None)
        # That a task was cancelled before it began the accounting never hears: it waits there for ever, or is left out.
        if state is State.QUEUED:
            ends[job] = State.INTERRUPTED
        elif state is not None and not state.at_work:
            ends[job] = state
    return ends


def _array(job: str) -> str:
    return job.partition("_")[0]


def _arrays(jobs: Iterable[str]) -> list[str]:
    return sorted({_array(job) for job in jobs})


LISTED = ("squeue", "--array", "--states=all", "--noheader", "--Format=jobarrayid:|,state:|,exit_code:|")

ACCOUNTED = ("sacct", "--allocations", "--parsable2", "--noheader", "--format=JobID,State,ExitCode")


def _listed(jobs: Sequence[str]) -> Iterator[tuple[str, State]]:
    """What squeue says: of jobs that wait, run, or ended some minutes ago at most."""
    for part in parts(jobs, JOBS_PER_CALL):
        try:
            yield from read(ask(*LISTED, f"--jobs={','.join(part)}"))
        except SchedulerError as error:
            if "Invalid job id" not in str(error):
                raise


def _accounted(jobs: Sequence[str]) -> Iterator[tuple[str, State]]:
    """What sacct says; nothing where there is no accounting."""
    for part in parts(jobs if shutil.which("sacct") else [], JOBS_PER_CALL):
        with suppress(SchedulerError):
            yield from read(ask(*ACCOUNTED, f"--jobs={','.join(part)}"))


def cancel(jobs: Sequence[str]) -> dict[str, State]:
    """End jobs that wait or run; those that have ended are left alone.

    Returns the state of those that waited, to be remembered: without accounting Slurm forgets them at once.
    """
    before = states(jobs)
    for part in parts(jobs, JOBS_PER_CALL):
        ask("scancel", "--quiet", *part)
    return {job: State.INTERRUPTED for job, state in before.items() if state is State.QUEUED}


def this_job() -> tuple[str, str | None] | None:
    """The task of an array as which this process runs, and its cluster."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{part}_ID") for part in ("JOB", "TASK"))
    return (f"{array}_{task}", os.environ.get(CLUSTER)) if array and task else None
