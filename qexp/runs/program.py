"""Running the program of an experience, and taking over its results."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from qexp.base import files, formats, machine
from qexp.base.files import locked
from qexp.base.text import filled
from qexp.errors import ProgramError, ProgramMemoryError, QexpError, SpecError
from qexp.kinds.attempt import Results, Work
from qexp.kinds.files import changed_program_files
from qexp.runs import followed, guard
from qexp.spec import experiences
from qexp.spec.experiences import RESULTS, Command, is_told_where, must_write, shares_its_results
from qexp.store import provenance
from qexp.store.directory import EPOCHS, METRICS, SYSTEM, WRITTEN


class Program:
    """A running program; made by `start_program`."""

    def __init__(self, control: int, status: int) -> None:
        self._control, self._status = control, status
        self._heard = b""
        self.number: int | None = None
        what, _, number = (self._line(None) or "").partition(" ")
        if what == "failed":
            raise OSError(int(number), os.strerror(int(number)))
        self.number = int(number)

    def ended(self, seconds: float) -> int | None:
        """The exit code, or minus the number of the signal that killed it; None if it still runs.

        It has ended when all processes that it started have. Raises QexpError if its guard was
        killed.
        """
        line = self._line(seconds)
        return None if line is None else os.waitstatus_to_exitcode(int(line.partition(" ")[2]))

    def request(self, what: bytes) -> None:
        """Have it asked to end, by `guard.ASK`, or killed, by `guard.KILL`."""
        with suppress(BrokenPipeError):  # it has just ended
            os.write(self._control, what)

    def _line(self, seconds: float | None) -> str | None:
        """The next line from the guard; None if there is none within `seconds`."""
        while b"\n" not in self._heard:
            if not select.select([self._status], [], [], seconds)[0]:
                return None
            more = os.read(self._status, 4096)
            if not more:
                if self.number is not None:
                    with suppress(ProcessLookupError, PermissionError):
                        os.killpg(self.number, signal.SIGKILL)
                raise QexpError(
                    "the process that supervises the program was killed, and the program with it"
                )
            self._heard += more
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode()


@contextmanager
def start_program(
    words: Sequence[str], folder: Path, variables: Mapping[str, str], output: Path
) -> Iterator[Program]:
    """A program, without a shell, which is killed at the end of the block. Its output is appended
    to a file.

    variables  its environment variables besides those of this process

    Raises OSError if it cannot be started.
    """
    to_read, control = os.pipe()
    status, to_write = os.pipe()
    command = [sys.executable, "-I", "-S", guard.__file__, str(to_read), str(to_write), *words]
    with output.open("ab") as log:
        try:
            watching = machine.start_child(
                command, log, variables, folder=folder, pass_on=(to_read, to_write)
            )
        except BaseException:
            os.close(control)
            os.close(status)
            raise
        finally:
            os.close(to_read)
            os.close(to_write)
    try:
        yield Program(control, status)
    finally:
        os.close(control)  # on which the guard kills what still runs
        watching.wait()
        os.close(status)


log = logging.getLogger("qexp.run")

PARAMETERS, PROGRAM, ENVIRONMENT = "parameters.json", "program.json", "program_environment.txt"
"""Files: the parameters, in the run; the filled-in command, in the attempt; the program's
environment, in the run.
"""

INPUTS = ("spec.json", "environment.json", PARAMETERS)
OF_RUN = (*INPUTS, "run.json", ENVIRONMENT, SYSTEM, "code", "attempts")
OF_ATTEMPT = ("log.txt", "command.json", "process.lock", "heartbeat", PROGRAM)
OF_RESULTS = (RESULTS, WRITTEN, EPOCHS)
"""Names of qexp in a run's folder, written before the program starts and at any time, in that of an
attempt, and in `results`.
"""

SECONDS_BETWEEN_LOOKS = 0.2
"""Seconds between two checks whether the run was asked to end."""

TAIL = 20_000
"""Bytes at the end of the log that are searched for the program's last words."""


@dataclass(frozen=True)
class Call:
    """The command of a run with its placeholders filled in."""

    work: Work

    @property
    def _run(self) -> Path:
        return self.work.own.directory.path.absolute()

    @cached_property
    def workspace(self) -> Path:
        """The workspace of the run; for one that `verify` made elsewhere, that of the original."""
        workspace = self._run.parent.parent
        if self._run.parent.name == "runs" and (workspace / "specs").is_dir():
            return workspace
        return Path(self.work.spec["found"])

    @cached_property
    def _without_results(self) -> dict[str, str]:
        return {
            "seed": str(self.work.own.record.seed),
            "run": str(self._run),
            "parameters": str(self._run / PARAMETERS),
            "workspace": str(self.workspace),
            "attempt": str(int(self.work.attempt.name)),
            **experiences.run_values(self.work.spec["parameters"]),
        }

    @cached_property
    def folder(self) -> Path:
        return self.workspace / filled(self.work.spec["folder"], self._without_results.__getitem__)

    @cached_property
    def results(self) -> Path:
        """The file that the program writes, another for each attempt: a program may die slowly."""
        file_name = filled(self.work.spec["results"] or RESULTS, self._without_results.__getitem__)
        if is_told_where(self.work.spec):
            return self.work.attempt.absolute() / Path(file_name).name
        return self.folder / file_name

    @cached_property
    def metrics(self) -> Path:
        """The file for the program's metrics, or `metrics.jsonl` in its run if none is declared."""
        declared = self.work.spec.get("metrics_file", f"{{run}}/{METRICS}")
        return self.folder / filled(declared, self._without_results.__getitem__)

    @cached_property
    def values(self) -> dict[str, str]:
        return {**self._without_results, "results": str(self.results)}

    def words(self, key: str) -> list[str]:
        return [filled(word, self.values.__getitem__) for word in self.work.spec[key]]

    @cached_property
    def added(self) -> dict[str, str]:
        """Environment variables for the program, besides those of this process."""
        # so that `qexp logs -f` shows what a Python program prints at once
        added = {"PYTHONUNBUFFERED": "1"}
        if self.work.threads is not None and "OMP_NUM_THREADS" not in os.environ:
            added["OMP_NUM_THREADS"] = str(self.work.threads)
        if self.work.device == "cpu":
            added["CUDA_VISIBLE_DEVICES"] = ""
        for name, text in self.work.spec["env"].items():
            added[name] = filled(text, self.values.__getitem__)
        for name in ("run", "seed", "results", "parameters"):
            added[f"QEXP_{name.upper()}"] = self.values[name]
        return added


def results_of(work: Work) -> Results | None:
    """Run the program to its end, and read its results; None if interrupted."""
    call = Call(work)
    began = time.perf_counter()
    _require_unchanged(call)
    files.make_folder(call.results.parent)
    formats.write_json(work.own.directory.path / PARAMETERS, work.spec["parameters"])
    device = None if work.device == "auto" else work.device
    environment = provenance.environment(device, work.threads, {})
    formats.write_json(work.own.directory.path / "environment.json", environment)
    with ExitStack() as locks:
        if not _is_alone(call, locks):
            return None
        stamp = _stamp(call.results)
        seconds = work.own.record.seconds
        _describe(call)
        run = work.own.directory.path.absolute()
        ours = [run / name for name in (*INPUTS, f"results/{RESULTS}", f"results/{WRITTEN}")]
        stamps = {file: _stamp(file) for file in ours if file != call.results}
        try:
            if not _run(call):
                return None
        finally:
            work.own.keep(seconds=round(seconds + time.perf_counter() - began, 3))
        changed = [file for file, earlier in stamps.items() if _stamp(file) != earlier]
        if changed:  # else it would replace a file of a name that qexp uses
            names = ", ".join(file.relative_to(run).as_posix() for file in changed)
            raise ProgramError(
                f"the program changed {names} in its run's folder, which are files of"
                " qexp; give it a folder of its own in there, such as {run}/output"
            )
        return _results(call, stamp)


def _require_unchanged(call: Call) -> None:
    """Raise ProgramError if the program or its data have changed since the run was prepared."""
    troubles = list(changed_program_files(call.work.spec["fingerprints"].items(), call.workspace))
    if troubles:
        copies = call.work.own.directory.path / "code" / "files"
        hint = f"; the program's files as they were are in {copies}" if copies.is_dir() else ""
        raise ProgramError("; ".join(troubles) + hint + "; put them back, or start a new run")
    if not call.folder.is_dir():
        raise ProgramError(
            f"there is no folder {call.folder}, in which the program is to be started"
        )


def _is_alone(call: Call, locks: ExitStack) -> bool:
    """Wait until no other run writes the same file of results, or of metrics, and hold its lock.

    False if the run is interrupted first.
    """
    shared = call.results if shares_its_results(call.work.spec) else call.metrics
    if shared.is_relative_to(call.work.own.directory.path.absolute()):
        return True
    name = hashlib.sha256(str(shared).encode()).hexdigest()[:16]
    lock = call.workspace / "runs" / f".results-{name}"
    waits = False
    while not call.work.interrupted():
        try:
            locks.enter_context(locked(lock, SECONDS_BETWEEN_LOOKS))
        except QexpError:
            if not waits:
                log.info("waits for another run, which writes %s, too", shared)
            waits = True
        else:
            return True
    return False


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written; None if there is no file."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _describe(call: Call) -> None:
    """Keep what the spec's command says about the program's environment."""
    if not call.work.spec["environment"]:
        return
    words = call.words("environment")
    variables = {**os.environ, **call.added}
    try:
        done = subprocess.run(
            words,
            cwd=call.folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("the program's environment is not kept: %s: %s", shlex.join(words), error)
        return
    files.write_bytes(call.work.own.directory.path / ENVIRONMENT, done.stdout)


def _run(call: Call) -> bool:
    """Run the program to its end; False if interrupted. Raises ProgramError if it failed."""
    again = bool(call.work.spec["resume"]) and int(call.work.attempt.name) > 1
    words = call.words("resume" if again else "command")
    killed = machine.memory_kills()
    log_file = call.work.attempt / "log.txt"
    described = {"command": words, "folder": str(call.folder), "variables": call.added}
    formats.write_json(call.work.attempt / PROGRAM, described)
    log.info("%s", shlex.join(words))
    log_size = log_file.stat().st_size
    progress = followed.Progress(call.work, call.metrics, again=again)
    try:
        with start_program(words, call.folder, call.added, log_file) as program:
            try:
                code = _watch(program, call, progress)
            finally:
                progress.look(last=True)
    except OSError as error:
        raise ProgramError(
            f"'{words[0]}' cannot be started in {call.folder}: {error.strerror}"
        ) from None
    if code is None:
        return False
    if code != 0:
        last_words = _last_words(log_file, log_size)
        how = f"exit code {code}" if code > 0 else f"killed by {machine.signal_name(-code)}"
        no_memory = (
            machine.memory_kills() > killed
            if code == -signal.SIGKILL
            else machine.says_no_memory(last_words)
        )
        last_line = last_words.strip().rpartition("\n")[2].strip()
        raise (ProgramMemoryError if no_memory else ProgramError)(
            how + (f": {last_line[:300]}" if last_line else "")
        )
    return True


def _watch(program: Program, call: Call, progress: followed.Progress) -> int | None:
    """The exit code of a program; None if interrupted, after which it has a time of grace."""
    while True:
        code = program.ended(SECONDS_BETWEEN_LOOKS)
        if code is not None:
            return None if machine.ended_with_all(code, call.work.interrupted) else code
        progress.look()
        if call.work.interrupted():
            log.info("asks the program to end, and kills it after %g s", call.work.spec["grace"])
            program.request(guard.ASK)
            if program.ended(call.work.spec["grace"]) is None:
                log.info("kills the program")
                program.request(guard.KILL)
                program.ended(2 * SECONDS_BETWEEN_LOOKS)
            return None


def _last_words(log_file: Path, start: int) -> str:
    """The end of what the program has printed."""
    with suppress(OSError), log_file.open("rb") as log:
        log.seek(max(start, log_file.stat().st_size - TAIL))
        return log.read().decode(errors="replace")
    return ""


def _results(call: Call, stamp_before: tuple[int, int, int] | None) -> Results:
    """The numbers in the results file, which the run copies; if none, its files are its results.

    Raises ProgramError if the numbers cannot be used, or are missing although the program was to
    write them.
    """
    file = call.results
    work = call.work
    copy = work.own.directory.results / RESULTS
    if stamp_before is not None and _stamp(file) == stamp_before:
        raise ProgramError(
            f"the program ended without an error, but did not write {file}, which was there before"
        )
    try:
        if must_write(work.spec) or file.exists():
            numbers = experiences.read_program_results(file, str(file))
        else:
            declared = "numbers" in work.spec or "metrics_file" in work.spec
            lines = work.own.directory.metrics() if declared else []
            numbers = followed.results_of(followed.row_of(lines[-1])) if lines else {}
        files.make_folder(copy.parent)
        files.write_bytes(copy, file.read_bytes() if file.exists() else formats.json_bytes(numbers))
    except SpecError as error:
        hint = ""
        if is_told_where(work.spec) and not file.is_file():
            hint = (
                "; a program is given this path as {results} and as QEXP_RESULTS"
                "; one that writes files of other names into a folder is given {run}"
            )
        what = "the program ended without an error, but its results cannot be used"
        raise ProgramError(f"{what}: {error}{hint}") from None
    if not numbers:
        run = work.own.directory.path
        attempt = work.attempt
        paths = sorted([*_files_below(run, OF_RUN), *_files_below(attempt, OF_ATTEMPT)])
        names = [path.relative_to(run).as_posix() for path in paths]
        written = {name: provenance.fingerprint(run / name).document() for name in names}
        formats.write_json(copy.with_name(WRITTEN), written)
        log.info("no numbers; %d files in %s", len(written), work.own.directory.path)
    outputs = dict.fromkeys(itertools.chain(*numbers.values()))
    return Results(numbers, units=Command().units_of(work.spec, outputs))


def _files_below(folder: Path, but: Sequence[str]) -> Iterator[Path]:
    """Plain files below a folder, without those of some names in it, and of hidden names."""
    for entry in folder.iterdir():
        if entry.name in but or entry.name.startswith(".") or entry.is_symlink():
            continue
        if entry.is_file():
            yield entry
        elif entry.is_dir():
            yield from _files_below(entry, OF_RESULTS if entry == folder / "results" else ())
