"""Slurm as a launcher: runs and commands are tasks of job arrays."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from qexp.errors import QexpError, SchedulerError
from qexp.jobs import scheduler
from qexp.jobs.scheduler import OWN, TIME_IS_UP, Array, Option, Scheduler, array_of, found
from qexp.store.record import State

STATES = scheduler.by_word(
    {
        "PENDING CONFIGURING REQUEUED REQUEUE_HOLD REQUEUE_FED RESV_DEL_HOLD SPECIAL_EXIT POWER_UP_NODE": (
            State.QUEUED
        ),
        # A completing job may still be requeued: its final state is known only later.
        "RUNNING COMPLETING SUSPENDED STOPPED RESIZING SIGNALING STAGE_OUT EXPEDITING": (
            State.RUNNING
        ),
        "COMPLETED": State.DONE,
        "FAILED": State.FAILED,
        "TIMEOUT DEADLINE": State.TIMEOUT,
        "OUT_OF_MEMORY": State.OUT_OF_MEMORY,
        "PREEMPTED": State.PREEMPTED,
        "CANCELLED": State.INTERRUPTED,
        "NODE_FAIL BOOT_FAIL LAUNCH_FAILED RECONFIG_FAIL REVOKED": State.LOST,
    }
)


def read_states(answer: str) -> Iterator[tuple[str, State]]:
    """Job → state from lines of sacct or squeue, `123_[4-9%2]|PENDING|0:0`; known ones only."""
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
    # sacct writes exit code and signal as `124:0`, and subtracts 128 from codes of 128 or more;
    # squeue the status of wait(2).
    code_text, colon, signal_text = ending.strip().partition(":")
    code = int(code_text) if code_text.isdecimal() else 0
    signal = int(signal_text) if signal_text.isdecimal() else 0
    if not colon:
        code, signal = code >> 8, code & 127
    if code == TIME_IS_UP:
        return State.TIMEOUT
    # Without cgroups Slurm kills the whole job for its memory, and reports a failure.
    return State.OUT_OF_MEMORY if signal == 9 else State.FAILED


def _tasks(job: str) -> list[str]:
    """The tasks of an array: `123_[4-6,9%2]` → 123_4, 123_5, 123_6, 123_9; else the job itself."""
    array, bracket, tasks = job.partition("_[")
    numbers = scheduler.numbers(tasks.rstrip("]").partition("%")[0])
    return [f"{array}_{number}" for number in numbers] if bracket else [job]


_TIME = r"\d+(:\d{1,2}){0,2}|\d+-\d{1,2}(:\d{1,2}){0,2}|UNLIMITED"

FLAGS: dict[str, str] = {
    "partition": "partition",
    "account": "account",
    "time": "time",
    "cpus": "cpus-per-task",
    "memory": "mem",
    "gres": "gres",
    "qos": "qos",
    "constraint": "constraint",
}
"""Option → the option of sbatch that takes its value unchanged."""

TAKEN = scheduler.taken(
    FLAGS,
    {
        "signal": (
            "write it as signal = 60, the seconds before the time limit, in the table around it"
        ),
        "requeue": "write it as requeue = true in the table around it",
        "no-requeue": "write it as requeue = false in the table around it",
        "wrap": (
            "write it as wrap = ..., which is the command around each run, in the table around it"
        ),
        "job-name": f"{OWN}, to the name of the launch; --tag and --note describe runs",
        "array": f"{OWN}, to a task for each run; -j limits how many run at a time",
        "dependency kill-on-invalid-dep": f"{OWN}, between the arrays of a launch",
        "output error": f"{OWN}, to slurm.txt in the directory of each run",
        "open-mode": f"{OWN}, because a run that continues appends to slurm.txt",
        "input": f"{OWN}; runs read no input",
        "chdir": f"{OWN}, to the folder of the launch",
        "parsable quiet verbose": f"{OWN}, to read the number of the job",
        "test-only": "it would submit nothing; see the runs of a command with --dry-run",
        "wait": "wait for runs with: qexp wait",
        "clusters": (
            "qexp asks the cluster of this machine for its jobs; submit from a machine of the"
            " other one"
        ),
        "ntasks": "a run is one task; give it cores with cpus = ... in the table around it",
        "export-file": (
            'the jobs get the environment of the command; set variables with setup = ["export'
            ' NAME=VALUE"]'
        ),
        "help usage version": "it would submit nothing",
    },
)

OPTIONS: dict[str, scheduler.Acceptor] = {
    **scheduler.OPTIONS,
    "partition": Option(r"[\w.,-]+", "the name of a partition, or several with commas between"),
    "account": Option(r"[\w.-]+", "the name of an account"),
    "time": Option(
        _TIME, 'minutes, or a text such as "4:00:00" or "1-12:00:00" (days-hours:minutes:seconds)'
    ),
    "cpus": scheduler.CPUS,
    "memory": Option(r"\d+[KMGTkmgt]?", "the memory per run, such as 4G or 500M"),
    "gres": Option(r"[\w.:,/-]+", "generic resources, such as gpu:1"),
    "qos": Option(r"[\w.-]+", "the name of a quality of service"),
    "constraint": Option(r"[\w.,:&|!*()\[\]-]+", "features of nodes, such as a100|h100"),
    "options": scheduler.PassedOn("sbatch", TAKEN),
}

CONFIGURATION = ("scontrol", "show", "config")

LISTED = (
    "squeue",
    "--array",
    "--states=all",
    "--noheader",
    "--Format=jobarrayid:|,state:|,exit_code:|",
)

ACCOUNTED = ("sacct", "--allocations", "--parsable2", "--noheader", "--format=JobID,State,ExitCode")


def call(*command: str, **how: Any) -> str:
    """See `scheduler.call`; output is not changed by the user's variables, nor abbreviated."""
    variables = {
        key: value for key, value in os.environ.items() if not key.startswith(("SQUEUE_", "SACCT_"))
    }
    return scheduler.call(*command, environment={**variables, "SLURM_BITSTR_LEN": "0"}, **how)


def _answers(command: Sequence[str], jobs: Iterable[str], harmless: str) -> dict[str, State]:
    """Job → state, for arrays of jobs; an error with harmless words tells of unknown ones."""
    states: dict[str, State] = {}
    for part in scheduler.parts(sorted({array_of(job) for job in jobs})):
        try:
            states.update(read_states(call(*command, f"--jobs={','.join(part)}")))
        except QexpError as error:
            if harmless not in str(error):
                raise
    return states


class Slurm(Scheduler):
    """Implements `Scheduler`; a job is a task of an array, such as `123_4`."""

    name, output_name, job = "Slurm", "slurm.txt", "{array}_{task}"
    variables = ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_CLUSTER_NAME")
    warns = True
    begin = (
        "line=$((SLURM_ARRAY_TASK_ID + 1)) restarts=${SLURM_RESTART_COUNT:-0}\n"
        "cores=${SLURM_CPUS_PER_TASK:-${SLURM_CPUS_ON_NODE:-1}}"
    )
    signals = (
        "# Slurm sends SIGUSR1 to this script alone, when the time is nearly up, but SIGTERM to all"
        " processes.\ntrap 'time_is_up=yes; stop' USR1"
    )
    requeue = 'scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"'
    options = OPTIONS

    def states(self, jobs: Iterable[str]) -> dict[str, State]:
        """See `Scheduler`.

        Only the controller knows which jobs wait and run, and it forgets a job some minutes after
        its end; the accounting database, where there is one, keeps ended jobs for long, but is
        updated seconds late.
        """
        wanted = set(jobs)
        try:
            listed = _answers(LISTED, wanted, "Invalid job id")
        except SchedulerError:
            accounted = _answers(ACCOUNTED, wanted, "")
            if not wanted & accounted.keys():
                raise
            return {job: state for job, state in accounted.items() if job in wanted}
        states = {job: state for job, state in listed.items() if job in wanted}
        forgotten = wanted - states.keys()
        accounted = _answers(ACCOUNTED, forgotten, "")
        known = {array_of(job) for job in accounted if "_" in job}
        for job in forgotten:
            state = accounted.get(job, State.QUEUED if array_of(job) in known else None)
            # In the accounting a task that was cancelled before it began stays pending for ever, or
            # is missing.
            if state is State.QUEUED:
                states[job] = State.INTERRUPTED
            elif state is not None and not state.at_work:
                states[job] = state
        return states

    def end(self, jobs: Sequence[str]) -> None:
        call("scancel", "--quiet", *jobs)

    def ask_cluster(self) -> str | None:
        return found(r"^ClusterName\s*=\s*(\S+)", call(*CONFIGURATION))

    def longest(self) -> int:
        """Task numbers must be less than MaxArraySize."""
        scheduler.require("sbatch")
        return int(found(r"^MaxArraySize\s*=\s*(\d+)", call(*CONFIGURATION)) or 1000)

    def command(self, array: Array) -> list[str]:
        launch = array.launch
        options = array.launch.options
        folder = str(array.folder)
        if "\\" in folder:
            raise QexpError(
                f"{folder}: Slurm does not accept a path with a backslash; move the workspace"
            )
        folder = folder.replace("%", "%%")  # sbatch replaces patterns such as %a in file names
        passed_on = list[str]()
        for flag, value in options.get("options", {}).items():
            if value is not False:
                passed_on.append(f"--{flag}" if value is True else f"--{flag}={value}")
        return [
            "sbatch",
            "--parsable",
            f"--job-name={launch.name}",
            f"--array=0-{len(array.lines) - 1}" + (f"%{launch.at_most}" if launch.at_most else ""),
            f"--output={folder}/{array.output}%a.txt",
            "--open-mode=append",
            f"--signal=B:USR1@{options['signal']}",
            "--requeue" if options["requeue"] == "true" else "--no-requeue",
            *(f"--{flag}={options[key]}" for key, flag in FLAGS.items() if key in options),
            *passed_on,
            *([f"--dependency=afterany:{array.previous}"] if array.previous else []),
            array.script,
        ]

    def submit_array(self, array: Array, command: Sequence[str]) -> str:
        answer = call(*command, cwd=array.folder, timeout=None)
        return answer.strip().partition(";")[0]  # "123;cluster" if there are several clusters
