"""Which launcher owns each run, the local pool or a scheduler, and the state that it reports."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from qexp import files
from qexp.errors import DamagedError, QexpError
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.record import JobRecord
from qexp.runs.record.state import State
from qexp.runs.schedulers import LAUNCHERS, LOCAL
from qexp.runs.schedulers.scheduler import Scheduler
from qexp.runs.state import memory
from qexp.runs.state.launches import Launch
from qexp.runs.state.states import FORGOTTEN, Report

PAUSE = 10.0
"""Least number of seconds between two queries to a scheduler, which serves many users."""

FILE = "jobs.json"
"""File in the folder of a launch that holds cluster, workspace, and the job of each run."""


class HandedOver(Protocol):
    """The part of a record, or of its summary, that names the run's launcher."""

    @property
    def state(self) -> State: ...
    @property
    def job(self) -> JobRecord | None: ...
    @property
    def launch(self) -> str | None: ...


@dataclass(frozen=True)
class Job:
    """A run in the hands of a launcher: a job of a scheduler, or a run that waits in the local pool of a launch."""

    launcher: str
    """Its key in `LAUNCHERS`."""
    id: str
    launch: Path | None
    """The launch folder that stores the job's last known state."""
    cluster: str | None = None
    """The cluster on which the id is valid; None if unknown."""

    @property
    def submitted(self) -> bool:
        """Whether the job belongs to a scheduler, not to a local pool."""
        return LAUNCHERS[self.launcher] is not None


NOBODYS = Job(LOCAL, "", None)
"""The job of a run that was copied while it was queued: no launcher will start it here."""


def write_jobs(launch: Launch, jobs: Mapping[str, str], cluster: str | None) -> None:
    """Write the job of each run of a launch to its folder."""
    workspace = str(launch.folder.absolute().parents[2])
    files.write_json(launch.folder / FILE, {"cluster": cluster, "workspace": workspace, "jobs": jobs})


def jobs_of(records: Mapping[RunDirectory, HandedOver]) -> dict[RunDirectory, Job]:
    """Run → its job, for runs that a scheduler may still report on or that wait in a local pool.

    Only jobs submitted from this workspace count: a run from elsewhere has no job here, even if another job has its
    number.
    """
    own = {directory: _own(record) for directory, record in records.items()}
    asked = {
        directory: record
        for directory, record in records.items()
        # A process that was stopped does not know whether its job will be restarted.
        if record.state is State.QUEUED or (own[directory] and record.state.open_ended)
    }
    names: dict[Path, set[str]] = {}
    for directory in asked:
        names.setdefault(directory.path.parent, set()).add(directory.name)
    submitted = {folder: _submitted(folder, wanted) for folder, wanted in names.items()}
    jobs = {}
    for directory, record in asked.items():
        job, latest = own[directory], submitted[directory.path.parent].get(directory.name)
        if latest is not None and (record.state is State.QUEUED or (job is not None and latest.id == job.id)):
            jobs[directory] = latest  # of a queued run, the record's own job is that of an earlier attempt
        elif job is not None and record.job is not None and _is_of(directory.path.parent, record.job.workspace):
            jobs[directory] = job
        elif record.state is State.QUEUED and record.launch is not None:
            launch = directory.path.parent / ".launches" / record.launch
            jobs[directory] = Job(LOCAL, record.launch, launch)
        elif record.state is State.QUEUED and job is not None:
            jobs[directory] = NOBODYS
    return jobs


def require_here(name: str, job: Job) -> None:
    """Raise QexpError if a run's job belongs to another cluster than this machine."""
    scheduler = LAUNCHERS[job.launcher]
    if scheduler is not None and _is_elsewhere(job, scheduler.cluster()):
        raise QexpError(f"{name} is job {job.id} of the cluster {job.cluster}; stop it on a machine of that cluster")


def of_schedulers(jobs: Iterable[Job]) -> Iterator[tuple[str, Scheduler, list[Job]]]:
    """Name, scheduler and its jobs, for each scheduler that has some of the jobs."""
    known = list(jobs)
    for name, scheduler in LAUNCHERS.items():
        own = [job for job in known if job.launcher == name]
        if scheduler is not None and own:
            yield name, scheduler, own


def store_states(jobs: Collection[Job], states: Mapping[str, State]) -> None:
    """Store the states that a scheduler reports in the launch folders of its jobs.

    states  job id → state
    """
    by_launch: dict[Path, dict[str, State]] = {}
    for job in jobs:
        if job.launch is not None and job.id in states:
            by_launch.setdefault(job.launch, {})[job.id] = states[job.id]
    for folder, known in by_launch.items():
        memory.remember(folder, known)


def _own(record: HandedOver) -> Job | None:
    """The job of the run's last attempt, if its scheduler is in `LAUNCHERS`."""
    job = record.job
    if job is None or LAUNCHERS.get(job.launcher) is None:
        return None
    return Job(job.launcher, job.id, None, job.cluster)


def _submitted(runs: Path, names: Collection[str]) -> dict[str, Job]:
    """Run → its last submitted job, for the named runs of a folder.

    If the workspace is a copy, jobs that were submitted from the original are `NOBODYS`.
    """
    found: dict[str, Job] = {}
    for file in sorted((runs / ".launches").glob(f"*/{FILE}")):  # by time, as launches are named
        try:
            noted = files.read_json(file)
        except (FileNotFoundError, DamagedError):
            continue
        if not isinstance(noted, dict):
            continue
        if not isinstance(noted.get("jobs"), dict):
            noted = {"jobs": noted}  # the form of older versions, without cluster and workspace
        own = {name: job for name, job in noted["jobs"].items() if name in names and isinstance(job, str)}
        if not own:
            continue
        if _is_of(runs, noted.get("workspace")) is False:
            found |= dict.fromkeys(own, NOBODYS)
        elif (launcher := _launcher(file.parent)) is not None:
            cluster = _text(noted.get("cluster"))
            found |= {name: Job(launcher, job, file.parent, cluster) for name, job in own.items()}
    return found


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _is_of(runs: Path, workspace: Any) -> bool | None:
    """Whether `workspace` is the workspace of these runs; None if it no longer exists at its path."""
    if not isinstance(workspace, str):
        return None
    here = runs.absolute().parent
    try:
        return workspace == str(here) or here.samefile(workspace)
    except (OSError, ValueError):
        return None


def _is_elsewhere(job: Job, cluster: str | None) -> bool:
    return None not in (job.cluster, cluster) and job.cluster != cluster


def _launcher(folder: Path) -> str | None:
    """The scheduler to which a launch was submitted, if it is in `LAUNCHERS`."""
    try:
        launcher = Launch(folder).record()["launcher"]
    except DamagedError:
        return None
    return launcher if isinstance(launcher, str) and LAUNCHERS.get(launcher) is not None else None


class Reports:
    """The states of jobs reported by their launchers; a scheduler is queried for all jobs at once, every `PAUSE`."""

    def __init__(self) -> None:
        self._words: dict[Job, Report] = {}
        self._asked = -math.inf
        self._clusters: dict[str, str | None] = {}

    def words(self, jobs: Mapping[RunDirectory, Job]) -> dict[RunDirectory, Report]:
        """Run → state reported by its launcher; FORGOTTEN if a scheduler no longer lists the job.

        Runs without a report are left out.
        """
        submitted = {job for job in jobs.values() if job.submitted}
        if submitted and time.monotonic() - self._asked >= PAUSE:
            for name, scheduler, own in of_schedulers(submitted):
                self._ask(scheduler, [job for job in own if not self._is_elsewhere(name, scheduler, job)], own)
            self._asked = time.monotonic()
        waiting = {directory: job for directory, job in jobs.items() if not job.submitted}
        at_work = {job for job in set(waiting.values()) if job.launch is not None and Launch(job.launch).pool_works()}
        words: dict[RunDirectory, Report] = {
            directory: word
            for directory, job in jobs.items()
            if job.submitted and (word := self._words.get(job)) is not None
        }
        return words | {directory: _of_pool(directory, job, job in at_work) for directory, job in waiting.items()}

    def _is_elsewhere(self, name: str, scheduler: Scheduler, job: Job) -> bool:
        if job.cluster is None:
            return False
        if name not in self._clusters:
            self._clusters[name] = scheduler.cluster()
        return _is_elsewhere(job, self._clusters[name])

    def _ask(self, scheduler: Scheduler, here: Collection[Job], jobs: Collection[Job]) -> None:
        """Update the reports: of jobs on this cluster from the scheduler, of all jobs from their launch folders."""
        final = {job: word for job, word in self._words.items() if word == FORGOTTEN or not word.unfinished}
        for folder in {job.launch for job in jobs if job.launch is not None}:
            remembered = memory.remembered(folder)
            final |= {job: remembered[job.id] for job in jobs if job.launch == folder and job.id in remembered}
        self._words |= final
        try:
            said = scheduler.states(job.id for job in here)
        except QexpError:  # out of reach for now, or from this machine: keep the last known states
            return
        self._words |= {job: said.get(job.id) or final.get(job, FORGOTTEN) for job in here}
        store_states(here, said)


def _of_pool(directory: RunDirectory, job: Job, at_work: bool) -> State:
    """The state of a run in a local pool: if the pool's process has ended, the run will not start by itself."""
    if job.launch is not None and Launch(job.launch).withdrawn(directory.name):
        return State.INTERRUPTED
    return State.QUEUED if at_work else State.CREATED
