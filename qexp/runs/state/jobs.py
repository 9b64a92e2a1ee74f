"""Who is to start or stop runs, a pool or Slurm, and what is to be heard of them there."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from qexp import files
from qexp.errors import DamagedError, QexpError
from qexp.runs.record.directory import UNFINISHED, RunDirectory
from qexp.runs.state.launches import Launch
from qexp.runs.state.states import FORGOTTEN

Record = dict[str, Any]

PAUSE = 10.0
"""Seconds between two questions to a scheduler, which serves many."""


FILE = "jobs.json"
"""In the folder of a launch: cluster, workspace, and the job of each run."""


@dataclass(frozen=True)
class Job:
    id: str
    launch: Path | None
    """The folder that remembers what became of it."""
    launcher: str = "slurm"
    cluster: str | None = None
    """Numbers of jobs mean something on one cluster alone; None if it is not known."""


def note(launch: Launch, jobs: Mapping[str, str], cluster: str | None) -> None:
    """Write down which job each run was handed over as."""
    workspace = str(launch.folder.absolute().parents[2])
    files.write_json(launch.folder / FILE, {"cluster": cluster, "workspace": workspace, "jobs": jobs})


def jobs_of(records: Mapping[RunDirectory, Record]) -> dict[RunDirectory, Job]:
    """The jobs of those runs that Slurm may still have a word on, and those that wait in a pool.

    A job is believed if it was submitted from this workspace: a run that came from elsewhere has none here, though some
    other job may have its number.
    """
    own = {directory: _own(record) for directory, record in records.items()}
    asked = {
        directory: record
        for directory, record in records.items()
        # A process that was stopped does not know whether its job is started again.
        if record["state"] == "queued" or (own[directory] and record["state"] in (*UNFINISHED, "interrupted"))
    }
    submitted = {folder: _submitted(folder) for folder in {directory.path.parent for directory in asked}}
    jobs = {}
    for directory, record in asked.items():
        job, latest = own[directory], submitted[directory.path.parent].get(directory.name)
        if latest is not None and (record["state"] == "queued" or (job is not None and latest.id == job.id)):
            jobs[directory] = latest  # of a queued run, the record's own job is that of an earlier attempt
        elif job is not None and _is_of(directory.path.parent, record["job"].get("workspace")):
            jobs[directory] = job
        elif record["state"] == "queued":
            launch = directory.path.parent / ".launches" / record["launch"] if record["launch"] else None
            jobs[directory] = Job(record["launch"] or "", launch, "local")
    return jobs


def require_here(name: str, job: Job) -> None:
    """Raise QexpError if a run's job is one of another cluster than that of this machine."""
    from qexp.runs.schedulers import slurm

    if _is_elsewhere(job, slurm.cluster()):
        raise QexpError(f"{name} is job {job.id} of the cluster {job.cluster}; stop it on a machine of that cluster")


def _own(record: Record) -> Job | None:
    job = record["job"]
    if job is None or job.get("launcher") != "slurm" or "id" not in job:
        return None
    return Job(str(job["id"]), None, cluster=_name(job.get("cluster")))


def _submitted(runs: Path) -> dict[str, Job]:
    """Run → the job that it was handed over as last: from here, and not from the workspace that this is a copy of."""
    found: dict[str, Job] = {}
    for file in sorted((runs / ".launches").glob(f"*/{FILE}")):  # by time, as launches are named
        try:
            noted = files.read_json(file)
        except (FileNotFoundError, DamagedError):
            continue
        if not isinstance(noted, dict):
            continue
        if not isinstance(noted.get("jobs"), dict):
            noted = {"jobs": noted}  # before clusters and workspaces were noted
        if _is_of(runs, noted.get("workspace")) is not False:
            cluster = _name(noted.get("cluster"))
            found |= {name: Job(str(job), file.parent, cluster=cluster) for name, job in noted["jobs"].items()}
    return found


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _is_of(runs: Path, workspace: Any) -> bool | None:
    """Whether the workspace that was noted is that of these runs; None if there is none in that place any more."""
    if not isinstance(workspace, str):
        return None
    here = runs.absolute().parent
    try:
        return workspace == str(here) or here.samefile(workspace)
    except OSError:
        return None


def _is_elsewhere(job: Job, cluster: str | None) -> bool:
    return None not in (job.cluster, cluster) and job.cluster != cluster


class Scheduler:
    """What Slurm and pools say of jobs; Slurm is asked for all of them at once, and not each time."""

    def __init__(self) -> None:
        self._words: dict[Job, str] = {}
        self._asked = -math.inf

    @cached_property
    def _cluster(self) -> str | None:
        from qexp.runs.schedulers import slurm

        return slurm.cluster()

    def words(self, jobs: Mapping[RunDirectory, Job]) -> dict[RunDirectory, str]:
        """One of our states or FORGOTTEN per run; nothing of those that were not to be heard of."""
        handed_over = {job for job in jobs.values() if job.launcher == "slurm"}
        if handed_over and time.monotonic() - self._asked >= PAUSE:
            self._ask(handed_over)
            self._asked = time.monotonic()
        waiting = {directory: job for directory, job in jobs.items() if job.launcher == "local"}
        at_work = {job for job in set(waiting.values()) if job.launch is not None and Launch(job.launch).pool_works()}
        return {
            **{directory: self._words[job] for directory, job in jobs.items() if job in self._words},
            **{directory: _of_pool(directory, job, job in at_work) for directory, job in waiting.items()},
        }

    def _ask(self, jobs: set[Job]) -> None:
        from qexp.runs.schedulers import slurm

        launches = {job.launch for job in jobs if job.launch is not None}
        final = {job: word for job, word in self._words.items() if word not in UNFINISHED}
        for folder in launches:
            remembered = slurm.remembered(folder)
            final |= {job: remembered[job.id] for job in jobs if job.launch == folder and job.id in remembered}
        self._words |= final
        here = {job for job in jobs if job.cluster is None or not _is_elsewhere(job, self._cluster)}
        try:
            said = slurm.states(job.id for job in here)
        except QexpError:  # away for a moment, or this is no machine of the cluster: what is known must do
            return
        self._words |= {job: said.get(job.id) or final.get(job, FORGOTTEN) for job in here}
        for folder in launches:
            slurm.remember(folder, {job.id: said[job.id] for job in here if job.launch == folder and job.id in said})


def _of_pool(directory: RunDirectory, job: Job, at_work: bool) -> str:
    """A run that waits in a pool that is gone will not be started, until somebody does."""
    if job.launch is not None and Launch(job.launch).withdrawn(directory.name):
        return "interrupted"
    return "queued" if at_work else "created"
