"""Slurm as a launcher: runs and commands are tasks of job arrays."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from qexp.base import files
from qexp.errors import QexpError, SchedulerError
from qexp.jobs.scheduler import Acceptor, Option, PassedOn, Submission, wrap_of
from qexp.store.directory import RunDirectory
from qexp.store.record import State

TIME_IS_UP = 124
"""Exit code of a job whose run was stopped before the time limit; sacct reports the run's own code, 130, as 2."""

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
    for first, last, step in re.findall(r"(\d+)(?:-(\d+)(?::(\d+))?)?", tasks.rstrip("]").partition("%")[0]):
        yield from (f"{array}_{task}" for task in range(int(first), int(last or first) + 1, int(step or 1)))


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
    "signal": Option(
        r"[1-9]\d{0,4}", "whole seconds before the time limit, from 1 to 65535", default="60", largest=65535
    ),
    "requeue": Option(r"true|false", "true or false", default="false"),
    "setup": Option(r"[^\x00-\x1f\x7f]+", "shell lines to run before a run, one text each", several=True),
    "options": PassedOn("sbatch", TAKEN),
}

# Calls of Slurm's programs.


T = TypeVar("T")

ANSWER_SECONDS = 60.0
"""Seconds after which a controller that has not answered counts as unreachable."""

CLUSTER = "SLURM_CLUSTER_NAME"
"""Environment variable that is set in every job."""


def parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def require(program: str) -> None:
    if shutil.which(program) is None:
        raise QexpError(
            f"there is no {program} on the PATH: submit from a machine of the cluster, "
            "load its module, or run here: --launcher local"
        )


def call(*command: str) -> str:
    """The output of a Slurm program. Raises SchedulerError with its message if it fails."""
    require(command[0])
    try:
        answer = subprocess.run(
            command,
            env=environment(),
            timeout=ANSWER_SECONDS,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SchedulerError(f"{command[0]} has not answered for {ANSWER_SECONDS:.0f} s") from None
    if answer.returncode:
        raise SchedulerError(f"{command[0]} refused:\n{message_of(answer)}")
    return answer.stdout


def message_of(answer: subprocess.CompletedProcess[str]) -> str:
    return answer.stderr.strip() or answer.stdout.strip() or f"no message, exit code {answer.returncode}"


def environment() -> dict[str, str]:
    """The user's environment without variables that change the output format; task lists are not abbreviated."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("SQUEUE_", "SACCT_"))}
    return {**variables, "SLURM_BITSTR_LEN": "0"}


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


# The shell scripts that Slurm runs, one task of an array each.


RUNS = r"""#!/bin/bash
# Launch {launch}: one run per task; {runs} lists their directories.
# Submitted from this folder by:
#   {command}

run=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {runs})
if [ -z "$run" ]; then
    echo "line $((SLURM_ARRAY_TASK_ID + 1)) of {runs} in $PWD on $(hostname) names no run" >&2
    exit 3
fi
checkpoint() {{
    stat -c '%i %y' -- "$run/checkpoints/last.safetensors" "$run"/folds/*/checkpoints/best.safetensors \
        "$run"/folds/.stacks/*/*/stack.safetensors 2> /dev/null
}}
before=$(checkpoint)
if [ "${{SLURM_RESTART_COUNT:-0}}" -gt 0 ]; then
    # Slurm has made sure that the previous attempt, possibly on another node, has ended.
    rm -f -- "$run"/attempts/*/heartbeat
fi

# Slurm sends SIGUSR1 to this script alone when the time is nearly up, but SIGTERM to every process of the job.
time_is_up= signalled= python=
trap 'time_is_up=yes signalled=yes; [ -z "$python" ] || kill -TERM "$python"' USR1
{setup}
trap 'signalled=yes' TERM
if [ -n "$time_is_up" ]; then exit {time_is_up}; fi
{python} -m qexp execute "$run" --device {device} {wrap}\
    --threads "${{SLURM_CPUS_PER_TASK:-${{SLURM_CPUS_ON_NODE:-1}}}}" &
python=$!
while :; do  # a signal ends `wait` before the process has ended
    signalled=
    wait "$python" && code=0 || code=$?
    [ -n "$signalled" ] || break
done

if [ -n "$time_is_up" ] && [ "$code" = 130 ]; then
    # A run that makes no progress within its time limit would be requeued without end.
    if [ {requeue} = true ] && [ "$(checkpoint)" != "$before" ]; then
        scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
    fi
    code={time_is_up}
fi
exit "$code"
"""

COMMANDS = r"""#!/bin/bash
# {name}: one command per task; {commands} lists them.
# Submitted from this folder by:
#   {command}
{setup}
export OMP_NUM_THREADS="${{OMP_NUM_THREADS:-${{SLURM_CPUS_PER_TASK:-${{SLURM_CPUS_ON_NODE:-1}}}}}}"
command=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {commands})
eval "exec $command"
"""


def script_of_runs(launch: str, runs: str, command: Sequence[str], options: Mapping[str, Any], device: str) -> str:
    """The script of an array of runs.

    runs     the file beside it that lists their directories
    command  the command that submits it
    """
    return RUNS.format(
        launch=launch,
        runs=runs,
        command=shlex.join(command),
        setup="\n".join(options["setup"]),
        python=shlex.quote(sys.executable),
        device=shlex.quote(device),
        requeue=options["requeue"],
        wrap="".join(f"{shlex.quote(word)} " for word in wrap_of(options).arguments()),
        time_is_up=TIME_IS_UP,
    )


def script_of_commands(name: str, commands: str, command: Sequence[str], options: Mapping[str, Any]) -> str:
    """The script of an array of commands, which are listed in a file beside it."""
    setup = "\n".join(options["setup"])
    return COMMANDS.format(name=name, commands=commands, command=shlex.join(command), setup=setup)


# Jobs that Slurm has accepted: their states, and cancelling them.


JOBS_PER_CALL = 1000
"""A command line has an end."""


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
    arrays = {_array(job) for job in accounted if "_" in job}
    for job in forgotten:
        state = accounted.get(job, State.QUEUED if _array(job) in arrays else None)
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


# Submission of runs and commands to Slurm as job arrays.


OUTPUT = "slurm.txt"
"""File in a run's directory with the output of its process and of Slurm itself."""


def submit(submission: Submission, runs: Sequence[RunDirectory], device: str = "auto") -> dict[str, str]:
    """Submit runs as arrays of at most the length that the cluster accepts. Returns run → job, such as `123_4`.

    The folder of the launch gets `array_1.sh`, `runs_1.txt` and, in `output/`, links to the runs' output.
    Raises SchedulerError if sbatch refuses; jobs accepted by then are cancelled.
    """
    jobs = _submit_in_arrays(submission, runs, lambda array, part: _submit_runs(array, part, device))
    return {run.name: job for run, job in zip(runs, jobs, strict=True)}


def submit_commands(submission: Submission, commands: Sequence[Sequence[str]]) -> list[str]:
    """Submit commands other than runs, likewise. Returns a job for each, such as `123_4`.

    The folder of the launch gets `array_1.sh`, `commands_1.txt` and, in `output/`, the output of the commands.
    Raises SchedulerError if sbatch refuses; jobs accepted by then are cancelled.
    """
    return _submit_in_arrays(submission, commands, _submit_commands)


@dataclass(frozen=True)
class _Array:
    """One of a launch's job arrays.

    number  from 1
    before  the id of the array after whose end it starts; None if it may start at once
    """

    launch: Submission
    number: int
    before: str | None

    @property
    def folder(self) -> Path:
        return self.launch.folder

    @property
    def script(self) -> str:
        return f"array_{self.number}.sh"


def _submit_in_arrays(
    launch: Submission, items: Sequence[T], submit_part: Callable[[_Array, Sequence[T]], str]
) -> list[str]:
    """Submit items part by part, each with `submit_part`, which returns the id of its array. Returns a job per item."""
    require("sbatch")
    files.make_folder(launch.folder / "output")
    arrays: dict[str, int] = {}
    # Task numbers must be less than MaxArraySize.
    longest = max(int(setting("MaxArraySize", r"\d+") or 1000), 1)
    try:
        for number, part in enumerate(parts(items, longest), 1):
            # The limit holds for each array alone: arrays run one after another to keep `at_most` overall.
            before = list(arrays)[-1] if arrays and launch.at_most else None
            arrays[submit_part(_Array(launch, number, before), part)] = len(part)
    except BaseException:
        cancel_jobs(arrays)
        raise
    return [f"{array}_{task}" for array, count in arrays.items() for task in range(count)]


def _submit_runs(array: _Array, runs: Sequence[RunDirectory], device: str) -> str:
    """Write an array's files and submit it. Returns its id."""
    launch, list_file = array.launch, f"runs_{array.number}.txt"
    by_task = array.folder / f"array_{array.number}"
    command = _sbatch(array, len(runs), f"{_pattern(by_task)}/%a.txt")
    paths = [os.fsencode(run.path.absolute()) for run in runs]
    if broken := next((path for path in paths if b"\n" in path or b"\r" in path), None):
        path = os.fsdecode(broken)
        raise QexpError(f"{path!r}: Slurm does not accept a path with a line break; move the workspace")
    files.write_bytes(array.folder / list_file, b"".join(path + b"\n" for path in paths))
    text = script_of_runs(launch.name, list_file, command, launch.options, device)
    files.make_folder(by_task)
    try:
        # Slurm can put a task's number into the name of its output file, but not a run's name.
        for task, run in enumerate(runs):
            for link in (by_task / f"{task}.txt", array.folder / "output" / f"{run.name}.txt"):
                link.unlink(missing_ok=True)
                link.symlink_to(run.path.absolute() / OUTPUT)
    except OSError as error:
        raise QexpError(f"cannot write to {array.folder}: {error.strerror}") from error
    return _submit_script(array, text, command)


def _submit_commands(array: _Array, commands: Sequence[Sequence[str]]) -> str:
    """Write an array's files and submit it. Returns its id."""
    launch, list_file = array.launch, f"commands_{array.number}.txt"
    command = _sbatch(array, len(commands), f"{_pattern(array.folder / 'output')}/{array.number}_%a.txt")
    lines = [shlex.join(words) for words in commands]
    if broken := next((line for line in lines if "\n" in line), None):
        raise QexpError(f"{broken!r}: Slurm does not accept a path with a line break")
    files.write_bytes(array.folder / list_file, os.fsencode("".join(f"{line}\n" for line in lines)))
    return _submit_script(array, script_of_commands(launch.name, list_file, command, launch.options), command)


def _sbatch(array: _Array, tasks: int, output: str) -> list[str]:
    launch, options = array.launch, array.launch.options
    passed_on = options.get("options", {}).items()
    return [
        "sbatch", "--parsable", f"--job-name={launch.name}",
        f"--array=0-{tasks - 1}" + (f"%{launch.at_most}" if launch.at_most else ""),
        f"--output={output}", "--open-mode=append",
        f"--signal=B:USR1@{options['signal']}",
        "--requeue" if options["requeue"] == "true" else "--no-requeue",
        *(f"--{flag}={options[key]}" for key, flag in FLAGS.items() if key in options),
        *(f"--{flag}" if value is True else f"--{flag}={value}" for flag, value in passed_on if value is not False),
        *([f"--dependency=afterany:{array.before}"] if array.before else []),
        array.script,
    ]  # fmt: skip


def _submit_script(array: _Array, script: str, command: Sequence[str]) -> str:
    """Write the script of an array and submit it. Returns the array's id."""
    files.write_bytes(array.folder / array.script, os.fsencode(script))
    answer = subprocess.run(
        command, cwd=array.folder, env=environment(), capture_output=True, text=True, errors="replace", check=False
    )
    job = answer.stdout.strip().partition(";")[0]  # "123;cluster" if there are several clusters
    if answer.returncode or not job.isdecimal():
        raise SchedulerError(f"sbatch refused {array.folder / array.script}:\n{message_of(answer)}")
    return job


def _pattern(folder: Path) -> str:
    """The folder's path, escaped for sbatch, which replaces patterns such as %a in file names."""
    path = str(folder.absolute())
    if "\\" in path:
        raise QexpError(f"{path}: Slurm does not accept a path with a backslash; move the workspace")
    return path.replace("%", "%%")


# Slurm as a launcher: runs are tasks of job arrays.


class Slurm:
    """Implements `Scheduler`; a job is a task of an array, such as `123_4`."""

    options: Mapping[str, Acceptor] = OPTIONS
    submit = staticmethod(submit)
    submit_commands = staticmethod(submit_commands)
    states = staticmethod(job_states)
    cancel = staticmethod(cancel_jobs)
    this_job = staticmethod(this_job)
    cluster = staticmethod(cluster)
