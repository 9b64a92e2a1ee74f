"""Job arrays: what schedulers share that start a shell script once for each of a list of runs or commands."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from qexp.base import files
from qexp.errors import QexpError, SchedulerError
from qexp.jobs.scheduler import Acceptor, Option, Submission, wrap_of
from qexp.store.directory import RunDirectory
from qexp.store.record import State

T = TypeVar("T")

TIME_IS_UP = 124
"""Exit code of a job whose run was stopped before the time limit: schedulers may rewrite the run's own code, 130."""

ANSWER_SECONDS = 60.0
"""Seconds after which a scheduler that has not answered counts as unreachable."""

JOBS_PER_CALL = 1000
"""A command line has an end."""

CODES = {0: State.DONE, 99: State.TIMEOUT, TIME_IS_UP: State.TIMEOUT, 137: State.OUT_OF_MEMORY,
         **dict.fromkeys((130, 138, 140), State.INTERRUPTED)}  # fmt: skip
"""Exit code → state, for others than failures; 128 and more are signals, here KILL of the run, INT, USR1, USR2."""


def parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def numbers(tasks: str) -> Iterator[int]:
    """`4-6,9-13:2` → 4, 5, 6, 9, 11, 13."""
    for first, last, step in re.findall(r"(\d+)(?:-(\d+)(?::(\d+))?)?", tasks):
        yield from range(int(first), int(last or first) + 1, int(step or 1))


def seconds_of(text: str) -> int:
    """`1:30:00` → 5400."""
    seconds = 0
    for number in text.split(":"):
        seconds = 60 * seconds + int(number)
    return seconds


# Calls of a scheduler's programs.


def require(program: str) -> None:
    if shutil.which(program) is None:
        raise QexpError(
            f"there is no {program} on the PATH: submit from a machine of the cluster, "
            "load its module, or run here with the launcher local"
        )


def call(
    *command: str, environment: Mapping[str, str] | None = None, cwd: Path | None = None,
    timeout: float | None = ANSWER_SECONDS,
) -> str:  # fmt: skip
    """The output of a scheduler's program. Raises SchedulerError with its message if it fails."""
    require(command[0])
    output = {"capture_output": True, "text": True, "errors": "replace"}
    try:
        answer = subprocess.run(command, cwd=cwd, env=environment, timeout=timeout, check=False, **output)  # type: ignore[call-overload]
    except subprocess.TimeoutExpired:
        raise SchedulerError(f"{command[0]} has not answered for {ANSWER_SECONDS:.0f} s") from None
    if answer.returncode:
        message = answer.stderr.strip() or answer.stdout.strip() or f"no message, exit code {answer.returncode}"
        raise SchedulerError(f"{command[0]} refused:\n{message}")
    return str(answer.stdout)


# Options that all of them have, beside their own.


OPTIONS: dict[str, Acceptor] = {
    "signal": Option(
        r"[1-9]\d{0,4}", "whole seconds before the time limit, from 1 to 65535", default="60", largest=65535
    ),
    "requeue": Option(r"true|false", "true or false", default="false"),
    "setup": Option(r"[^\x00-\x1f\x7f]+", "shell lines to run before a run, one text each", several=True),
}


# The shell scripts that a scheduler starts, once for each task of an array.


@dataclass(frozen=True)
class Shell:
    """What the scripts of a scheduler differ in, as lines of shell.

    begin    sets `line`, the number of the task from 1, `cores`, and `restarts`, how often the task was started again
    output   redirects the output to the file `$output`, where the scheduler does not
    signals  traps of signals, from the start on: they call `stop`, after `time_is_up=yes` if the time is nearly up
    heard    a trap of SIGTERM once the run may have started
    timed    a command around that of the run that sends it SIGTERM when the time is nearly up
    ended    sets `time_is_up` after the end, where `timed` has done that
    requeue  has the scheduler start the task once more
    finish   changes `code`, the exit code, where the scheduler takes one for something else
    """

    begin: str
    output: str
    signals: str
    heard: str = "trap 'signalled=yes' TERM"
    timed: str = ""
    ended: str = ""
    requeue: str = "exit 99"
    finish: str = ""


TIMED = 'timeout --foreground --preserve-status "$((SECONDS < {soft} ? {soft} - SECONDS : 1))" '

ENDED = '[ -n "$stopped" ] || [ "$SECONDS" -lt {soft} ] || time_is_up=yes'


def timed(options: Mapping[str, Any]) -> dict[str, str]:
    """`timed` and `ended` for schedulers that give no warning, or one that cannot be used.

    Grid Engine takes its soft limit for the hard one when a job starts again.
    """
    if "time" not in options:
        return {}
    hard = seconds_of(options["time"])
    soft = max(hard - int(options["signal"]), hard // 2)
    return {"timed": TIMED.format(soft=soft), "ended": ENDED.format(soft=soft)}


RUNS = r"""#!/bin/bash
# Launch {launch}: one run per task; {items} lists their directories.
# Submitted from this folder by:
#   {command}

{begin}
output={output_name}
{output}
run=$(sed -n "${{line}}p" {items})
if [ -z "$run" ]; then
    echo "line $line of {items} in $PWD on $(hostname) names no run" >&2
    exit 3
fi
checkpoint() {{
    stat -c '%i %y' -- "$run/checkpoints/last.safetensors" "$run"/folds/*/checkpoints/best.safetensors \
        "$run"/folds/.stacks/*/*/stack.safetensors 2> /dev/null
}}
before=$(checkpoint)
if [ "$restarts" -gt 0 ]; then
    # The scheduler has made sure that the previous attempt, possibly on another node, has ended.
    rm -f -- "$run"/attempts/*/heartbeat
fi

time_is_up= stopped= signalled= python=
stop() {{ stopped=yes signalled=yes; [ -z "$python" ] || kill -TERM "$python"; }}
{signals}
{setup}
{heard}
if [ -n "$time_is_up" ]; then exit {time_is_up}; fi
if [ -n "$stopped" ]; then exit 130; fi
# The run itself hears of SIGTERM alone.
(trap '' USR1 USR2; exec {timed}{python} -m qexp execute "$run" --device {device} {wrap}--threads "$cores") &
python=$!
[ -z "$stopped" ] || kill -TERM "$python"
while :; do  # a signal ends `wait` before the process has ended
    signalled=
    wait "$python" && code=0 || code=$?
    [ -n "$signalled" ] || break
done
{ended}
if [ -n "$time_is_up" ] && [ "$code" = 130 ]; then
    # A run that makes no progress within its time limit would be requeued without end.
    if [ {requeued} = true ] && [ "$(checkpoint)" != "$before" ]; then
        {requeue}
    fi
    code={time_is_up}
fi
{finish}
exit "$code"
"""

COMMANDS = r"""#!/bin/bash
# {launch}: one command per task; {items} lists them.
# Submitted from this folder by:
#   {command}

{begin}
output={output_name}
{output}
{setup}
export OMP_NUM_THREADS="${{OMP_NUM_THREADS:-$cores}}"
command=$(sed -n "${{line}}p" {items})
eval "exec $command"
"""


# Submission of runs and commands as job arrays.


@dataclass(frozen=True)
class Array:
    """One of a launch's job arrays.

    number  from 1
    before  the id of the array after whose end it starts; None if it may start at once
    tasks   how many
    """

    launch: Submission
    number: int
    before: str | None
    tasks: int

    @property
    def folder(self) -> Path:
        return self.launch.folder

    @property
    def script(self) -> str:
        return f"array_{self.number}.sh"


class ArrayScheduler:
    """The half of `Scheduler` that submits, for schedulers of job arrays, which add the rest.

    name         in messages
    output_name  file in a run's directory with the output of its process and of the scheduler itself
    job          what the job of a task is called, such as `{array}_{task}`
    first        the number of an array's first task

    longest       the largest number of tasks in an array
    shell         what its script differs in
    command       the command that submits it; whether of runs, or of other commands
    submit_array  submits it by that command, and returns its id; raises SchedulerError if it is refused
    cancel        as in `Scheduler`, also with the ids of arrays
    """

    name: str
    output_name: str
    job: str
    first: int = 1

    longest: Callable[[], int]
    shell: Callable[[Array], Shell]
    command: Callable[[Array, bool], list[str]]
    submit_array: Callable[[Array, Sequence[str]], str]
    cancel: Callable[[Mapping[str, Path | None]], dict[str, State]]

    def submit(self, submission: Submission, runs: Sequence[RunDirectory], device: str = "auto") -> dict[str, str]:
        """Submit runs as arrays of at most the length that the cluster accepts. Returns run → job.

        The folder of the launch gets `array_1.sh`, `runs_1.txt` and, in `output/`, links to the runs' output.
        Raises SchedulerError if the scheduler refuses; jobs accepted by then are cancelled.
        """

        def write(array: Array, part: Sequence[RunDirectory], command: Sequence[str]) -> str:
            self._write_list(
                array.folder / f"runs_{array.number}.txt", [os.fsencode(run.path.absolute()) for run in part]
            )
            by_task = array.folder / f"array_{array.number}"
            files.make_folder(by_task)
            try:
                # A scheduler can put a task's number into the name of its output file, but not a run's name.
                for task, run in enumerate(part):
                    for link in (by_task / f"{task}.txt", array.folder / "output" / f"{run.name}.txt"):
                        link.unlink(missing_ok=True)
                        link.symlink_to(run.path.absolute() / self.output_name)
            except OSError as error:
                raise QexpError(f"cannot write to {array.folder}: {error.strerror}") from error
            return self.script_of_runs(array, command, device)

        jobs = self._submit_in_arrays(submission, runs, write, runs=True)
        return {run.name: job for run, job in zip(runs, jobs, strict=True)}

    def submit_commands(self, submission: Submission, commands: Sequence[Sequence[str]]) -> list[str]:
        """Submit commands other than runs, likewise. Returns a job for each.

        The folder of the launch gets `array_1.sh`, `commands_1.txt` and, in `output/`, the output of the commands.
        """

        def write(array: Array, part: Sequence[Sequence[str]], command: Sequence[str]) -> str:
            items, output = f"commands_{array.number}.txt", f"output/{array.number}_$((line - 1)).txt"
            self._write_list(array.folder / items, [os.fsencode(shlex.join(words)) for words in part])
            return COMMANDS.format(**self._common(array, command), items=items, output_name=output)

        return self._submit_in_arrays(submission, commands, write, runs=False)

    def script_of_runs(self, array: Array, command: Sequence[str], device: str) -> str:
        """The script of an array of runs.

        command  the command that submits it
        """
        options = array.launch.options
        return RUNS.format(
            **self._common(array, command),
            items=f"runs_{array.number}.txt",
            output_name=f"array_{array.number}/$((line - 1)).txt",
            python=shlex.quote(sys.executable),
            device=shlex.quote(device),
            requeued=options["requeue"],
            wrap="".join(f"{shlex.quote(word)} " for word in wrap_of(options).arguments()),
            time_is_up=TIME_IS_UP,
        )

    def _common(self, array: Array, command: Sequence[str]) -> dict[str, str]:
        setup = "\n".join(array.launch.options["setup"])
        return {**vars(self.shell(array)), "launch": array.launch.name, "command": shlex.join(command), "setup": setup}

    def _write_list(self, path: Path, lines: Sequence[bytes]) -> None:
        if broken := next((line for line in lines if b"\n" in line or b"\r" in line), None):
            text = os.fsdecode(broken)
            raise QexpError(f"{text!r}: {self.name} does not accept a path with a line break; move the workspace")
        files.write_bytes(path, b"".join(line + b"\n" for line in lines))

    def _submit_in_arrays(
        self,
        launch: Submission,
        items: Sequence[T],
        write: Callable[[Array, Sequence[T], Sequence[str]], str],
        runs: bool,
    ) -> list[str]:
        """Submit items part by part; `write` writes an array's list and returns its script. Returns a job per item."""
        longest = max(self.longest(), 1)
        files.make_folder(launch.folder / "output")
        arrays: dict[str, int] = {}
        try:
            submitted = len(list(launch.folder.glob("array_*.sh")))  # a launch may get further jobs
            for number, part in enumerate(parts(items, longest), submitted + 1):
                # The limit holds for each array alone: arrays run one after another to keep `at_most` overall.
                before = list(arrays)[-1] if arrays and launch.at_most else None
                array = Array(launch, number, before, len(part))
                command = self.command(array, runs)
                files.write_bytes(array.folder / array.script, os.fsencode(write(array, part, command)))
                arrays[self.submit_array(array, command)] = len(part)
        except BaseException:
            self.cancel(dict.fromkeys(arrays))
            raise
        tasks = ((array, self.first + line) for array, count in arrays.items() for line in range(count))
        return [self.job.format(array=array, task=task) for array, task in tasks]
