"""A scheduler of a cluster: the options of a launch, the command around a run, and what is
submitted, as job arrays.

An array is a shell script that starts once for each of a list of runs.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from qexp.base import files
from qexp.base.text import filled, words_of
from qexp.errors import DamagedError, NotFoundError, QexpError, SchedulerError, suggestion
from qexp.store.directory import RunDirectory
from qexp.store.record import State

T = TypeVar("T")

Passed = dict[str, str | bool]
"""Option that is passed on → its value, or True if it takes none."""

Value = str | list[str] | Passed

Chosen = dict[str, Value]


@dataclass(frozen=True)
class Option:
    """An option of a launch, whose values are texts."""

    pattern: str
    """A regular expression that the whole text of a value must match."""
    expected: str
    """The accepted values, in words that end an error message."""
    default: str | None = None
    largest: int | None = None
    """The largest accepted number."""
    several: bool = False
    """Whether the value is a list of texts; the command line repeats the option for each."""
    only_text: bool = False
    """Whether a number or a list is refused instead of being read as a text."""
    trouble: Callable[[str], str | None] = lambda text: None
    """What is wrong with a text that matches the pattern, in words; None if nothing is."""

    @property
    def unset(self) -> Value | None:
        """The value if none is given; None if the option is then left out."""
        return [] if self.several else self.default

    def accept(self, value: Any) -> Value:
        """The value in its own form. Raises ValueError with words to follow the option's name."""
        values = value if self.several and isinstance(value, list | tuple) else [value]
        # TOML and Python write booleans differently.
        texts = list[str]()
        for item in values:
            text = str(item).lower() if isinstance(item, bool) else str(item)
            texts.append(text)
            in_range = self.largest is None or not text.isdecimal() or int(text) <= self.largest
            misfit = self.only_text and not isinstance(value, str)
            if misfit or re.fullmatch(self.pattern, text) is None or not in_range:
                raise ValueError(f" cannot be {text!r}; give {self.expected}")
            trouble = self.trouble(text)
            if trouble:
                raise ValueError(f" {trouble}")
        return texts if self.several else texts[0]


@dataclass(frozen=True)
class PassedOn:
    """A table of options that are passed on to the scheduler's own program."""

    program: str
    reserved: Mapping[str, str]
    """Option that cannot be passed on → what to write instead, or what sets it."""
    pattern: str = r"[a-z][a-z0-9]+(-[a-z0-9]+)*"
    """A regular expression that the whole name of an option must match."""
    names: str = "the long name of an option of"
    """What the names are, in words before that of the program."""
    example: str = 'mail-user = "me@example.org"'
    unset: ClassVar[None] = None

    def accept(self, value: Any) -> Value:
        if not isinstance(value, Mapping):
            raise ValueError(
                f" must be a table, such as options = {{{self.example}}}, not {value!r}"
            )
        return {name: self._accept(name, option) for name, option in value.items()}

    def _accept(self, name: str, value: Any) -> str | bool:
        if re.fullmatch(self.pattern, name) is None:
            raise ValueError(
                f".{name}: give {self.names} {self.program}, without hyphens before it"
            )
        # Programs complete the beginning of a name.
        for other, instead in self.reserved.items():
            if other == name or (other.startswith(name) and len(name) > 2):
                raise ValueError(f".{name} cannot be passed on to {self.program}: {instead}")
        if isinstance(value, bool):
            return value
        printable = re.fullmatch(r"[^\x00-\x1f\x7f]+", str(value)) is not None
        if not printable or not isinstance(value, str | int | float):
            raise ValueError(
                f".{name} cannot be {value!r}; give a text or a number in one line, or true for no"
                " value"
            )
        return {"true": True, "false": False}.get(str(value), str(value))


Acceptor = Option | PassedOn


def launch_options(
    launcher: str,
    acceptors: Mapping[str, Acceptor],
    settings: Mapping[str, Any],
    chosen: Mapping[str, Any],
    profile: str | None,
    common: Mapping[str, Any],
) -> Chosen:
    """The options of a launch, checked and with defaults. Raises QexpError that lists all mistakes.

    settings  the workspace's settings from qexp.toml; the options are in the table with the
              launcher's name
    chosen    options from the command line; they take precedence
    profile   name of a table in that table, whose options precede those around it
    common    options from qexp.toml that apply to every launcher, if no other value is given
    """
    table = settings.get(launcher, {})
    if not isinstance(table, Mapping):
        raise QexpError(
            f"qexp.toml: {launcher} must be a table; write [{launcher}] and below it a line per"
            " option"
        )
    profiles = profiles_of(launcher, acceptors, settings)
    mistakes: list[str] = []

    def accept(where: str, values: Mapping[str, Any]) -> Chosen:
        """The options that are valid, in their own form."""
        chosen: Chosen = {}
        for key, value in values.items():
            if key not in acceptors:
                mistakes.append(f"{where}: no option '{key}'; {suggestion(key, acceptors)}")
                continue
            try:
                chosen[key] = acceptors[key].accept(value)
            except ValueError as wrong:
                mistakes.append(f"{where}: {key}{wrong}")
        return chosen

    if profile is not None and profile not in profiles:
        named = f"[{launcher}.{profile}]"
        others = f"write {named} and below it its options"
        if profiles:
            others = suggestion(profile, profiles)
        raise QexpError(f"`profile={profile}`: qexp.toml has no table {named}; {others}")
    unset = {key: option.unset for key, option in acceptors.items() if option.unset is not None}
    own = {key: value for key, value in table.items() if key not in profiles}
    layers = [unset, accept("qexp.toml", common), accept(f"qexp.toml at [{launcher}]", own)]
    for name, values in profiles.items():
        accepted = accept(f"qexp.toml at [{launcher}.{name}]", values)
        if name == profile:
            layers.append(accepted)
    layers.append(accept("`options`", _nested(chosen, acceptors)))
    if mistakes:
        raise QexpError("\n".join(mistakes))
    options: Chosen = {}
    for layer in layers:
        for key, value in layer.items():
            earlier = options.get(key)
            if isinstance(earlier, dict) and isinstance(value, dict):
                value = {**earlier, **value}
            options[key] = value
    return options


def profiles_of(
    launcher: str, acceptors: Mapping[str, Acceptor], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Profile → unchecked options: the tables of the launcher's that are no option."""
    table = settings.get(launcher, {})
    if not isinstance(table, Mapping):
        return {}
    tables = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    return {key: value for key, value in tables.items() if key not in acceptors}


def _nested(chosen: Mapping[str, Any], acceptors: Mapping[str, Acceptor]) -> dict[str, Any]:
    """Options of a command line; `options.mail-user` is an option of the table `options`."""
    nested: dict[str, Any] = {}
    for key, value in chosen.items():
        table, dot, name = key.partition(".")
        if dot and isinstance(acceptors.get(table), PassedOn):
            nested.setdefault(table, {})[name] = value
        else:
            nested[key] = value
    return nested


@dataclass(frozen=True)
class Submission:
    """What the jobs of a launch have in common.

    folder   folder of the launch, for scripts and their output
    name     name of the launch, shown in the scheduler's own lists
    options  as `launch_options` returns them
    at_most  how many jobs may run at a time; None for any number
    """

    folder: Path
    name: str
    options: Mapping[str, Any]
    at_most: int | None = None


# The command around a run: a container, a profiler, or any other program that starts another.


WRAP_PLACEHOLDERS = {
    "run": "the run's directory",
    "workspace": "the folder that holds specs/ and runs/",
    "data": "the workspace's folder data/",
}


@dataclass(frozen=True)
class Wrap:
    command: str = ""
    """The words before the command of a run; empty for none."""
    python: str = sys.executable
    """The interpreter inside it."""

    def __bool__(self) -> bool:
        return bool(self.command)

    def wrapped(self, directory: RunDirectory, *arguments: str) -> list[str]:
        """The command that calls qexp with some arguments inside the wrap."""
        return [*self.words(directory), self.python, "-m", "qexp", *arguments]

    def words(self, directory: RunDirectory) -> list[str]:
        """The words of the wrap, placeholders filled in."""
        workspace = directory.path.absolute().parent.parent
        folders = {"run": directory.path, "workspace": workspace, "data": workspace / "data"}
        # Links are followed, because a container sees only the folders that it is given.
        paths = {name: str(folder.resolve()) for name, folder in folders.items()}
        return [filled(word, paths.__getitem__) for word in words_of(self.command)]

    def arguments(self) -> list[str]:
        """The options of `qexp execute` that stand for it."""
        return ["--wrap", self.command, "--python", self.python] if self else []


def wrap_of(options: Mapping[str, Any]) -> Wrap:
    return Wrap(options.get("wrap", ""), options.get("python", sys.executable))


# What the modules of schedulers have in common.


TIME_IS_UP = 124
"""Exit code of a job whose run was stopped before the time limit: 130 may be rewritten."""

ANSWER_SECONDS = 60.0
"""Seconds after which a scheduler that has not answered counts as unreachable."""

JOBS_PER_CALL = 1000
"""A command line has an end."""

CODES = {0: State.DONE, 99: State.TIMEOUT, TIME_IS_UP: State.TIMEOUT, 137: State.OUT_OF_MEMORY}
CODES |= dict.fromkeys((130, 138, 140), State.INTERRUPTED)
"""Exit code → state, except failures; from 128 on signals: KILL of the run, INT, USR1, USR2."""


def parts(items: Sequence[T], size: int = JOBS_PER_CALL) -> Iterator[Sequence[T]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def by_word(table: Mapping[str, T]) -> dict[str, T]:
    """`{"a b": 1}` → `{"a": 1, "b": 1}`."""
    found = dict[str, T]()
    for words, value in table.items():
        found |= dict.fromkeys(words.split(), value)
    return found


def array_of(job: str) -> str:
    """`123_4` or `123.4` → 123."""
    return re.split("[._]", job)[0]


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


def require(program: str) -> None:
    if shutil.which(program) is None:
        raise QexpError(
            f"there is no {program} on the PATH: submit from a machine of the cluster, "
            "load its module, or run here with the launcher local"
        )


def call(
    *command: str,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = ANSWER_SECONDS,
) -> str:
    """The output of a scheduler's program. Raises SchedulerError with its message if it fails."""
    require(command[0])
    output = {"capture_output": True, "text": True, "errors": "replace"}
    try:
        answer = subprocess.run(
            command, cwd=cwd, env=environment, timeout=timeout, check=False, **output
        )  # type: ignore[call-overload]
    except subprocess.TimeoutExpired:
        raise SchedulerError(f"{command[0]} has not answered for {ANSWER_SECONDS:.0f} s") from None
    if answer.returncode:
        message = (
            answer.stderr.strip()
            or answer.stdout.strip()
            or f"no message, exit code {answer.returncode}"
        )
        raise SchedulerError(f"{command[0]} refused:\n{message}")
    return str(answer.stdout)


SECRETS = ("_TOKEN", "_KEY", "SECRET", "PASSW")
"""In the names of variables that jobs do not get where all users of a cluster can list what jobs
got.
"""


def found(pattern: str, answer: str) -> str | None:
    """The group of a pattern, where an answer has it."""
    match = re.search(pattern, answer, re.MULTILINE)
    return match[1] if match else None


# Options that all of them have, beside their own.


OPTIONS: dict[str, Acceptor] = {
    "time": Option(r"\d+:[0-5]\d:[0-5]\d", 'hours, minutes and seconds, such as "4:00:00"'),
    "signal": Option(
        r"[1-9]\d{0,4}",
        "whole seconds before the time limit, from 1 to 65535",
        default="60",
        largest=65535,
    ),
    "requeue": Option(r"true|false", "true or false", default="false"),
    "setup": Option(
        r"[^\x00-\x1f\x7f]+", "shell lines to run before a run, one text each", several=True
    ),
}

CPUS = Option(r"[1-9]\d*", "the number of CPUs per run, from 1 on")

OWN = "qexp sets it itself"


def taken(flags: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """Option of a scheduler's program that cannot be passed on → what to write, or what sets it.

    flags   option of a launch → the one that takes its value unchanged
    others  all others, with spaces between those that have the same answer → the answer
    """
    written = {}
    for key, flag in flags.items():
        written[flag] = f"write it as {key} = ... in the table around it"
    return written | by_word(others)


# The shell scripts that a scheduler starts, once for each task of an array.


HEAD = r"""#!/bin/bash
# Launch {array.launch.name}: a task for each line of {array.list_file}. Submitted from this folder by:
#   {command}

cd -- {folder} || exit 3
{scheduler.begin}
exec >> {array.output}$((line - 1)).txt 2>&1
"""

RUNS = r"""IFS=$'\t' read -r -a runs < <(sed -n "${{line}}p" {array.list_file})
if [ "${{#runs[@]}}" = 0 ]; then
    echo "line $line of {array.list_file} in $PWD on $(hostname) names no run" >&2
    exit 3
fi
run="${{runs[0]}}"
checkpoint() {{
    for one in "${{runs[@]}}"; do
        stat -c '%i %y' -- "$one/checkpoints/last.safetensors" "$one"/folds/*/checkpoints/best.safetensors \
            "$one"/folds/.stacks/*/*/stack.safetensors 2> /dev/null
    done
}}
before=$(checkpoint)
if [ "$restarts" -gt 0 ]; then
    # The scheduler has made sure that the previous attempt, possibly on another node, has ended.
    for one in "${{runs[@]}}"; do rm -f -- "$one"/attempts/*/heartbeat; done
fi

# Seconds after which the run is asked to stop, and is killed; empty if there is no limit, or the scheduler warns of it.
soft={soft} hard={hard}
time_is_up= stopped= signalled= python=
stop() {{ stopped=yes signalled=yes; [ -z "$python" ] || kill -TERM "$python"; }}
{scheduler.signals}
{setup}
{scheduler.heard}
if [ -n "$time_is_up" ]; then exit {time_is_up}; fi
if [ -n "$stopped" ]; then exit 130; fi
limited=()
[ -z "$soft" ] || limited=(timeout --foreground --preserve-status $((SECONDS < soft ? soft - SECONDS : 1)))
# The run itself hears of SIGTERM alone.
execute=({python} -m qexp execute "${{runs[@]}}" --device {device} {wrap}--threads "$cores")
(trap '' USR1 USR2; exec "${{limited[@]}}" "${{execute[@]}}") &
python=$!
[ -z "$stopped" ] || kill -TERM "$python"
while :; do  # a signal ends `wait` before the process has ended
    signalled=
    wait "$python" && code=0 || code=$?
    [ -n "$signalled" ] || break
done
[ -z "$soft" ] || [ -n "$stopped" ] || [ "$SECONDS" -lt "$soft" ] || time_is_up=yes
if [ -n "$time_is_up" ] && [ "$code" = 130 ]; then
    # A run that makes no progress within its time limit would be requeued without end.
    if [ {requeued} = true ] && [ "$(checkpoint)" != "$before" ]; then
        {scheduler.requeue}
    fi
    code={time_is_up}
fi
case "$code" in 99|100) code=1 ;; esac  # a scheduler would start or hold the job again
exit "$code"
"""

COMMANDS = r"""{setup}
export OMP_NUM_THREADS="${{OMP_NUM_THREADS:-$cores}}"
command=$(sed -n "${{line}}p" {array.list_file})
eval "exec $command"
"""


# Submission of runs and commands as job arrays, and their end.


def together(directories: Iterable[RunDirectory]) -> list[list[RunDirectory]]:
    """Runs by the process that trains them: those of a stack together, in the first one's place."""
    groups: dict[str, list[RunDirectory]] = {}
    for directory in directories:
        name = f"run {directory.name}"
        with suppress(NotFoundError, DamagedError):  # which the process of the run reports
            stack = directory.record().stack
            if stack is not None:
                name = f"stack {stack.id}"
        groups.setdefault(name, []).append(directory)
    return list(groups.values())


@dataclass(frozen=True)
class Array:
    """One of a launch's job arrays.

    number    from 1
    previous  the id of the array after whose end it starts; None if it may start at once
    runs      whether it starts runs, not other commands
    lines     its list: the directory of a run in each, or those of a stack with tabs between them;
              or the commands
    """

    launch: Submission
    number: int
    previous: str | None
    runs: bool
    lines: Sequence[str]

    @property
    def folder(self) -> Path:
        return self.launch.folder.absolute()

    @property
    def script(self) -> str:
        return f"array_{self.number}.sh"

    @property
    def list_file(self) -> str:
        return f"{'runs' if self.runs else 'commands'}_{self.number}.txt"

    @property
    def output(self) -> str:
        """How its tasks' files of output begin; the number of a line from 0 follows."""
        return f"array_{self.number}/" if self.runs else f"output/{self.number}_"


class Scheduler:
    """Starts submitted jobs when resources allow, and reports their states until some time later.

    A job has a text as its id. Jobs have the states of runs; a cancelled job is interrupted. What
    is declared here is what a scheduler of job arrays adds; one of another kind has its own
    methods, as far as they are public.
    """

    options: Mapping[str, Acceptor]  # in qexp.toml and after --option

    name: str  # in messages
    output_name: str  # file in a run's directory with its output and that of the scheduler
    job: str = "{array}.{task}"  # what the job of a task is called
    first: int = 0  # the number of an array's first task
    # in the environment of a job: its array, its task, the name of its cluster
    variables: tuple[str, str, str]
    warns: bool = False  # whether the scheduler tells the script that the time is nearly up

    # Lines of its scripts.
    # sets `line`, the task's number from 1, `cores`, and `restarts`, how often it was started again
    begin: str
    # traps from the start on: they call `stop`, after `time_is_up=yes` if the time is nearly up
    signals: str = ""
    heard: str = "trap 'signalled=yes' TERM"  # a trap of SIGTERM once the run may have started
    requeue: str = "exit 99"  # has the scheduler start the task once more

    longest: Callable[[], int]  # the largest number of tasks in an array
    command: Callable[[Array], list[str]]  # the words that submit one
    # submits it by them and returns its id; raises SchedulerError
    submit_array: Callable[[Array, Sequence[str]], str]
    # ends jobs, or whole arrays; a run must get SIGTERM and time for a checkpoint
    end: Callable[[Sequence[str]], None]
    # the name of the cluster; raises QexpError if it cannot be reached
    ask_cluster: Callable[[], str | None]

    def states(self, jobs: Mapping[str, Path | None]) -> dict[str, State]:
        """Job → current state; jobs that the scheduler no longer lists are left out.

        jobs  job → the folder of its launch, if that is known
        Raises SchedulerError if it does not answer, QexpError if it cannot be reached from this
        machine.
        """
        raise NotImplementedError

    def submit(
        self, submission: Submission, runs: Sequence[RunDirectory], device: str = "auto"
    ) -> dict[str, str]:
        """Submit runs as arrays as long as the cluster accepts, a stack as one task; run → job.

        Each is started by `python -m qexp execute DIR --device DEVICE`, with the `arguments` of a
        wrap in the options. The folder of the launch gets `array_1.sh`, `runs_1.txt` and, in
        `output/`, links to the runs' output. Raises SchedulerError if the scheduler refuses; jobs
        accepted by then are cancelled.
        """
        groups = together(runs)
        lines = list[str]()
        for group in groups:
            lines.append("\t".join(str(run.path.absolute()) for run in group))
        jobs = dict[str, str]()
        for group, job in zip(groups, self._submit(submission, True, lines, device), strict=True):
            jobs |= {run.name: job for run in group}
        return jobs

    def submit_commands(
        self, submission: Submission, commands: Sequence[Sequence[str]]
    ) -> list[str]:
        """Submit commands other than runs, likewise. Returns a job for each.

        The folder of the launch gets `array_1.sh`, `commands_1.txt` and, in `output/`, the output
        of the commands.
        """
        return self._submit(submission, False, [shlex.join(words) for words in commands])

    def cancel(self, jobs: Mapping[str, Path | None]) -> dict[str, State]:
        """Cancel jobs. Returns job → INTERRUPTED if no process will record its end."""
        states = self.states(jobs)
        for part in parts([job for job in jobs if states.get(job, State.RUNNING).at_work]):
            self.end(part)
        return {job: State.INTERRUPTED for job, state in states.items() if state is State.QUEUED}

    def this_job(self) -> tuple[str, str | None] | None:
        """The job of this process and its cluster, if known; None if it is no job of this kind."""
        array, task, cluster = (os.environ.get(variable, "") for variable in self.variables)
        is_task = array.isdecimal() and task.isdecimal()
        return (self.job.format(array=array, task=task), cluster or None) if is_task else None

    def cluster(self) -> str | None:
        """Name of the cluster, also on a node that may not ask for it; None if there is none."""
        try:
            return self.ask_cluster()
        except QexpError:
            return os.environ.get(self.variables[-1])

    def script(self, array: Array, command: Sequence[str], device: str = "") -> str:
        """The script of an array, which a command submits."""
        options = array.launch.options
        soft, hard = ("", "") if self.warns else limits(options)
        return (HEAD + (RUNS if array.runs else COMMANDS)).format(
            scheduler=self,
            array=array,
            command=shlex.join(command),
            folder=shlex.quote(str(array.folder)),
            setup="\n".join(options["setup"]),
            soft=soft,
            hard=hard,
            time_is_up=TIME_IS_UP,
            python=shlex.quote(sys.executable),
            device=shlex.quote(device),
            requeued=options["requeue"],
            wrap="".join(f"{shlex.quote(word)} " for word in wrap_of(options).arguments()),
        )

    def _submit(
        self, launch: Submission, runs: bool, lines: Sequence[str], device: str = ""
    ) -> list[str]:
        """Submit a list, part by part. Returns the job of each of its lines."""
        longest = max(self.longest(), 1)
        files.make_folder(launch.folder / "output")
        arrays: dict[str, int] = {}
        try:
            submitted = len(list(launch.folder.glob("array_*.sh")))  # a launch may get further jobs
            for number, part in enumerate(parts(lines, longest), submitted + 1):
                # `at_most` holds for each array alone, so they run one after another.
                previous = list(arrays)[-1] if arrays and launch.at_most else None
                array = Array(launch, number, previous, runs, part)
                command = self.command(array)
                self._write_list(array)
                script = os.fsencode(self.script(array, command, device))
                files.write_bytes(array.folder / array.script, script)
                arrays[self.submit_array(array, command)] = len(part)
        except BaseException:
            if arrays:
                self.end([*arrays])
            raise
        jobs = list[str]()
        for array_id, count in arrays.items():
            tasks = range(self.first, self.first + count)
            jobs += [self.job.format(array=array_id, task=task) for task in tasks]
        return jobs

    def _write_list(self, array: Array) -> None:
        """Write the list of an array, and link the output of runs."""
        for line in array.lines:
            if "\n" in line or "\r" in line:
                raise QexpError(
                    f"{line!r}: {self.name} does not accept a path with a line break; move the"
                    " workspace"
                )
        content = os.fsencode("".join(f"{line}\n" for line in array.lines))
        files.write_bytes(array.folder / array.list_file, content)
        if not array.runs:
            return
        files.make_folder(array.folder / array.output)
        with files.writing(f"to {array.folder}"):
            # A scheduler can name an output file after a task's number, but not after a run.
            for task, line in enumerate(array.lines):
                # a stack's output is in its first run
                runs = [Path(path) for path in line.split("\t")]
                links = [f"{array.output}{task}.txt", *(f"output/{run.name}.txt" for run in runs)]
                for link in links:
                    (array.folder / link).unlink(missing_ok=True)
                    (array.folder / link).symlink_to(runs[0] / self.output_name)


def limits(options: Mapping[str, Any]) -> tuple[str, str]:
    """Seconds after which a run is told to stop, and is killed; empty without a time limit.

    Not by a soft limit of the scheduler: Grid Engine takes it for the hard one when a job starts
    again.
    """
    if "time" not in options:
        return "", ""
    hard = seconds_of(options["time"])
    return str(max(hard - int(options["signal"]), hard // 2)), str(hard)
