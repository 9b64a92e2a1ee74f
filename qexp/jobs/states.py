"""The current state of runs, from their processes, launches and jobs; waiting for runs, and
stopping them.
"""

from __future__ import annotations

import codecs
import errno
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from qexp.base import files, formats
from qexp.base.files import real_path
from qexp.errors import DamagedError, NotFoundError, QexpError
from qexp.jobs import launchers
from qexp.jobs.launchers import LAUNCHERS, LOCAL, Launch
from qexp.jobs.scheduler import Scheduler
from qexp.store.directory import RunDirectory, is_complete
from qexp.store.lease import STOP, attempts
from qexp.store.process import Process, alive, fresh, number_in_view, pid_namespace
from qexp.store.record import AttemptRecord, Record, State

FORGOTTEN: Final = "forgotten"
"""Report on a job that a reachable scheduler no longer lists."""

Report = State | Literal["forgotten"]
"""The state of a run reported by its launcher."""

SECONDS_ACROSS_A_NETWORK = 60.0
"""Longest delay until a file written on a compute node is visible here."""


def state_now(
    directory: RunDirectory,
    state: State,
    attempt: AttemptRecord | None,
    report: Report | None = None,
) -> State:
    """The current state of a run: the state in its record unless its launcher or its process
    contradict it.

    A run whose process has ended without recording that is lost.
    attempt  the last attempt if its process has not recorded its end
    report   the state reported by its launcher; None if there is no report
    """
    reported = report if isinstance(report, State) else None
    if state is State.INTERRUPTED and reported in (State.QUEUED, State.TIMEOUT, State.PREEMPTED):
        # the process knows that it was stopped, but neither why nor whether it will be restarted
        return reported
    if not state.unfinished:
        return state
    if reported is State.DONE:
        return state if _heard_just_now(directory) else State.LOST
    if reported is not None:
        return reported
    if attempt is None:
        return State.LOST if report == FORGOTTEN and not _heard_just_now(directory) else state
    lives = alive(attempt.process, directory.attempt(attempt.number) / "heartbeat")
    return state if lives else State.LOST


def _heard_just_now(directory: RunDirectory) -> bool:
    """Whether an attempt, even one not yet seen in the record here, lived a minute ago."""
    heartbeats = directory.path.glob("attempts/*/heartbeat")
    return any(fresh(heartbeat, SECONDS_ACROSS_A_NETWORK) for heartbeat in heartbeats)


# Which launcher owns each run, the local pool or a scheduler, and the state that it reports.


PAUSE = 10.0
"""Least number of seconds between two queries to a scheduler, which serves many users."""

FILE = "jobs.json"
"""File in the folder of a launch that holds cluster, workspace, and the job of each run."""


@dataclass(frozen=True)
class Job:
    """A run in the hands of a launcher: a scheduler's job, or waiting in a launch's pool."""

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


def add_jobs(launch: Launch, jobs: Mapping[str, str], cluster: str | None) -> None:
    """Add the job of each run to those in the folder of a launch."""
    workspace = str(launch.folder.absolute().parents[2])
    file = launch.folder / FILE
    with suppress(FileNotFoundError):
        jobs = {**formats.read_json(file)["jobs"], **jobs}
    formats.write_json(file, {"cluster": cluster, "workspace": workspace, "jobs": jobs})


def jobs_of(records: Mapping[RunDirectory, Record]) -> dict[RunDirectory, Job]:
    """Run → its job, for runs that a scheduler may still report on or that wait in a local pool.

    Only jobs submitted from this workspace count: a run from elsewhere has no job here, even if
    another job has its number.
    """
    # A process that was stopped does not know whether its job will be restarted.
    open_ended = {run: record for run, record in records.items() if record.state.open_ended}
    names = {directory.name for directory in open_ended}
    submitted = cache(lambda runs: _submitted_jobs(runs, names))
    jobs = {}
    for directory, record in open_ended.items():
        job = _job_in_record(record)
        queued = record.state is State.QUEUED
        if job is None and not queued:
            continue
        runs = directory.path.parent
        latest = submitted(runs).get(directory.name)
        # of a queued run, the record's own job is that of an earlier attempt
        if latest is not None and (queued or (job is not None and latest.id == job.id)):
            jobs[directory] = latest
        elif job and record.job and _is_of(runs, record.job.workspace):
            jobs[directory] = job
        elif queued and record.launch is not None:
            jobs[directory] = Job(LOCAL, record.launch, runs / ".launches" / record.launch)
        elif queued and job is not None:
            jobs[directory] = NOBODYS
    return jobs


def require_here(name: str, job: Job) -> None:
    """Raise QexpError if a run's job belongs to another cluster than this machine."""
    scheduler = LAUNCHERS[job.launcher]
    if scheduler is not None and _is_elsewhere(job, scheduler.cluster()):
        raise QexpError(
            f"{name} is job {job.id} of the cluster {job.cluster}; stop it on a machine of that"
            " cluster"
        )


def by_scheduler(jobs: Collection[Job]) -> Iterator[tuple[str, Scheduler, list[Job]]]:
    """Name, scheduler and its jobs, for each scheduler that has some of the jobs."""
    # packages with others need not be loaded
    for name in dict.fromkeys(job.launcher for job in jobs):
        scheduler = LAUNCHERS[name]
        if scheduler is not None:
            yield name, scheduler, [job for job in jobs if job.launcher == name]


def store_states(jobs: Collection[Job], states: Mapping[str, State]) -> None:
    """Store the states that a scheduler reports in the launch folders of its jobs.

    states  job id → state
    """
    by_launch: dict[Path, dict[str, State]] = {}
    for job in jobs:
        if job.launch is not None and job.id in states:
            by_launch.setdefault(job.launch, {})[job.id] = states[job.id]
    for folder, launch_states in by_launch.items():
        launchers.remember_states(folder, launch_states)


def _job_in_record(record: Record) -> Job | None:
    """The job of the run's last attempt, if its scheduler is in `LAUNCHERS`."""
    job = record.job
    if job is None or LAUNCHERS.get(job.launcher) is None:
        return None
    return Job(job.launcher, job.id, None, job.cluster)


def _submitted_jobs(runs: Path, names: Collection[str]) -> dict[str, Job]:
    """Run → its last submitted job, for the named runs of a folder.

    If the workspace is a copy, jobs that were submitted from the original are `NOBODYS`.
    """
    latest: dict[str, Job] = {}
    for file in sorted((runs / ".launches").glob(f"*/{FILE}")):  # by time, as launches are named
        document = formats.object_in(file)
        if not isinstance(document.get("jobs"), dict):
            continue
        jobs = {name: job for name, job in document["jobs"].items() if isinstance(job, str)}
        jobs_here = {name: job for name, job in jobs.items() if name in names}
        if not jobs_here:
            continue
        if _is_of(runs, document.get("workspace")) is False:
            latest |= dict.fromkeys(jobs_here, NOBODYS)
            continue
        launcher = _launcher(file.parent)
        cluster = document.get("cluster")
        if launcher is not None:
            cluster = cluster if isinstance(cluster, str) else None
            for name, job in jobs_here.items():
                latest[name] = Job(launcher, job, file.parent, cluster)
    return latest


def _is_of(runs: Path, workspace: Any) -> bool | None:
    """Whether these runs' workspace is `workspace`; None if theirs is no longer there."""
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
        launcher = Launch(folder).record().launcher
    except DamagedError:
        return None
    return None if LAUNCHERS.get(launcher) is None else launcher


class Watch:
    """The current states of runs, for repeated queries; a scheduler is asked for all of its jobs at
    once, every `PAUSE`.
    """

    def __init__(self) -> None:
        self._words: dict[Job, Report] = {}
        self._asked = -math.inf
        self._clusters: dict[str, str | None] = {}

    def states(self, directories: Iterable[RunDirectory]) -> dict[RunDirectory, State]:
        """Run → its current state; GONE without a record, DAMAGED if the record cannot be read."""
        states = dict.fromkeys(directories, State.GONE)
        records = {}
        for directory in states:
            try:
                records[directory] = directory.record()
            except NotFoundError:
                continue
            except DamagedError:
                states[directory] = State.DAMAGED
        return states | self.states_by(records)

    def state(self, directory: RunDirectory) -> State:
        return self.states([directory])[directory]

    def states_by(self, records: Mapping[RunDirectory, Record]) -> dict[RunDirectory, State]:
        """Run → its current state, of runs whose records are known."""
        states = {}
        words = self.words(jobs_of(records))
        for directory, record in records.items():
            word = words.get(directory)
            states[directory] = state_now(directory, record.state, record.open_attempt, word)
        return states

    def words(self, jobs: Mapping[RunDirectory, Job]) -> dict[RunDirectory, Report]:
        """Run → state reported by its launcher; FORGOTTEN if a scheduler no longer lists the job.

        Runs without a report are left out.
        """
        submitted = {job for job in jobs.values() if job.submitted}
        if submitted and time.monotonic() - self._asked >= PAUSE:
            for name, scheduler, jobs_there in by_scheduler(submitted):
                named = any(job.cluster is not None for job in jobs_there)
                if named and name not in self._clusters:
                    self._clusters[name] = scheduler.cluster()
                cluster = self._clusters.get(name)
                here = [job for job in jobs_there if not _is_elsewhere(job, cluster)]
                self._ask(scheduler, here, jobs_there)
            self._asked = time.monotonic()
        launches = {job.launch for job in jobs.values() if not job.submitted and job.launch}
        working = {folder for folder in launches if Launch(folder).pool_works()}
        words = dict[RunDirectory, Report]()
        for directory, job in jobs.items():
            if not job.submitted:
                # Once a pool has ended, its runs will not start by themselves.
                words[directory] = State.QUEUED if job.launch in working else State.CREATED
                if job.launch is not None and Launch(job.launch).withdrawn(directory.name):
                    words[directory] = State.INTERRUPTED
            elif job in self._words:
                words[directory] = self._words[job]
        return words

    def _ask(self, scheduler: Scheduler, here: Collection[Job], jobs: Collection[Job]) -> None:
        """Update the reports: this cluster's jobs by the scheduler, all by their launch folders."""
        final = dict[Job, Report]()
        for job, word in self._words.items():
            if word == FORGOTTEN or not word.unfinished:
                final[job] = word
        remembered = cache(launchers.stored_states)
        for job in jobs:
            state = remembered(job.launch).get(job.id) if job.launch is not None else None
            if state is not None:
                final[job] = state
        self._words |= final
        try:
            reported = scheduler.states({job.id: job.launch for job in here})
        except QexpError:  # out of reach for now, or from this machine: keep the last known states
            return
        self._words |= {job: reported.get(job.id) or final.get(job, FORGOTTEN) for job in here}
        store_states(here, reported)


# Waiting for runs to end; only the records of these runs are read.


SECONDS_TO_START = 20.0
"""Seconds after which a prepared run that has not started counts as abandoned."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds between two checks; short at first, for runs that end soon."""


def endings(
    directories: Iterable[RunDirectory], timeout: float | None = None
) -> Iterator[tuple[RunDirectory, State]]:
    """Each run with its state when it has ended, or as CREATED if it was never started.

    Raises QexpError after a timeout, naming those that have not ended.
    """
    watch = Watch()
    waiting = list({real_path(directory.path): directory for directory in directories}.values())
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    pause = FIRST_PAUSE
    while True:
        states = watch.states(waiting)
        waiting = list[RunDirectory]()
        for directory, state in states.items():
            if not state.unfinished or is_abandoned(directory, state):
                yield directory, state
            else:
                waiting.append(directory)
        if not waiting:
            return
        remaining = deadline - time.monotonic()
        if not remaining > 0:
            texts = [f"{directory.name} ({states[directory]})" for directory in waiting]
            unfinished = ", ".join(texts)
            raise QexpError(f"after {timeout:g} s not yet ended: {unfinished}")
        time.sleep(min(pause, remaining))
        pause = min(1.5 * pause, LONGEST_PAUSE)


def is_abandoned(directory: RunDirectory, state: State) -> bool:
    """Whether a run was prepared more than `SECONDS_TO_START` ago and has not been started."""
    with suppress(OSError):
        return state is State.CREATED and files.age(directory.record_file) > SECONDS_TO_START
    return False


def require_done(directory: RunDirectory) -> None:
    """Raise QexpError unless the run is done and its results exist."""
    record = directory.record()
    state = Watch().state(directory)
    if state is not State.DONE:
        how = f"; finish it first: {record.continued_by(directory.name)}" if state.resumable else ""
        raise QexpError(f"{directory.name} is {state.words}, not done{how}")
    if not is_complete(directory):
        raise QexpError(
            f"{directory.name} is recorded as done, but some of its results are missing"
        )


# The logs of a run's attempts: read once, or followed while they grow.


LOG_PAUSE = 0.2
"""Seconds between two reads of a log that may grow."""

LOG_PIECE = 1 << 16


def read_log(directory: RunDirectory, attempt: int | None = None) -> Iterator[str]:
    """The log of an attempt (default: the last), in pieces. Raises NotFoundError without one."""
    number = attempt or max(attempts(directory), default=None)
    if number is None:
        raise NotFoundError(f"{directory.name} has no log yet: it is {Watch().state(directory)}")
    _require_attempt(directory, number)
    yield from Tail(directory.attempt(number) / "log.txt").grown()


def follow_log(directory: RunDirectory, attempt: int | None = None) -> Iterator[str]:
    """The log and what is added until the run ends, of later attempts too if none is given."""
    if attempt is not None:
        _require_attempt(directory, attempt)
    watch = Watch()
    number = attempt or max(attempts(directory), default=0)
    tail = Tail(directory.attempt(number) / "log.txt")
    while True:
        # State before log: an attempt that has ended or been replaced adds nothing any more.
        ended = not watch.state(directory).unfinished
        later = [other for other in attempts(directory) if other > number]
        yield from tail.grown()
        if later and attempt is None:
            number = later[0]
            tail = Tail(directory.attempt(number) / "log.txt")
        elif ended or later:
            return
        else:
            time.sleep(LOG_PAUSE)


def _require_attempt(directory: RunDirectory, number: int) -> None:
    numbers = attempts(directory)
    if number not in numbers:
        which = f"there are {', '.join(map(str, numbers))}" if numbers else "it has none yet"
        raise NotFoundError(f"{directory.name} has no attempt {number}; {which}")


class Tail:
    """A log file and the position up to which it has been read."""

    def __init__(self, path: Path, read: int = 0) -> None:
        self._path, self.read = path, read
        # a piece can end inside a character
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def understood(self) -> int:
        """The position up to which complete characters have been read."""
        return self.read - len(self._decoder.getstate()[0])

    def grown(self, end: int = sys.maxsize) -> Iterator[str]:
        """The text added since the last call, up to a position in the file."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:  # the attempt has only just been claimed
            return
        with file:
            file.seek(self.read)
            while piece := file.read(min(LOG_PIECE, end - self.read)):
                self.read += len(piece)
                yield self._decoder.decode(piece)


# Stopping runs: a signal is sent to exactly the run's process, or its scheduler cancels the job.


STOP_PAUSE = 0.1
"""Seconds between two checks whether a pool has ended."""


def ask_to_stop(directory: RunDirectory, now: bool = False) -> bool:
    """Send the signal, or cancel the job; returns False if the run is not at work.

    now  kill it without a new checkpoint; its state is then lost, and it resumes from its last
         checkpoint
    Raises QexpError for a run on another machine or of another user, NotFoundError, or DamagedError
    for a record that cannot be read.
    """
    record = directory.record()
    state = Watch().state(directory)
    if not state.unfinished:
        return False
    job = jobs_of({directory: record}).get(directory)
    attempt = record.open_attempt
    if job is not None and job.submitted:
        of_scheduler = f"{directory.name} is job {job.id} of {job.launcher}"
        if now:
            raise QexpError(f"{of_scheduler}, which cannot be killed from here; drop `now=True`")
        if record.stack is not None:
            if attempt is None:
                raise QexpError(
                    f"{of_scheduler}, in which all runs of its stack wait; stop its launch with"
                    " `launch`"
                )
            (directory.attempt(attempt.number) / STOP).touch()
            return True
        require_here(directory.name, job)
        _cancel([job])
        return True
    if job is not None and job.launch is not None and state is not State.RUNNING:
        launch = Launch(job.launch)  # another pool may go on with a queue
        waits = state is State.QUEUED or launch.is_queue
        if waits and launch.take(directory.name, "withdrawn"):
            return True
        watch = Watch()
        while watch.state(directory) is State.QUEUED:  # the pool is just starting it
            time.sleep(STOP_PAUSE)
        attempt = directory.record().open_attempt
    if attempt is None:
        return False
    if record.stack is None:
        return signal_attempt(directory, attempt, signal.SIGKILL if now else signal.SIGTERM)
    if now:
        raise QexpError(
            f"{directory.name} is in a stack, whose runs one process trains: killing it would end"
            " them all; drop `now=True`"
        )
    if not signal_attempt(directory, attempt, 0):
        return False
    (directory.attempt(attempt.number) / STOP).touch()
    return True


def require_stoppable(directory: RunDirectory) -> None:
    """Raise QexpError for a run at work that cannot be stopped from here; nothing is stopped."""
    record = directory.record()
    job = jobs_of({directory: record}).get(directory)
    attempt = record.open_attempt
    if job is not None and job.submitted:
        require_here(directory.name, job)
    elif attempt is not None:
        signal_attempt(directory, attempt, 0)  # which only tells whether a signal could be sent


def stop_launch(launch: Launch) -> dict[str, State]:
    """Withdraw a launch's waiting runs, stop the others, and wait. Returns run → state."""
    directories = launch.directories
    pool = launch.pool()
    if pool is not None:
        _signal(f"launch {launch.id}", pool, launch.heartbeat, signal.SIGTERM)
        while launch.pool_works():  # the pool ends after its runs
            time.sleep(STOP_PAUSE)
    states = Watch().states(directories).items()
    waits = State.CREATED if launch.is_queue else State.QUEUED
    at_work = [run for run, state in states if state.at_work or state is waits]
    jobs = jobs_of({directory: directory.record() for directory in at_work})
    handed_over = {directory: job for directory, job in jobs.items() if job.submitted}
    for directory, job in handed_over.items():
        require_here(directory.name, job)
    _cancel(handed_over.values())
    for directory in at_work:
        if directory not in handed_over:  # its pool was killed and could not pass the signal on
            ask_to_stop(directory)
    for _ in endings(at_work):
        pass
    return {directory.name: state for directory, state in Watch().states(directories).items()}


def wait_for_end(directory: RunDirectory) -> State:
    return next(state for _, state in endings([directory]))


def _cancel(jobs: Collection[Job]) -> None:
    """Cancel the jobs with one call per scheduler; store the states of those that had not started.

    A scheduler may forget such jobs at once.
    """
    for _, scheduler, jobs_there in by_scheduler(jobs):
        store_states(jobs_there, scheduler.cancel({job.id: job.launch for job in jobs_there}))


def signal_attempt(directory: RunDirectory, attempt: AttemptRecord, number: int) -> bool:
    """Signal an attempt's process; False if it has ended. Raises QexpError if it is not here."""
    heartbeat = directory.attempt(attempt.number) / "heartbeat"
    return _signal(directory.name, attempt.process, heartbeat, number)


def _signal(name: str, process: Process, heartbeat: Path, number: int) -> bool:
    """Send a signal to the process of a run or launch; returns False if it has ended."""
    pid = number_in_view(process)
    if pid is None:
        if not alive(process, heartbeat):
            return False
        raise _not_here(name, process)
    try:
        handle = _handle(pid)
    except ProcessLookupError:
        return False
    try:
        # The handle stays with one process even if its number is reused: checked only now.
        if not alive(process, heartbeat) or number_in_view(process) != pid:
            return False
        if handle is None:
            os.kill(pid, number)
        else:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        raise QexpError(f"{name} is process {pid} of another user, who alone can stop it") from None
    finally:
        if handle is not None:
            os.close(handle)
    return True


def _not_here(name: str, process: Process) -> QexpError:
    """The message for a process that cannot be signalled from here."""
    host = process.host
    pid = process.pid
    if host != socket.gethostname():
        return QexpError(f"{name} runs on {host}, as process {pid}; stop it there")
    if process.pid_namespace != pid_namespace():
        return QexpError(
            f"{name} runs in another container on {host}, as process {pid} there; stop it there"
        )
    return QexpError(
        f"{name} runs on another machine that is also called {host}, as process {pid}, or this"
        " machine was restarted a few minutes ago and the run is dead; stop it there, or try again"
        " later"
    )


def _handle(pid: int) -> int | None:
    """A handle of a process; None if the system does not support it."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        # old kernels and containers that do not allow it
        if error.errno in (errno.ENOSYS, errno.EPERM):
            return None
        raise
