"""Short runs, in this process and in processes of their own that can be interrupted and killed."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import qexp
from qexp.api.handles import Run
from qexp.kinds.attempt import Display
from qexp.store.directory import RunDirectory
from qexp.store.process import this_process
from tests import stones

BRIEF = {"epochs": 3, "sizes": [96, 32, 32], "batch_size": 16}
"""Overrides that make any shipped experience a matter of a second."""

SMALL = ("--set", "sizes=[96,32,32]", "--set", "batch_size=16")

ENDLESS = ("--set", "epochs=100000", *SMALL, "--device", "cpu")
"""Options of a run that ends only if it is stopped."""

PATIENCE = 120.0
"""Seconds after which something that should happen soon has not happened."""

Train = Callable[..., Run]


@pytest.fixture
def train(workspace: Path) -> Train:
    """`train(seed=1, epochs=5, name="one")`: a brief run of `mogi_quick` in this process."""

    def brief(experience: str = "mogi_quick", **changes: object) -> Run:
        named = ("seed", "name", "pretrain", "resume", "storage_path")
        options = {key: changes.pop(key) for key in named if key in changes}
        options.setdefault("name", f"{experience}_{options.get('seed', 0)}")
        return qexp.run(experience, overrides={**BRIEF, **changes}, device="cpu", **options)

    return brief


@pytest.fixture
def write(workspace: Path) -> Callable[..., None]:
    """`write(rows, epochs=3)`: the table and the specs of an experience `stones`."""
    return partial(stones.write, workspace)


@pytest.fixture
def run(write: Callable[..., None]) -> Callable[..., RunDirectory]:
    """`run(rows, name="other", epochs=3)`: a finished run of `stones`, in this process."""

    def finished(
        rows: list[list[Any]] | None = None, name: str | None = None, **changes: Any
    ) -> RunDirectory:
        write(rows, **changes)
        return RunDirectory(qexp.run("stones", name=name, device="cpu").path)

    return finished


def files_of_folds(run: RunDirectory) -> dict[str, bytes]:
    """What must be the same, byte for byte."""
    names = ("best.safetensors", "predictions.csv", "metrics.jsonl")
    return {
        str(path.relative_to(run.path)): path.read_bytes()
        for path in run.path.rglob("*")
        if path.name in names
    }


def contents(folder: Path) -> dict[str, bytes]:
    """What the files below a folder hold, but for the catalog."""
    paths = [
        path
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("catalog.json")
    ]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def running(**of_process: object) -> dict[str, Any]:
    """The part of a record that says that this very process, but for some changes, works on the
    run.
    """
    process = {**this_process().document(), **of_process}
    attempt = {"number": 1, "process": process, "started": None, "ended": None, "state": "running"}
    return {"state": "running", "ended": None, "attempts": [attempt]}


class Interrupting(Display):
    """Presses Ctrl-C after a batch of an epoch, both counted from 1."""

    def __init__(self, epoch: int, batch: int, number: int = signal.SIGINT) -> None:
        self._moment, self._number = (epoch, batch), number

    def batch(self, epoch: int, batch: int, batches: int) -> None:
        if (epoch, batch) == self._moment:
            os.kill(os.getpid(), self._number)


@pytest.fixture
def open_workspace() -> Iterator[Path]:
    """A workspace in whose folders everybody may write, outside those of pytest, which are this
    user's alone.
    """
    before = os.umask(0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o777)
        (root / "specs").mkdir()
        (root / "runs").mkdir()
        try:
            yield root
        finally:
            os.umask(before)


class Process(subprocess.Popen[str]):
    """`qexp ...` in a process of its own."""

    send = subprocess.Popen.send_signal

    def __init__(self, *arguments: str) -> None:
        # A terminal's Ctrl-C reaches a session of its own only from here.
        command, pipe = [sys.executable, "-m", "qexp", *arguments], subprocess.PIPE
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        super().__init__(
            command, stdout=pipe, stderr=pipe, text=True, start_new_session=True, env=environment
        )

    def end(self) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        stdout, stderr = self.communicate(timeout=PATIENCE)
        return self.returncode, stdout, stderr


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """`start("run", "mogi_quick")`: a process, gone when the test ends."""
    started: list[Process] = []

    def begin(*arguments: str) -> Process:
        started.append(Process(*arguments))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait for something; fail if it does not happen."""
    limit = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < limit, f"{what} did not happen"
        time.sleep(0.01)


def halt(pid: int) -> None:
    """Stop a process, and wait: one that is held up by the disk would take a SIGTERM, of the lower
    number, first.
    """
    os.kill(pid, signal.SIGSTOP)
    until(lambda: _process_status(pid)["State"].startswith("T"), "that the process is stopped")


def has_been_told_to_end(pid: int) -> bool:
    """Whether a SIGTERM waits for a process that is stopped."""
    return bool(int(_process_status(pid)["ShdPnd"], 16) & 1 << (signal.SIGTERM - 1))


def _process_status(pid: int) -> dict[str, str]:
    """What the kernel says of a process, by its names."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def has_lines(path: Path, count: int) -> Callable[[], bool]:
    return lambda: path.exists() and path.read_bytes().count(b"\n") >= count
