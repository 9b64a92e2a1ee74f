"""HTCondor as a launcher: runs and commands are the jobs of clusters, submitted and followed by its
Python bindings.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from qexp.base import files
from qexp.errors import QexpError, SchedulerError, extra
from qexp.jobs import scheduler
from qexp.jobs.scheduler import CODES, OWN, Array, Option, Scheduler, array_of, seconds_of
from qexp.store.record import State

FLAGS = {
    "cpus": "request_cpus",
    "memory": "request_memory",
    "gpus": "request_gpus",
    "requirements": "requirements",
}
"""Option → the command of a submit description that takes its value unchanged."""

TAKEN = scheduler.taken(
    FLAGS,
    {
        "allowed_execute_duration": 'write it as time = "4:00:00" in the table around it',
        "executable arguments initialdir log output error environment getenv": OWN,
        "universe should_transfer_files on_exit_remove max_materialize queue": OWN,
    },
)

OPTIONS: dict[str, scheduler.Acceptor] = {
    **scheduler.OPTIONS,
    "cpus": scheduler.CPUS,
    "memory": Option(r"\d+ ?[KMGT]?B?", "the memory per run, such as 4GB; without a unit in MB"),
    "gpus": Option(r"\d+", "the number of GPUs per run"),
    "requirements": Option(
        r"[^\x00-\x1f]+", "what a machine must have, such as 'OpSysMajorVer >= 9'"
    ),
    "options": scheduler.PassedOn(
        "submit descriptions", TAKEN, r"[A-Za-z+][\w.]*", "a command of", 'notify_user = "me@a.org"'
    ),
}

LOG = "events.log"
"""File in the folder of a launch with the events of its jobs."""

HELD = {1: State.QUEUED, 34: State.OUT_OF_MEMORY, 46: State.TIMEOUT, 47: State.TIMEOUT}
"""Code of the reason for holding a job → state: held by its user; over its memory or time. Others
are failures.
"""

EVENTS = scheduler.by_word(
    {
        "SUBMIT JOB_EVICTED JOB_RELEASED SHADOW_EXCEPTION JOB_RECONNECT_FAILED": State.QUEUED,
        "EXECUTE JOB_RECONNECTED JOB_DISCONNECTED JOB_UNSUSPENDED": State.RUNNING,
        "JOB_ABORTED": State.INTERRUPTED,
        "EXECUTABLE_ERROR": State.FAILED,
    }
)


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
            cluster = str(event.cluster)
            kind = event.type.name
            if kind == "CLUSTER_REMOVE":
                clusters.discard(cluster)
            elif kind in ("CLUSTER_SUBMIT", "SUBMIT"):
                clusters.add(cluster)
            state = EVENTS.get(kind)
            if kind == "JOB_HELD":
                state = HELD.get(event.get("HoldReasonCode", 0), State.FAILED)
            elif kind == "JOB_TERMINATED":
                normal = event.get("TerminatedNormally")
                code = (
                    event.get("ReturnValue", 1)
                    if normal
                    else 128 + event.get("TerminatedBySignal", 0)
                )
                state = CODES.get(code, State.FAILED)
            if state is not None:
                states[f"{cluster}.{event.proc}"] = state
    return states, clusters


def _removed(folder: Path, job: str) -> Path:
    """The file that ends a job when it begins: HTCondor removes none that has yet to come."""
    return folder / "output" / f".removed_{job}"


class HTCondor(Scheduler):
    """Implements `Scheduler`; a job is one of a cluster, such as `123.4`."""

    name, output_name = "HTCondor", "htcondor.txt"
    variables = ("QEXP_HTCONDOR_ARRAY", "QEXP_HTCONDOR_TASK", "QEXP_HTCONDOR_CLUSTER")
    begin = """line=$(($1 + 1)) restarts=0 cores=${OMP_NUM_THREADS:-1}
[ ! -e "output/.removed_$QEXP_HTCONDOR_ARRAY.$QEXP_HTCONDOR_TASK" ] || exit 130
begun=output/.$0_$line
[ ! -e "$begun" ] || restarts=1
: > "$begun\""""
    heard = "# HTCondor sends SIGTERM to this script alone.\ntrap stop TERM"
    options = OPTIONS

    def states(self, jobs: Mapping[str, Path | None]) -> dict[str, State]:
        states: dict[str, State] = {}
        events_in = cache(read_events)
        for job, folder in jobs.items():
            if folder is None or not (folder / LOG).is_file():
                continue
            seen, clusters = events_in(folder / LOG)
            # Of a cluster that is limited, jobs come into being one after another.
            waits = State.QUEUED if array_of(job) in clusters else State.INTERRUPTED
            states[job] = seen.get(job, waits)
            if states[job] is State.QUEUED and _removed(folder, job).exists():
                states[job] = State.INTERRUPTED
        return states

    def cancel(self, jobs: Mapping[str, Path | None]) -> dict[str, State]:
        for job, folder in jobs.items():
            if folder is not None:
                _removed(folder, job).touch()
        return super().cancel(jobs)

    def end(self, jobs: Sequence[str]) -> None:
        with bindings() as condor:
            condor.Schedd().act(condor.JobAction.Remove, list(jobs), "qexp stop")

    def ask_cluster(self) -> str | None:
        with bindings() as condor:
            return str(condor.Collector().locate(condor.DaemonType.Schedd)["Name"])

    def longest(self) -> int:
        with bindings():  # fails here instead of after what is written
            return 10_000

    def command(self, array: Array) -> list[str]:
        return ["condor_submit", f"array_{array.number}.sub"]

    def submit_array(self, array: Array, command: Sequence[str]) -> str:
        description = self.description(array)
        files.write_bytes(array.folder / command[-1], os.fsencode(description))
        with bindings() as condor:
            return str(condor.Schedd().submit(condor.Submit(description)).cluster())

    def description(self, array: Array) -> str:
        launch = array.launch
        options = array.launch.options
        folder = str(array.folder)
        if re.search(r'["$\x00-\x1f]', folder):
            raise QexpError(
                f"{folder}: HTCondor takes no $, quotation marks or line breaks; move the workspace"
            )
        values = "$(Cluster)", "$(Process)", self.cluster() or ""
        environment = zip(self.variables, values, strict=True)
        lines = {
            "universe": "vanilla",
            "executable": "/bin/bash",
            "transfer_executable": "false",
            "arguments": f'"{array.script} $(Process)"',
            "initialdir": folder,
            "log": f"{folder}/{LOG}",
            "batch_name": launch.name,
            "should_transfer_files": "NO",
            "getenv": ", ".join(["*", *(f"!*{part}*" for part in scheduler.SECRETS)]),
            "environment": f'"{" ".join(map("=".join, environment))}"',
            "job_max_vacate_time": options["signal"],
            "on_exit_remove": "ExitBySignal || ExitCode != 99",
        }
        if launch.at_most:
            lines["max_materialize"] = str(launch.at_most)
        if "time" in options:
            lines["allowed_execute_duration"] = str(seconds_of(options["time"]))
        lines |= {flag: options[key] for key, flag in FLAGS.items() if key in options}
        for key, value in options.get("options", {}).items():
            lines[key] = str(value).lower() if isinstance(value, bool) else value
        text = "".join(f"{key} = {value}\n" for key, value in lines.items())
        return f"{text}queue {len(array.lines)}\n"
