"""Slurm as a launcher: runs and commands are tasks of job arrays."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from qexp.errors import QexpError, SchedulerError
from qexp.jobs import arrays
from qexp.jobs.arrays import JOBS_PER_CALL, TIME_IS_UP, Array, ArrayScheduler, Shell, parts
from qexp.jobs.scheduler import Acceptor, Option, PassedOn
from qexp.store.record import State

STATES: dict[str, State] = {
    **dict.fromkeys(
        ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT",
         "POWER_UP_NODE"),
        State.QUEUED,
    ),
    # A completing job may still be requeued: its final state is known only later.
    **dict.fromkeys(
        ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT", "EXPEDITING"),
        State.RUNNING,
    ),
    "COMPLETED": State.DONE,
    "FAILED": State.FAILED,
    "TIMEOUT": State.TIMEOUT,
    "DEADLINE": State.TIMEOUT,
    "OUT_OF_MEMORY": State.OUT_OF_MEMORY,
    "PREEMPTED": State.PREEMPTED,
    "CANCELLED": State.INTERRUPTED,
    **dict.fromkeys(("NODE_FAIL", "BOOT_FAIL", "LAUNCH_FAILED", "RECONFIG_FAIL", "REVOKED"), State.LOST),
}  # fmt: skip


def read_states(answer: str) -> Iterator[tuple[str, State]]:
    """Job → state from lines such as `123_[4-9%2]|PENDING|0:0` of sacct or squeue; unknown states are left out."""
    for line in answer.splitlines():
        job, _, rest = line.strip().partition("|")
        word, _, ending = rest.partition("|")
        state = _state(word, ending.strip("|"))
        if state is not None:
            yield from ((task, state) for task in _tasks(job.strip()))


def _state(word: str, ending: str) -> State | None:
    """The state for a Slurm state such as `CANCELLED by 1000` and the exit code of the script."""
    state = STATES.get(word.split()[0].rstrip("+") if word.split() else "")
    if state is not State.FAILED:
        return state
    # sacct writes exit code and signal as `124:0`, and subtracts 128 from codes of 128 or more; squeue the status of
    # wait(2).
    before, colon, after = ending.strip().partition(":")
    first, second = (int(text) if text.isdecimal() else 0 for text in (before, after))
    code, signal = (first, second) if colon else (first >> 8, first & 127)
    if code == TIME_IS_UP:
        return State.TIMEOUT
    # Without cgroups Slurm kills the whole job when it needs too much memory, and reports a failure.
    return State.OUT_OF_MEMORY if signal == 9 else State.FAILED


def _tasks(job: str) -> Iterator[str]:
    """The tasks of an array: `123_[4-6,9%2]` → 123_4, 123_5, 123_6, 123_9; any other job stands for itself."""
    array, bracket, tasks = job.partition("_[")
    if not bracket:
        yield job
        return
    yield from (f"{array}_{task}" for task in arrays.numbers(tasks.rstrip("]").partition("%")[0]))


# Options of sbatch that a launch can choose.


_TIME = r"\d+(:\d{1,2}){0,2}|\d+-\d{1,2}(:\d{1,2}){0,2}|UNLIMITED"

FLAGS: dict[str, str] = {
    "partition": "partition", "account": "account", "time": "time", "cpus": "cpus-per-task", "memory": "mem",
    "gres": "gres", "qos": "qos", "constraint": "constraint",
}  # fmt: skip
"""Option → the option of sbatch that takes its value unchanged."""

_OWN = "qexp sets it itself"

TAKEN: dict[str, str] = {
    **{flag: f"write it as {key} = ... in the table around it" for key, flag in FLAGS.items()},
    "signal": "write it as signal = 60, the seconds before the time limit, in the table around it",
    "requeue": "write it as requeue = true in the table around it",
    "no-requeue": "write it as requeue = false in the table around it",
    "wrap": "write it as wrap = ..., which is the command around each run, in the table around it",
    "job-name": f"{_OWN}, to the name of the launch; --tag and --note describe runs",
    "array": f"{_OWN}, to a task for each run; -j limits how many run at a time",
    "dependency": f"{_OWN}, between the arrays of a launch",
    "kill-on-invalid-dep": f"{_OWN}, between the arrays of a launch",
    "output": f"{_OWN}, to slurm.txt in the directory of each run",
    "error": f"{_OWN}, to slurm.txt in the directory of each run",
    "open-mode": f"{_OWN}, because a run that continues appends to slurm.txt",
    "input": f"{_OWN}; runs read no input",
    "chdir": f"{_OWN}, to the folder of the launch",
    "parsable": f"{_OWN}, to read the number of the job",
    "quiet": f"{_OWN}, to read the number of the job",
    "verbose": f"{_OWN}, to read the number of the job",
    "test-only": "it would submit nothing; see the runs of a command with --dry-run",
    "wait": "wait for runs with: qexp wait",
    "clusters": "qexp asks the cluster of this machine for its jobs; submit from a machine of the other one",
    "ntasks": "a run is one task; give it cores with cpus = ... in the table around it",
    "export-file": 'the jobs get the environment of the command; set variables with setup = ["export NAME=VALUE"]',
    "help": "it would submit nothing",
    "usage": "it would submit nothing",
    "version": "it would submit nothing",
}
"""Option of sbatch that cannot be passed on → what to write instead, or what sets it."""

OPTIONS: dict[str, Acceptor] = {
    "partition": Option(r"[\w.,-]+", "the name of a partition, or several with commas between"),
    "account": Option(r"[\w.-]+", "the name of an account"),
    "time": Option(_TIME, 'minutes, or a text such as "4:00:00" or "1-12:00:00" (days-hours:minutes:seconds)'),
    "cpus": Option(r"[1-9]\d*", "the number of CPUs per run, from 1 on"),
    "memory": Option(r"\d+[KMGTkmgt]?", "the memory per run, such as 4G or 500M"),
    "gres": Option(r"[\w.:,/-]+", "generic resources, such as gpu:1"),
    "qos": Option(r"[\w.-]+", "the name of a quality of service"),
    "constraint": Option(r"[\w.,:&|!*()\[\]-]+", "features of nodes, such as a100|h100"),
    **arrays.OPTIONS,
    "options": PassedOn("sbatch", TAKEN),
}

# Calls of Slurm's programs.


CLUSTER = "SLURM_CLUSTER_NAME"
"""Environment variable that is set in every job."""


def environment() -> dict[str, str]:
    """The user's environment without variables that change the output format; task lists are not abbreviated."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("SQUEUE_", "SACCT_"))}
    return {**variables, "SLURM_BITSTR_LEN": "0"}


def call(*command: str) -> str:
    return arrays.call(*command, environment=environment())


def cluster() -> str | None:
    """The name of the cluster that Slurm's programs on this machine talk to; None if they do not say."""
    try:
        return setting("ClusterName", r"\S+")
    except QexpError:
        return os.environ.get(CLUSTER)


def setting(name: str, pattern: str) -> str | None:
    """A value of the cluster's configuration. Raises QexpError if the controller cannot be reached."""
    match = re.search(rf"^{name}\s*=\s*({pattern})", call("scontrol", "show", "config"), re.MULTILINE)
    return match[1] if match else None


# Jobs that Slurm has accepted: their states, and cancelling them.


def job_states(jobs: Iterable[str]) -> dict[str, State]:
    """Job → current state, for jobs that Slurm still lists.

    Only the controller knows which jobs wait and run, and it forgets a job some minutes after its end; the accounting
    database keeps ended jobs for long, but is updated seconds late.
    Raises SchedulerError if neither answers.
    """
    wanted = set(jobs)
    try:
        states = {job: state for job, state in _from_squeue(_arrays(wanted)) if job in wanted}
    except SchedulerError:
        accounted = {job: state for job, state in _from_sacct(_arrays(wanted)) if job in wanted}
        if not accounted:
            raise
        return accounted
    forgotten = wanted - states.keys()
    accounted = dict(_from_sacct(_arrays(forgotten)))
    known = {_array(job) for job in accounted if "_" in job}
    for job in forgotten:
        state = accounted.get(job, State.QUEUED if _array(job) in known else None)
        # In the accounting a task that was cancelled before it began stays pending for ever, or is missing.
        if state is State.QUEUED:
            states[job] = State.INTERRUPTED
        elif state is not None and not state.at_work:
            states[job] = state
    return states


def _array(job: str) -> str:
    return job.partition("_")[0]


def _arrays(jobs: Iterable[str]) -> list[str]:
    return sorted({_array(job) for job in jobs})


LISTED = ("squeue", "--array", "--states=all", "--noheader", "--Format=jobarrayid:|,state:|,exit_code:|")

ACCOUNTED = ("sacct", "--allocations", "--parsable2", "--noheader", "--format=JobID,State,ExitCode")


def _from_squeue(jobs: Sequence[str]) -> Iterator[tuple[str, State]]:
    """The states from squeue: jobs that wait, run, or ended within the last few minutes."""
    for part in parts(jobs, JOBS_PER_CALL):
        try:
            yield from read_states(call(*LISTED, f"--jobs={','.join(part)}"))
        except SchedulerError as error:
            if "Invalid job id" not in str(error):
                raise


def _from_sacct(jobs: Sequence[str]) -> Iterator[tuple[str, State]]:
    """The states from sacct; empty without an accounting database."""
    for part in parts(jobs if shutil.which("sacct") else [], JOBS_PER_CALL):
        with suppress(SchedulerError):
            yield from read_states(call(*ACCOUNTED, f"--jobs={','.join(part)}"))


def cancel_jobs(jobs: Collection[str]) -> dict[str, State]:
    """Cancel jobs that wait or run; jobs that have ended are left alone.

    Returns job → state for jobs that waited, to be stored: without accounting Slurm forgets them at once.
    """
    before = job_states(jobs)
    for part in parts(list(jobs), JOBS_PER_CALL):
        call("scancel", "--quiet", *part)
    return {job: State.INTERRUPTED for job, state in before.items() if state is State.QUEUED}


def this_job() -> tuple[str, str | None] | None:
    """The array task of this process, and its cluster."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{part}_ID") for part in ("JOB", "TASK"))
    return (f"{array}_{task}", os.environ.get(CLUSTER)) if array and task else None


# Slurm as a launcher: runs are tasks of job arrays.


SHELL = Shell(
    begin="line=$((SLURM_ARRAY_TASK_ID + 1)) restarts=${SLURM_RESTART_COUNT:-0}\n"
    "cores=${SLURM_CPUS_PER_TASK:-${SLURM_CPUS_ON_NODE:-1}}",
    output="# Slurm redirects the output to that file.",
    signals="# Slurm sends SIGUSR1 to this script alone, when the time is nearly up, but SIGTERM to all processes."
    "\ntrap 'time_is_up=yes; stop' USR1",
    requeue='scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"',
)


class Slurm(ArrayScheduler):
    """Implements `Scheduler`; a job is a task of an array, such as `123_4`."""

    name = "Slurm"
    output_name = "slurm.txt"
    job, first = "{array}_{task}", 0
    options: Mapping[str, Acceptor] = OPTIONS
    states = staticmethod(job_states)
    cancel = staticmethod(cancel_jobs)
    this_job = staticmethod(this_job)
    cluster = staticmethod(cluster)

    def longest(self) -> int:
        """Task numbers must be less than MaxArraySize."""
        arrays.require("sbatch")
        return int(setting("MaxArraySize", r"\d+") or 1000)

    def shell(self, array: Array) -> Shell:
        return SHELL

    def command(self, array: Array, runs: bool) -> list[str]:
        launch, options, number = array.launch, array.launch.options, array.number
        output = _pattern(array.folder / (f"array_{number}" if runs else "output"))
        passed_on = options.get("options", {}).items()
        return [
            "sbatch", "--parsable", f"--job-name={launch.name}",
            f"--array=0-{array.tasks - 1}" + (f"%{launch.at_most}" if launch.at_most else ""),
            f"--output={output}/{'' if runs else f'{number}_'}%a.txt", "--open-mode=append",
            f"--signal=B:USR1@{options['signal']}",
            "--requeue" if options["requeue"] == "true" else "--no-requeue",
            *(f"--{flag}={options[key]}" for key, flag in FLAGS.items() if key in options),
            *(f"--{flag}" if value is True else f"--{flag}={value}" for flag, value in passed_on if value is not False),
            *([f"--dependency=afterany:{array.before}"] if array.before else []),
            array.script,
        ]  # fmt: skip

    def submit_array(self, array: Array, command: Sequence[str]) -> str:
        answer = arrays.call(*command, environment=environment(), cwd=array.folder, timeout=None)
        return answer.strip().partition(";")[0]  # "123;cluster" if there are several clusters


def _pattern(folder: Path) -> str:
    """The folder's path, escaped for sbatch, which replaces patterns such as %a in file names."""
    path = str(folder.absolute())
    if "\\" in path:
        raise QexpError(f"{path}: Slurm does not accept a path with a backslash; move the workspace")
    return path.replace("%", "%%")
