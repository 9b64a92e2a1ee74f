"""Submission of runs and commands to Slurm as job arrays."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qexp import files
from qexp.errors import QexpError, SchedulerError
from qexp.runs.record.directory import RunDirectory
from qexp.runs.schedulers.slurm import scripts
from qexp.runs.schedulers.slurm.jobs import cancel
from qexp.runs.schedulers.slurm.options import FLAGS
from qexp.runs.schedulers.slurm.programs import environment, parts, require, setting, words_of

OUTPUT = "slurm.txt"
"""File in a run's directory with the output of its process and of Slurm itself."""


def submit(
    folder: Path,
    runs: Sequence[RunDirectory],
    options: Mapping[str, Any],
    at_most: int | None,
    name: str,
    device: str = "auto",
) -> dict[str, str]:
    """Submit runs as arrays of at most the length that the cluster accepts. Returns run → job, such as `123_4`.

    folder  folder of the launch; gets `array_1.sh`, `runs_1.txt` and, in `output/`, links to the runs' output
    Raises SchedulerError if sbatch refuses; jobs accepted by then are cancelled.
    """
    require("sbatch")
    launch = _Launch(folder, name, options, at_most)
    arrays: dict[str, Sequence[RunDirectory]] = {}
    files.make_folder(folder / "output")
    try:
        for number, part in enumerate(parts(runs, _longest_array()), 1):
            # The limit holds for each array alone: arrays run one after another to keep `at_most` overall.
            before = list(arrays)[-1] if arrays and at_most else None
            arrays[launch.submit_runs(number, part, device, before)] = part
    except BaseException:
        cancel(list(arrays))
        raise
    return {run.name: f"{array}_{task}" for array, part in arrays.items() for task, run in enumerate(part)}


def submit_commands(
    folder: Path, commands: Sequence[Sequence[str]], options: Mapping[str, Any], at_most: int | None, name: str
) -> list[str]:
    """Submit commands other than runs as tasks of arrays. Returns a job for each, such as `123_4`.

    folder  gets `array_1.sh`, `commands_1.txt` and, in `output/`, the output of the commands
    Raises SchedulerError if sbatch refuses; jobs accepted by then are cancelled.
    """
    require("sbatch")
    launch = _Launch(folder, name, options, at_most)
    files.make_folder(folder / "output")
    arrays: dict[str, int] = {}
    try:
        for number, part in enumerate(parts(commands, _longest_array()), 1):
            before = list(arrays)[-1] if arrays and at_most else None
            arrays[launch.submit_commands(number, part, before)] = len(part)
    except BaseException:
        cancel(list(arrays))
        raise
    return [f"{array}_{task}" for array, count in arrays.items() for task in range(count)]


@dataclass(frozen=True)
class _Launch:
    """The settings shared by all arrays of a launch. An array starts after the array `before` it has ended."""

    folder: Path
    name: str
    options: Mapping[str, Any]
    at_most: int | None

    def submit_runs(self, number: int, runs: Sequence[RunDirectory], device: str, before: str | None) -> str:
        """Write one array's files and submit it. Returns the array's job id."""
        listed, script = f"runs_{number}.txt", f"array_{number}.sh"
        by_task = self.folder / f"array_{number}"
        command = self._sbatch(script, len(runs), f"{_pattern(by_task)}/%a.txt", before)
        files.write_bytes(self.folder / listed, b"".join(_line(run.path) for run in runs))
        text = scripts.of_runs(self.name, listed, command, self.options, device)
        files.write_bytes(self.folder / script, os.fsencode(text))
        self._link_outputs(by_task, runs)
        return self._submitted(script, command)

    def submit_commands(self, number: int, commands: Sequence[Sequence[str]], before: str | None) -> str:
        """Write the files of one array of commands and submit it. Returns the array's job id."""
        listed, script = f"commands_{number}.txt", f"array_{number}.sh"
        command = self._sbatch(script, len(commands), f"{_pattern(self.folder / 'output')}/{number}_%a.txt", before)
        lines = [shlex.join(one) for one in commands]
        if broken := next((line for line in lines if "\n" in line), None):
            raise QexpError(f"{broken!r}: Slurm does not accept a path with a line break")
        files.write_bytes(self.folder / listed, os.fsencode("".join(f"{line}\n" for line in lines)))
        text = scripts.of_commands(self.name, listed, command, self.options)
        files.write_bytes(self.folder / script, os.fsencode(text))
        return self._submitted(script, command)

    def _sbatch(self, script: str, tasks: int, output: str, before: str | None) -> list[str]:
        options = self.options
        return [
            "sbatch", "--parsable", f"--job-name={self.name}",
            f"--array=0-{tasks - 1}" + (f"%{self.at_most}" if self.at_most else ""),
            f"--output={output}", "--open-mode=append",
            f"--signal=B:USR1@{options['signal']}",
            "--requeue" if options["requeue"] == "true" else "--no-requeue",
            *(f"--{flag}={options[key]}" for key, flag in FLAGS.items() if key in options),
            *([f"--dependency=afterany:{before}"] if before else []),
            script,
        ]  # fmt: skip

    def _submitted(self, script: str, command: Sequence[str]) -> str:
        """Submit a script of the folder. Returns the job's id."""
        answer = subprocess.run(
            command, cwd=self.folder, env=environment(), capture_output=True, text=True, errors="replace", check=False
        )
        job = answer.stdout.strip().partition(";")[0]  # "123;cluster" if there are several clusters
        if answer.returncode or not job.isdecimal():
            raise SchedulerError(f"sbatch refused {self.folder / script}:\n{words_of(answer)}")
        return job

    def _link_outputs(self, by_task: Path, runs: Sequence[RunDirectory]) -> None:
        """Link the tasks' output files in the launch folder to files in the runs.

        Slurm can put a task's number into the name of its output file, but not a run's name.
        """
        files.make_folder(by_task)
        try:
            for task, run in enumerate(runs):
                for link in (by_task / f"{task}.txt", self.folder / "output" / f"{run.name}.txt"):
                    link.unlink(missing_ok=True)
                    link.symlink_to(run.path.absolute() / OUTPUT)
        except OSError as error:
            raise QexpError(f"cannot write to {self.folder}: {error.strerror}") from error


def _line(path: Path) -> bytes:
    content = os.fsencode(path.absolute())
    if b"\n" in content or b"\r" in content:
        raise QexpError(f"{path!r}: Slurm does not accept a path with a line break; move the workspace")
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
