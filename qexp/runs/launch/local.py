"""The local pool: runs on this machine, each in a process of its own, with a limit on how many run at a time."""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol

from qexp.errors import QexpError
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.provenance import usable_cores
from qexp.runs.record.state import State
from qexp.runs.signals import handled
from qexp.runs.state.launches import Launch
from qexp.runs.state.waiting import Watch
from qexp.runs.wrap import NO_WRAP, Wrap

log = logging.getLogger("qexp.run")

SECONDS_BETWEEN_LOOKS = 0.25
"""Seconds between two checks of the runs' progress and of signals; the end of a run is noticed at once."""

TAIL = 8192
"""Bytes at the end of the metrics file that are searched for the last line."""


class Watcher(Protocol):
    """Receives the events of a pool."""

    def start(self, runs: Sequence[str]) -> None: ...
    def run_started(self, run: str) -> None: ...
    def progress(self, lines: Mapping[str, dict[str, Any]]) -> None: ...
    def run_ended(self, run: str, state: State, seconds: float) -> None: ...
    def not_started(self, run: str, why: str) -> None: ...
    def stopping(self) -> None: ...
    def stop(self) -> None: ...


class Unwatched:
    """A watcher that only logs runs that could not be started."""

    def start(self, runs: Sequence[str]) -> None: ...
    def run_started(self, run: str) -> None: ...
    def progress(self, lines: Mapping[str, dict[str, Any]]) -> None: ...
    def run_ended(self, run: str, state: State, seconds: float) -> None: ...
    def not_started(self, run: str, why: str) -> None:
        log.warning("%s was not started: %s", run, why)

    def stopping(self) -> None: ...
    def stop(self) -> None: ...


@dataclass
class _Job:
    directory: RunDirectory
    process: subprocess.Popen[bytes]
    started: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class _End:
    run: str
    state: State = State.CREATED
    seconds: float = 0.0
    trouble: str = ""
    """Why the run could not be started; empty if it was."""


class Pool:
    """Runs prepared run directories. A run that crashes or cannot be started does not stop the others.

    After a first SIGINT or SIGTERM no run is started and running ones write a checkpoint; a second kills them.
    """

    def __init__(
        self,
        launch: Launch,
        directories: Sequence[RunDirectory],
        jobs: int,
        device: str = "auto",
        gpus: Sequence[str] = (),
        wrap: Wrap = NO_WRAP,
    ) -> None:
        self._wrap = wrap
        self._launch, self._device, self._jobs = launch, device, jobs
        self._threads = max(1, (usable_cores() or 1) // jobs)
        self._waiting: queue.SimpleQueue[RunDirectory] = queue.SimpleQueue()
        for directory in directories:
            self._waiting.put(directory)
        self._names = [directory.name for directory in directories]
        self._slots = [gpus[slot % len(gpus)] if len(gpus) > 1 else None for slot in range(min(jobs, len(directories)))]
        self._running: dict[str, _Job] = {}
        self._ended: queue.SimpleQueue[_End] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._signals = 0

    def run(self, watcher: Watcher) -> dict[str, State]:
        """Run all; returns run → final state. Runs that were never started are left out."""
        states: dict[str, State] = {}
        watcher.start(self._names)
        with handled((signal.SIGINT, signal.SIGTERM), self._note):
            workers = [threading.Thread(target=self._work, args=(gpu,), daemon=True) for gpu in self._slots]
            for worker in workers:
                worker.start()
            shown: set[str] = set()
            passed_on = 0
            while any(worker.is_alive() for worker in workers) or not self._ended.empty():
                if self._signals > passed_on:
                    if not passed_on:
                        watcher.stopping()
                    passed_on = self._signals
                    self._pass_on(signal.SIGTERM if passed_on == 1 else signal.SIGKILL)
                with self._lock:
                    running = dict(self._running)
                for name in [name for name in running if name not in shown]:
                    shown.add(name)
                    watcher.run_started(name)
                try:
                    end = self._ended.get(timeout=SECONDS_BETWEEN_LOOKS)
                except queue.Empty:
                    watcher.progress({name: line for name, job in running.items() if (line := _last_line(job))})
                    continue
                if end.trouble:
                    watcher.not_started(end.run, end.trouble)
                    continue
                states[end.run] = end.state
                watcher.run_ended(end.run, end.state, end.seconds)
        watcher.stop()
        return states

    @property
    def stopped(self) -> bool:
        """Whether a signal ended the pool early."""
        return self._signals > 0

    def _work(self, gpu: str | None) -> None:
        while True:
            try:
                directory = self._waiting.get_nowait()
            except queue.Empty:
                return
            with self._lock:
                if self._signals:
                    return
                try:
                    job = self._take(directory, gpu)
                except (QexpError, OSError) as error:  # for example a full disk; the other runs are still tried
                    self._ended.put(_End(directory.name, trouble=str(error)))
                    continue
                if job is None:
                    self._ended.put(_End(directory.name, Watch().state(directory)))
                    continue
                self._running[directory.name] = job
            job.process.wait()
            with self._lock:
                del self._running[directory.name]
            self._ended.put(_End(directory.name, Watch().state(directory), time.monotonic() - job.started))

    def _take(self, directory: RunDirectory, gpu: str | None) -> _Job | None:
        """Start the next run; None if it was withdrawn."""
        if not self._launch.take(directory.name, "started"):
            return None
        return _Job(directory, self._begin(directory, gpu))

    def _begin(self, directory: RunDirectory, gpu: str | None) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "qexp", "execute", str(directory.path)]
        options = ["--device", self._device, "--threads", str(self._threads), *self._wrap.arguments()]
        environment = {**os.environ, **({"CUDA_VISIBLE_DEVICES": gpu} if gpu is not None else {})}
        with self._launch.output(directory.name).open("ab") as output:
            # In a new session, Ctrl-C on the terminal reaches only the pool, which passes it on once.
            return subprocess.Popen(
                [*command, *options], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment,
                start_new_session=True,
            )  # fmt: skip

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1

    def _pass_on(self, number: signal.Signals) -> None:
        with self._lock:
            for job in self._running.values():
                with suppress(ProcessLookupError):  # it has just ended
                    if number == signal.SIGKILL:
                        os.killpg(job.process.pid, number)  # with the programs around and below it
                    else:
                        job.process.send_signal(number)


def visible_gpus() -> list[str]:
    """The GPUs that torch would see, found without loading torch."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [one for one in named.split(",") if one]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [str(index) for index in range(listed.count("GPU "))]


def _last_line(job: _Job) -> dict[str, Any] | None:
    """The metrics of the last complete epoch."""
    try:
        with job.directory.metrics_file.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - TAIL))
            lines = file.read().splitlines(keepends=True)
        line: dict[str, Any] = json.loads([one for one in lines if one.endswith(b"\n")][-1])
    except (OSError, IndexError, ValueError):
        return None
    return line
