"""HTCondor as a launcher: runs and commands are the jobs of clusters, submitted and followed by its Python bindings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qexp.base import files
from qexp.errors import QexpError, SchedulerError, extra
from qexp.jobs import arrays
from qexp.jobs.arrays import CODES, Array, ArrayScheduler, Shell, seconds_of
from qexp.jobs.scheduler import Acceptor, Option, PassedOn
from qexp.store.record import State

_OWN = "qexp sets it itself"

FLAGS = {"cpus": "request_cpus", "memory": "request_memory", "gpus": "request_gpus", "requirements": "requirements"}
"""Option → the command of a submit description that takes its value unchanged."""

TAKEN = {
    **{flag: f"write it as {key} = ... in the table around it" for key, flag in FLAGS.items()},
    "allowed_execute_duration": 'write it as time = "4:00:00" in the table around it',
    **dict.fromkeys(("executable", "arguments", "initialdir", "log", "output", "error", "environment", "getenv"), _OWN),
    **dict.fromkeys(("universe", "should_transfer_files", "on_exit_remove", "max_materialize", "queue"), _OWN),
}

OPTIONS: dict[str, Acceptor] = {
    "time": Option(r"\d+:[0-5]\d:[0-5]\d", 'hours, minutes and seconds, such as "4:00:00"'),
    "cpus": Option(r"[1-9]\d*", "the number of CPUs per run, from 1 on"),
    "memory": Option(r"\d+ ?[KMGT]?B?", "the memory per run, such as 4GB; without a unit in MB"),
    "gpus": Option(r"\d+", "the number of GPUs per run"),
    "requirements": Option(r"[^\x00-\x1f]+", "what a machine must have, such as 'OpSysMajorVer >= 9'"),
    **arrays.OPTIONS,
    "options": PassedOn("submit descriptions", TAKEN, r"[A-Za-z+][\w.]*", "a command of", 'notify_user = "me@a.org"'),
}

LOG = "events.log"
"""File in the folder of a launch with the events of its jobs."""

HELD = {1: State.QUEUED, 34: State.OUT_OF_MEMORY, 46: State.TIMEOUT, 47: State.TIMEOUT}
"""Code of the reason for holding a job → state: held by its user; over its memory or time. Others are failures."""

EVENTS = {
    **dict.fromkeys(("SUBMIT", "JOB_EVICTED", "JOB_RELEASED"), State.QUEUED),
    **dict.fromkeys(("SHADOW_EXCEPTION", "JOB_RECONNECT_FAILED"), State.QUEUED),
    **dict.fromkeys(("EXECUTE", "JOB_RECONNECTED", "JOB_DISCONNECTED", "JOB_UNSUSPENDED"), State.RUNNING),
    "JOB_ABORTED": State.INTERRUPTED, "EXECUTABLE_ERROR": State.FAILED,
}  # fmt: skip


@contextmanager
def bindings() -> Iterator[Any]:
    """The bindings, whose errors are the scheduler's. Raises MissingExtraError without them."""
    with extra("htcondor"):
        import htcondor2
    try:
        yield htcondor2
    except (htcondor2.HTCondorException, OSError) as error:
        raise SchedulerError(f"HTCondor does not do this: {error}") from None


def read_events(log: Path) -> tuple[dict[str, State], set[str]]:
    """Job → state by the events in a log; and the clusters there that have not been removed."""
    states: dict[str, State] = {}
    clusters: set[str] = set()
    with bindings() as condor, condor.JobEventLog(str(log)) as events:
        for event in events.events(stop_after=0):
            cluster, kind = str(event.cluster), event.type.name
            if kind == "CLUSTER_REMOVE":
                clusters.discard(cluster)
            elif kind in ("CLUSTER_SUBMIT", "SUBMIT"):
                clusters.add(cluster)
            state = EVENTS.get(kind)
            if kind == "JOB_HELD":
                state = HELD.get(event.get("HoldReasonCode", 0), State.FAILED)
            elif kind == "JOB_TERMINATED":
                normal = event.get("TerminatedNormally")
                code = event.get("ReturnValue", 1) if normal else 128 + event.get("TerminatedBySignal", 0)
                state = CODES.get(code, State.FAILED)
            if state is not None:
                states[f"{cluster}.{event.proc}"] = state
    return states, clusters


BEGIN = """line=$(($1 + 1)) restarts=0 cores=${{OMP_NUM_THREADS:-1}}
begun=output/.{number}_$line
[ ! -e "$begun" ] || restarts=1
: > "$begun\""""


class HTCondor(ArrayScheduler):
    """Implements `Scheduler`; a job is one of a cluster, such as `123.4`."""

    name = "HTCondor"
    output_name = "htcondor.txt"
    job, first = "{array}.{task}", 0
    options: Mapping[str, Acceptor] = OPTIONS

    def states(self, jobs: Mapping[str, Path | None]) -> dict[str, State]:
        states: dict[str, State] = {}
        for folder in {folder for folder in jobs.values() if folder is not None and (folder / LOG).is_file()}:
            seen, clusters = read_events(folder / LOG)
            # Of a cluster that is limited, jobs come into being one after another.
            for job in (job for job, its in jobs.items() if its == folder):
                waits = State.QUEUED if job.partition(".")[0] in clusters else State.INTERRUPTED
                states[job] = seen.get(job, waits)
        return states

    def cancel(self, jobs: Mapping[str, Path | None]) -> dict[str, State]:
        before = self.states(jobs)
        if alive := [job for job in jobs if before.get(job, State.RUNNING).at_work]:
            with bindings() as condor:
                condor.Schedd().act(condor.JobAction.Remove, alive, "qexp stop")
        return {job: State.INTERRUPTED for job, state in before.items() if state is State.QUEUED}

    def this_job(self) -> tuple[str, str | None] | None:
        job = os.environ.get("QEXP_HTCONDOR_JOB")
        return (job, os.environ.get("QEXP_HTCONDOR_CLUSTER")) if job else None

    def cluster(self) -> str | None:
        try:
            with bindings() as condor:
                return str(condor.Collector().locate(condor.DaemonType.Schedd)["Name"])
        except QexpError:
            return os.environ.get("QEXP_HTCONDOR_CLUSTER")

    def longest(self) -> int:
        with bindings():  # fails here instead of after what is written
            return 10_000

    def shell(self, array: Array) -> Shell:
        return Shell(
            begin=BEGIN.format(number=array.number),
            output='exec >> "$output" 2>&1',
            signals="# HTCondor sends SIGTERM to this script alone.\ntrap stop TERM",
            heard="",
            **arrays.timed(array.launch.options),
        )

    def command(self, array: Array, runs: bool) -> list[str]:
        return ["condor_submit", f"array_{array.number}.sub"]

    def submit_array(self, array: Array, command: Sequence[str]) -> str:
        files.write_bytes(array.folder / command[-1], os.fsencode(self.description(array)))
        with bindings() as condor:
            return str(condor.Schedd().submit(condor.Submit((array.folder / command[-1]).read_text())).cluster())

    def description(self, array: Array) -> str:
        """The submit description of an array."""
        launch, options = array.launch, array.launch.options
        folder = str(array.folder.absolute())
        if '"' in folder or "$" in folder:
            raise QexpError(f"{folder}: HTCondor does not accept a path with $ or quotation marks; move the workspace")
        lines = {
            "universe": "vanilla", "executable": "/bin/bash", "transfer_executable": "false",
            "arguments": f'"{array.script} $(Process)"', "initialdir": folder, "log": f"{folder}/{LOG}",
            "batch_name": launch.name, "should_transfer_files": "NO", "getenv": "true",
            "environment": f'"QEXP_HTCONDOR_JOB=$(Cluster).$(Process) QEXP_HTCONDOR_CLUSTER={self.cluster() or ""}"',
            "job_max_vacate_time": options["signal"], "on_exit_remove": "ExitBySignal || ExitCode != 99",
        }  # fmt: skip
        if launch.at_most:
            lines["max_materialize"] = str(launch.at_most)
        if "time" in options:
            lines["allowed_execute_duration"] = str(seconds_of(options["time"]))
        lines |= {flag: options[key] for key, flag in FLAGS.items() if key in options}
        lines |= {
            key: str(value).lower() if isinstance(value, bool) else value
            for key, value in options.get("options", {}).items()
        }
        return "".join(f"{key} = {value}\n" for key, value in lines.items()) + f"queue {array.tasks}\n"
