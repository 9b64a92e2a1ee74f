"""Who is to start or stop runs, a pool or Slurm, and what is to be heard of them there."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from qexp import files
from qexp.errors import DamagedError, QexpError
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.record import JobRecord
from qexp.runs.record.state import State
from qexp.runs.state.launches import Launch
from qexp.runs.state.states import FORGOTTEN

PAUSE = 10.0
"""Seconds between two questions to a scheduler, which serves many."""


class HandedOver(Protocol):
    """What a record, or a summary of it, says of who starts the run."""

    @property
    def state(self) -> State: ...
    @property
    def job(self) -> JobRecord | None: ...
    @property
    def launch(self) -> str | None: ...


@dataclass(frozen=True)
class Job:
    id: str
    launch: Path | None
    """The folder that remembers what became of it."""
    launcher: str = "slurm"


def jobs_of(records: Mapping[RunDirectory, HandedOver]) -> dict[RunDirectory, Job]:
    """The jobs of those runs that Slurm may still have a word on, and those that wait in a pool."""
    own = {directory: _own(record) for directory, record in records.items()}
    asked = {
        directory: record
        for directory, record in records.items()
        # A process that was stopped does not know whether its job is started again.
        if record.state is State.QUEUED or (own[directory] and record.state.open_ended)
    }
    submitted = {folder: _submitted(folder) for folder in {directory.path.parent for directory in asked}}
    jobs = {}
    for directory, record in asked.items():
        job, latest = own[directory], submitted[directory.path.parent].get(directory.name)
        if latest is not None and (record.state is State.QUEUED or latest.id == job):
            jobs[directory] = latest  # of a queued run, the record's own job is that of an earlier attempt
        elif job is not None:
            jobs[directory] = Job(job, None)
        elif record.launch is not None:
            launch = directory.path.parent / ".launches" / record.launch
            jobs[directory] = Job(record.launch, launch, "local")
    return jobs


def _own(record: HandedOver) -> str | None:
    return record.job.id if record.job is not None and record.job.launcher == "slurm" else None


def _submitted(runs: Path) -> dict[str, Job]:
    """Run → the job that it was handed over as last."""
    found: dict[str, Job] = {}
    for file in sorted((runs / ".launches").glob("*/jobs.json")):  # by time, as launches are named
        try:
            jobs = files.read_json(file)
        except (FileNotFoundError, DamagedError):
            continue
        if isinstance(jobs, dict):
            found |= {name: Job(job, file.parent) for name, job in jobs.items() if isinstance(job, str)}
    return found


class Scheduler:
    """What Slurm and pools say of jobs; Slurm is asked for all of them at once, and not each time."""

    def __init__(self) -> None:
        self._words: dict[str, str] = {}
        self._asked = -math.inf

    def words(self, jobs: Mapping[RunDirectory, Job]) -> dict[RunDirectory, str]:
        """One of our states or FORGOTTEN per run; nothing of those that were not to be heard of."""
        handed_over = {job for job in jobs.values() if job.launcher == "slurm"}
        if handed_over and time.monotonic() - self._asked >= PAUSE:
            self._ask(handed_over)
            self._asked = time.monotonic()
        waiting = {directory: job for directory, job in jobs.items() if job.launcher == "local"}
        at_work = {job for job in set(waiting.values()) if job.launch is not None and Launch(job.launch).pool_works()}
        return {
            **{directory: self._words[job.id] for directory, job in jobs.items() if job.id in self._words},
            **{directory: _of_pool(directory, job, job in at_work) for directory, job in waiting.items()},
        }

    def _ask(self, jobs: set[Job]) -> None:
        from qexp.runs.schedulers import slurm

        launches = {job.launch for job in jobs if job.launch is not None}
        final = {job: word for job, word in self._words.items() if word == FORGOTTEN or not State(word).unfinished}
        for folder in launches:
            final |= slurm.remembered(folder)
        try:
            said = slurm.states(job.id for job in jobs)
        except QexpError:  # away for a moment, or this is no machine of the cluster: what is known must do
            self._words |= final
            return
        self._words |= {job.id: said.get(job.id) or final.get(job.id, FORGOTTEN) for job in jobs}
        for folder in launches:
            slurm.remember(folder, {job.id: said[job.id] for job in jobs if job.launch == folder and job.id in said})


def _of_pool(directory: RunDirectory, job: Job, at_work: bool) -> str:
    """A run that waits in a pool that is gone will not be started, until somebody does."""
    if job.launch is not None and Launch(job.launch).withdrawn(directory.name):
        return State.INTERRUPTED
    return State.QUEUED if at_work else State.CREATED
