"""Submission of runs and commands to Slurm as job arrays."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from qexp import files
from qexp.errors import QexpError, SchedulerError
from qexp.runs.record.directory import RunDirectory
from qexp.runs.schedulers.scheduler import Submission
from qexp.runs.schedulers.slurm import scripts
from qexp.runs.schedulers.slurm.jobs import cancel
from qexp.runs.schedulers.slurm.options import FLAGS
from qexp.runs.schedulers.slurm.programs import environment, parts, require, setting, words_of

T = TypeVar("T")

OUTPUT = "slurm.txt"
"""File in a run's directory with the output of its process and of Slurm itself."""


def submit(launch: Submission, runs: Sequence[RunDirectory], device: str = "auto") -> dict[str, str]:
    """Submit runs as arrays of at most the length that the cluster accepts. Returns run → job, such as `123_4`.

    The folder of the launch gets `array_1.sh`, `runs_1.txt` and, in `output/`, links to the runs' output.
    Raises SchedulerError if sbatch refuses; jobs accepted by then are cancelled.
    """
    jobs = _in_arrays(launch, runs, lambda array, part: _runs_submitted(array, part, device))
    return {run.name: job for run, job in zip(runs, jobs, strict=True)}


def submit_commands(launch: Submission, commands: Sequence[Sequence[str]]) -> list[str]:
    """Submit commands other than runs, likewise. Returns a job for each, such as `123_4`.

    The folder of the launch gets `array_1.sh`, `commands_1.txt` and, in `output/`, the output of the commands.
    Raises SchedulerError if sbatch refuses; jobs accepted by then are cancelled.
    """
    return _in_arrays(launch, commands, _commands_submitted)


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


def _in_arrays(launch: Submission, items: Sequence[T], submitted: Callable[[_Array, Sequence[T]], str]) -> list[str]:
    """Submit items part by part, each with `submitted`, which returns the id of its array. Returns a job per item."""
    require("sbatch")
    files.make_folder(launch.folder / "output")
    arrays: dict[str, int] = {}
    try:
        for number, part in enumerate(parts(items, _longest_array()), 1):
            # The limit holds for each array alone: arrays run one after another to keep `at_most` overall.
            before = list(arrays)[-1] if arrays and launch.at_most else None
            arrays[submitted(_Array(launch, number, before), part)] = len(part)
    except BaseException:
        cancel(list(arrays))
        raise
    return [f"{array}_{task}" for array, count in arrays.items() for task in range(count)]


def _runs_submitted(array: _Array, runs: Sequence[RunDirectory], device: str) -> str:
    """Write an array's files and submit it. Returns its id."""
    launch, listed = array.launch, f"runs_{array.number}.txt"
    by_task = array.folder / f"array_{array.number}"
    command = _sbatch(array, len(runs), f"{_pattern(by_task)}/%a.txt")
    files.write_bytes(array.folder / listed, b"".join(_line(run.path) for run in runs))
    text = scripts.of_runs(launch.name, listed, command, launch.options, device)
    _link_outputs(array, by_task, runs)
    return _submitted(array, text, command)


def _commands_submitted(array: _Array, commands: Sequence[Sequence[str]]) -> str:
    """Write an array's files and submit it. Returns its id."""
    launch, listed = array.launch, f"commands_{array.number}.txt"
    command = _sbatch(array, len(commands), f"{_pattern(array.folder / 'output')}/{array.number}_%a.txt")
    lines = [shlex.join(one) for one in commands]
    if broken := next((line for line in lines if "\n" in line), None):
        raise QexpError(f"{broken!r}: Slurm does not accept a path with a line break")
    files.write_bytes(array.folder / listed, os.fsencode("".join(f"{line}\n" for line in lines)))
    return _submitted(array, scripts.of_commands(launch.name, listed, command, launch.options), command)


def _sbatch(array: _Array, tasks: int, output: str) -> list[str]:
    launch, options = array.launch, array.launch.options
    return [
        "sbatch", "--parsable", f"--job-name={launch.name}",
        f"--array=0-{tasks - 1}" + (f"%{launch.at_most}" if launch.at_most else ""),
        f"--output={output}", "--open-mode=append",
        f"--signal=B:USR1@{options['signal']}",
        "--requeue" if options["requeue"] == "true" else "--no-requeue",
        *(f"--{flag}={options[key]}" for key, flag in FLAGS.items() if key in options),
        *(_passed(name, value) for name, value in options.get("options", {}).items() if value is not False),
        *([f"--dependency=afterany:{array.before}"] if array.before else []),
        array.script,
    ]  # fmt: skip


def _passed(name: str, value: str | bool) -> str:
    return f"--{name}" if value is True else f"--{name}={value}"


def _submitted(array: _Array, script: str, command: Sequence[str]) -> str:
    """Write the script of an array and submit it. Returns the array's id."""
    files.write_bytes(array.folder / array.script, os.fsencode(script))
    answer = subprocess.run(
        command, cwd=array.folder, env=environment(), capture_output=True, text=True, errors="replace", check=False
    )
    job = answer.stdout.strip().partition(";")[0]  # "123;cluster" if there are several clusters
    if answer.returncode or not job.isdecimal():
        raise SchedulerError(f"sbatch refused {array.folder / array.script}:\n{words_of(answer)}")
    return job


def _link_outputs(array: _Array, by_task: Path, runs: Sequence[RunDirectory]) -> None:
    """Link the tasks' output files in the launch folder to files in the runs.

    Slurm can put a task's number into the name of its output file, but not a run's name.
    """
    files.make_folder(by_task)
    try:
        for task, run in enumerate(runs):
            for link in (by_task / f"{task}.txt", array.folder / "output" / f"{run.name}.txt"):
                link.unlink(missing_ok=True)
                link.symlink_to(run.path.absolute() / OUTPUT)
    except OSError as error:
        raise QexpError(f"cannot write to {array.folder}: {error.strerror}") from error


def _line(path: Path) -> bytes:
    content = os.fsencode(path.absolute())
    if b"\n" in content or b"\r" in content:
        raise QexpError(f"{str(path)!r}: Slurm does not accept a path with a line break; move the workspace")
    return content + b"\n"


def _pattern(folder: Path) -> str:
    """The folder's path, escaped for sbatch, which replaces patterns such as %a in file names."""
    path = str(folder.absolute())
    if "\\" in path:
        raise QexpError(f"{path}: Slurm does not accept a path with a backslash; move the workspace")
    return path.replace("%", "%%")


def _longest_array() -> int:
    """Largest number of tasks in an array; task numbers must be less than MaxArraySize."""
    found = setting("MaxArraySize", r"\d+")
    return max(int(found), 1) if found else 1000
