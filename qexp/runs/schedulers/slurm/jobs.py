"""Jobs that Slurm has accepted: their states, and cancelling them."""

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
    """Job → current state, for jobs that Slurm still lists.

    Only the controller knows which jobs wait and run, and it forgets a job some minutes after its end; the accounting
    database keeps ended jobs for long, but is updated seconds late.
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
    """Job → final state, for jobs that the controller no longer lists.

    said  the states of these jobs and their arrays in the accounting database
    """
    arrays = {_array(job) for job in said if "_" in job}
    ends: dict[str, State] = {}
    for job in forgotten:
        state = said.get(job, State.QUEUED if _array(job) in arrays else None)
        # In the accounting a task that was cancelled before it began stays pending for ever, or is missing.
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
    """The states from squeue: jobs that wait, run, or ended within the last few minutes."""
    for part in parts(jobs, JOBS_PER_CALL):
        try:
            yield from read(ask(*LISTED, f"--jobs={','.join(part)}"))
        except SchedulerError as error:
            if "Invalid job id" not in str(error):
                raise


def _accounted(jobs: Sequence[str]) -> Iterator[tuple[str, State]]:
    """The states from sacct; empty without an accounting database."""
    for part in parts(jobs if shutil.which("sacct") else [], JOBS_PER_CALL):
        with suppress(SchedulerError):
            yield from read(ask(*ACCOUNTED, f"--jobs={','.join(part)}"))


def cancel(jobs: Sequence[str]) -> dict[str, State]:
    """Cancel jobs that wait or run; jobs that have ended are left alone.

    Returns job → state for jobs that waited, to be stored: without accounting Slurm forgets them at once.
    """
    before = states(jobs)
    for part in parts(jobs, JOBS_PER_CALL):
        ask("scancel", "--quiet", *part)
    return {job: State.INTERRUPTED for job, state in before.items() if state is State.QUEUED}


def this_job() -> tuple[str, str | None] | None:
    """The array task of this process, and its cluster."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{part}_ID") for part in ("JOB", "TASK"))
    return (f"{array}_{task}", os.environ.get(CLUSTER)) if array and task else None
