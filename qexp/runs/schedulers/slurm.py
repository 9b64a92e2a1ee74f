"""Slurm: runs as tasks of job arrays, and what the scheduler says of them afterwards."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from qexp import files
from qexp.errors import DamagedError, QexpError, SchedulerError
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.record import JobRecord
from qexp.runs.record.state import WRITTEN
from qexp.runs.schedulers.slurm_words import TIME_IS_UP, read
from qexp.tables import suggestion

Item = TypeVar("Item")

OUTPUT = "slurm.txt"
"""In a run's directory: what its process and Slurm itself print."""

ANSWER_SECONDS = 60.0
"""A controller that does not answer a question in so long a time is taken to be out of reach."""

JOBS_PER_CALL = 1000
"""A command line has an end."""


# Options


@dataclass(frozen=True)
class Option:
    """A key of `[slurm]` and of --slurm."""

    pattern: str
    expected: str
    flag: str | None = None
    """The option of sbatch that takes the value as it is."""


_TIME = r"\d+(:\d{1,2}){0,2}|\d+-\d{1,2}(:\d{1,2}){0,2}|UNLIMITED"

OPTIONS: dict[str, Option] = {
    "partition": Option(r"[\w.,-]+", "the name of a partition, or several with commas between", "partition"),
    "account": Option(r"[\w.-]+", "the name of an account", "account"),
    "time": Option(_TIME, 'minutes, or a text such as "4:00:00" or "1-12:00:00" (days-hours:minutes:seconds)', "time"),
    "cpus": Option(r"[1-9]\d*", "the number of CPUs per run, from 1 on", "cpus-per-task"),
    "memory": Option(r"\d+[KMGTkmgt]?", "the memory per run, such as 4G or 500M", "mem"),
    "gres": Option(r"[\w.:,/-]+", "generic resources, such as gpu:1", "gres"),
    "qos": Option(r"[\w.-]+", "the name of a quality of service", "qos"),
    "constraint": Option(r"[\w.,:&|!*()\[\]-]+", "features of nodes, such as a100|h100", "constraint"),
    "signal": Option(r"[1-9]\d{0,4}", "whole seconds before the time limit, from 1 to 65535"),
    "requeue": Option(r"true|false", "true or false"),
    "setup": Option(r"[^\x00-\x1f\x7f]+", "shell lines to run before a run, one text each"),
}

DEFAULTS: dict[str, str | list[str]] = {"signal": "60", "requeue": "false", "setup": []}


def options(settings: Mapping[str, Any], given: Iterable[str]) -> dict[str, str | list[str]]:
    """The options of a launch, checked. All that is wrong is reported together.

    settings  the table [slurm] of qexp.toml
    given     `key=value` of the command line, which win; `setup` may be there several times
    """
    if not isinstance(settings, Mapping):
        raise QexpError("qexp.toml: slurm must be a table; write [slurm] and below it a line per option")
    mistakes: list[str] = []
    chosen = dict(DEFAULTS)
    for key, value in settings.items():
        chosen |= _checked("qexp.toml at [slurm]", key, value, mistakes)
    lines: list[str] = []
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            mistakes.append(f"--slurm {text}: write key=value, for example --slurm time=2:00:00")
        elif key == "setup":
            lines += _checked("--slurm", key, value, mistakes).get(key, [])
        else:
            chosen |= _checked("--slurm", key, value, mistakes)
    if mistakes:
        raise QexpError("\n".join(mistakes))
    return {**chosen, "setup": lines or chosen["setup"]}


def _checked(where: str, key: str, value: Any, mistakes: list[str]) -> dict[str, str | list[str]]:
    """The option in the form that `submit` wants; nothing, and a line more among the mistakes, if it is wrong."""
    if key not in OPTIONS:
        mistakes.append(f"{where}: no option '{key}'; {suggestion(key, OPTIONS)}")
        return {}
    several = key == "setup" and isinstance(value, list)
    # TOML has its own true and false.
    texts = [str(item).lower() if isinstance(item, bool) else str(item) for item in (value if several else [value])]
    wrong = [text for text in texts if not re.fullmatch(OPTIONS[key].pattern, text)]
    if key == "signal" and not wrong and int(texts[0]) > 65535:
        wrong = texts
    if wrong:
        mistakes.append(f"{where}: {key} cannot be {wrong[0]!r}; give {OPTIONS[key].expected}")
        return {}
    return {key: texts if key == "setup" else texts[0]}


# Submitting


def submit(
    folder: Path,
    directories: Sequence[RunDirectory],
    options: Mapping[str, Any],
    at_most: int | None,
    launch: str,
) -> dict[str, str]:
    """Submit the runs as arrays no longer than the cluster takes. Returns run → job, such as `123_4`.

    folder   of the launch; gets `array_1.sh`, `runs_1.txt` and, in `output/`, links to what the runs print
    at_most  so many at a time
    Raises SchedulerError if sbatch refuses; what it had taken by then is cancelled.
    """
    _require("sbatch")
    chosen = {**DEFAULTS, **options}
    arrays: dict[str, Sequence[RunDirectory]] = {}
    files.make_folder(folder / "output")
    try:
        for number, part in enumerate(_parts(directories, _longest_array()), 1):
            # Each array has a limit of its own: only one after the other are they `at_most` together.
            before = list(arrays)[-1] if arrays and at_most else None
            arrays[_submit_array(folder, number, part, chosen, at_most, launch, before)] = part
    except BaseException:
        cancel(list(arrays))
        raise
    return {run.name: f"{array}_{task}" for array, part in arrays.items() for task, run in enumerate(part)}


def submit_commands(
    folder: Path, commands: Sequence[Sequence[str]], options: Mapping[str, Any], at_most: int | None, name: str
) -> list[str]:
    """Submit commands that are no runs as tasks of arrays. Returns a job for each, such as `123_4`.

    folder  gets `array_1.sh`, `commands_1.txt` and, in `output/`, what the commands print
    Raises SchedulerError if sbatch refuses; what it had taken by then is cancelled.
    """
    _require("sbatch")
    chosen = {**DEFAULTS, **options}
    files.make_folder(folder / "output")
    jobs: list[str] = []
    try:
        for number, part in enumerate(_parts(commands, _longest_array()), 1):
            listed, script = f"commands_{number}.txt", f"array_{number}.sh"
            output = f"--output={_pattern(folder / 'output')}/{number}_%a.txt"
            command = _sbatch(name, len(part), output, chosen, at_most, None, script)
            lines = [shlex.join(one) for one in part]
            if broken := next((line for line in lines if "\n" in line), None):
                raise QexpError(f"{broken!r}: a path with a line break cannot be handed to Slurm")
            files.write_bytes(folder / listed, os.fsencode("".join(f"{line}\n" for line in lines)))
            text = COMMANDS.format(
                name=name, commands=listed, command=shlex.join(command), setup="\n".join(chosen["setup"])
            )
            files.write_bytes(folder / script, os.fsencode(text))
            job = _sent(folder, script, command)
            jobs += [f"{job}_{task}" for task in range(len(part))]
    except BaseException:
        cancel(list(dict.fromkeys(job.partition("_")[0] for job in jobs)))
        raise
    return jobs


COMMANDS = r"""#!/bin/bash
# {name}: one command per task; {commands} lists them.
# Submitted from this folder by:
#   {command}
{setup}
export OMP_NUM_THREADS="${{OMP_NUM_THREADS:-${{SLURM_CPUS_PER_TASK:-${{SLURM_CPUS_ON_NODE:-1}}}}}}"
command=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {commands})
eval "exec $command"
"""


def _submit_array(
    folder: Path,
    number: int,
    directories: Sequence[RunDirectory],
    options: Mapping[str, Any],
    at_most: int | None,
    launch: str,
    before: str | None,
) -> str:
    """Write one array's files and submit it. Returns the array's job id.

    before  the array that must have ended first
    """
    runs, script = f"runs_{number}.txt", f"array_{number}.sh"
    output = f"--output={_pattern(folder / f'array_{number}')}/%a.txt"
    command = _sbatch(launch, len(directories), output, options, at_most, before, script)
    files.write_bytes(folder / runs, b"".join(_line(run.path) for run in directories))
    files.write_bytes(folder / script, os.fsencode(_script(launch, runs, command, options)))
    _link_outputs(folder, number, directories)
    return _sent(folder, script, command)


def _sbatch(
    name: str, tasks: int, output: str, options: Mapping[str, Any], at_most: int | None, before: str | None, script: str
) -> list[str]:
    return [
        "sbatch", "--parsable", f"--job-name={name}",
        f"--array=0-{tasks - 1}" + (f"%{at_most}" if at_most else ""),
        output, "--open-mode=append",
        f"--signal=B:USR1@{options['signal']}",
        "--requeue" if options["requeue"] == "true" else "--no-requeue",
        *(f"--{option.flag}={options[key]}" for key, option in OPTIONS.items() if option.flag and key in options),
        *([f"--dependency=afterany:{before}"] if before else []),
        script,
    ]  # fmt: skip


def _sent(folder: Path, script: str, command: Sequence[str]) -> str:
    """Submit a script of the folder. Returns the job's id."""
    answer = subprocess.run(
        command, cwd=folder, env=_environment(), capture_output=True, text=True, errors="replace", check=False
    )
    job = answer.stdout.strip().partition(";")[0]  # "123;cluster" where there are several
    if answer.returncode or not job.isdecimal():
        raise SchedulerError(f"sbatch refused {folder / script}:\n{_words(answer)}")
    return job


def _line(path: Path) -> bytes:
    content = os.fsencode(path.absolute())
    if b"\n" in content or b"\r" in content:
        raise QexpError(f"{path!r}: a path with a line break cannot be handed to Slurm; move the workspace")
    return content + b"\n"


def _pattern(folder: Path) -> str:
    """The folder's path as sbatch reads a file name, in which %a and others stand for something."""
    path = str(folder.absolute())
    if "\\" in path:
        raise QexpError(f"{path}: a path with a backslash cannot be handed to Slurm; move the workspace")
    return path.replace("%", "%%")


def _link_outputs(folder: Path, number: int, directories: Sequence[RunDirectory]) -> None:
    """Let what Slurm writes into the launch end up in the runs: a node has no business anywhere else.

    Slurm puts a task's number into the name of its output, but not a run's.
    """
    by_task = folder / f"array_{number}"
    files.make_folder(by_task)
    try:
        for task, run in enumerate(directories):
            for link in (by_task / f"{task}.txt", folder / "output" / f"{run.name}.txt"):
                link.unlink(missing_ok=True)
                link.symlink_to(run.path.absolute() / OUTPUT)
    except OSError as error:
        raise QexpError(f"cannot write to {folder}: {error.strerror}") from error


SCRIPT = r"""#!/bin/bash
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
    # Slurm has seen to it that the attempt before, maybe on another node, is gone.
    rm -f -- "$run"/attempts/*/heartbeat
fi

# Slurm says SIGUSR1 to this script alone when the time is nearly up. SIGTERM it says to every process of the job.
time_is_up= signalled= python=
trap 'time_is_up=yes signalled=yes; [ -z "$python" ] || kill -TERM "$python"' USR1
{setup}
trap 'signalled=yes' TERM
if [ -n "$time_is_up" ]; then exit {time_is_up}; fi
{python} -m qexp execute "$run" --threads "${{SLURM_CPUS_PER_TASK:-${{SLURM_CPUS_ON_NODE:-1}}}}" &
python=$!
while :; do  # a signal ends `wait` before the process has ended
    signalled=
    wait "$python" && code=0 || code=$?
    [ -n "$signalled" ] || break
done

if [ -n "$time_is_up" ] && [ "$code" = 130 ]; then
    # A run that gets nowhere in the time it has would be requeued for ever.
    if [ {requeue} = true ] && [ "$(checkpoint)" != "$before" ]; then
        scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
    fi
    code={time_is_up}
fi
exit "$code"
"""


def _script(launch: str, runs: str, command: Sequence[str], options: Mapping[str, Any]) -> str:
    return SCRIPT.format(
        launch=launch,
        runs=runs,
        command=shlex.join(command),
        setup="\n".join(options["setup"]),
        python=shlex.quote(sys.executable),
        requeue=options["requeue"],
        time_is_up=TIME_IS_UP,
    )


def _longest_array() -> int:
    """Numbers of tasks are less than MaxArraySize."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config"), re.MULTILINE)
    return max(int(found[1]), 1) if found else 1000


# What became of jobs

PASSING = ("queued", "running")
"""What does not stay so."""


def states(jobs: Iterable[str]) -> dict[str, str]:
    """Job → state now, of those that Slurm still knows.

    The controller alone knows what waits and runs, and forgets what has ended after some minutes; the accounting
    remembers that for long, but hears of everything seconds late.
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


def _ended(forgotten: Iterable[str], said: Mapping[str, str]) -> dict[str, str]:
    """Job → how it ended, of jobs that the controller does not know any more.

    said  what the accounting says of these jobs and their arrays
    """
    arrays = {_array(job) for job in said if "_" in job}
    ends = {}
    for job in forgotten:
        state = said.get(job, "queued" if _array(job) in arrays else None)
        # That a task was cancelled before it began the accounting never hears: it waits there for ever, or is left out.
        if state == "queued":
            ends[job] = "interrupted"
        elif state is not None and state not in PASSING:
            ends[job] = state
    return ends


def _array(job: str) -> str:
    return job.partition("_")[0]


def _arrays(jobs: Iterable[str]) -> list[str]:
    return sorted({_array(job) for job in jobs})


LISTED = ("squeue", "--array", "--states=all", "--noheader", "--Format=jobarrayid:|,state:|,exit_code:|")

ACCOUNTED = ("sacct", "--allocations", "--parsable2", "--noheader", "--format=JobID,State,ExitCode")


def _listed(jobs: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What squeue says: of jobs that wait, run, or ended some minutes ago at most."""
    for part in _parts(jobs, JOBS_PER_CALL):
        try:
            yield from read(_ask(*LISTED, f"--jobs={','.join(part)}"))
        except SchedulerError as error:
            if "Invalid job id" not in str(error):
                raise


def _accounted(jobs: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What sacct says; nothing where there is no accounting."""
    for part in _parts(jobs if shutil.which("sacct") else [], JOBS_PER_CALL):
        with suppress(SchedulerError):
            yield from read(_ask(*ACCOUNTED, f"--jobs={','.join(part)}"))


def cancel(jobs: Sequence[str]) -> dict[str, str]:
    """End jobs that wait or run; those that have ended are left alone.

    Returns the state of those that waited, to be remembered: without accounting Slurm forgets them at once.
    """
    before = states(jobs)
    for part in _parts(jobs, JOBS_PER_CALL):
        _ask("scancel", "--quiet", *part)
    return {job: "interrupted" for job, state in before.items() if state == "queued"}


# What was learned is kept


def remember(folder: Path, words: Mapping[str, str]) -> None:
    """Keep what became of jobs in the launch's folder: Slurm forgets them after a while.

    What does not stay so is not kept; a job that was requeued by hand is forgotten again.
    """
    from filelock import FileLock

    if _merged(remembered(folder), words) == remembered(folder):
        return
    lock = FileLock(folder / "states.json.lock", timeout=ANSWER_SECONDS)
    with suppress(OSError, QexpError), lock:  # whoever may only read asks again the next time
        files.write_json(folder / "states.json", _merged(remembered(folder), words))


def remembered(folder: Path) -> dict[str, str]:
    """Job → the last that was learned of it. What cannot be read can be asked again."""
    try:
        words = files.read_json(folder / "states.json")
    except (FileNotFoundError, DamagedError):
        return {}
    return {job: word for job, word in words.items() if word in WRITTEN} if isinstance(words, dict) else {}


def _merged(known: Mapping[str, str], words: Mapping[str, str]) -> dict[str, str]:
    return {job: word for job, word in {**known, **words}.items() if word not in PASSING}


# Inside a job, and calling Slurm's programs


def this_job() -> JobRecord | None:
    """The task of an array as which this process runs, as a record names it."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{part}_ID") for part in ("JOB", "TASK"))
    return JobRecord(launcher="slurm", id=f"{array}_{task}") if array and task else None


def _parts(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def _require(program: str) -> None:
    if shutil.which(program) is None:
        raise QexpError(
            f"there is no {program} on the PATH: submit from a machine of the cluster, "
            "load its module, or run here: --launcher local"
        )


def _ask(*command: str) -> str:
    """What a program of Slurm prints. Raises SchedulerError with its words if it fails."""
    _require(command[0])
    try:
        answer = subprocess.run(
            command,
            env=_environment(),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=ANSWER_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise SchedulerError(f"{command[0]} has not answered for {ANSWER_SECONDS:.0f} s") from None
    if answer.returncode:
        raise SchedulerError(f"{command[0]} refused:\n{_words(answer)}")
    return answer.stdout


def _words(answer: subprocess.CompletedProcess[str]) -> str:
    return answer.stderr.strip() or answer.stdout.strip() or f"no word, exit code {answer.returncode}"


def _environment() -> dict[str, str]:
    """The user's, less what would change the form of the answers; and lists of tasks are not to be cut short."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SQUEUE_", "SACCT_"))}
    return {**kept, "SLURM_BITSTR_LEN": "0"}
