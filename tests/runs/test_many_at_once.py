"""Many processes write runs and read the catalog at once, and are killed at any moment: nothing
lost, nothing torn.

Also where the disk is full or the catalog cannot be written.
"""

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from qexp.base import files
from qexp.base.workspace import Workspace
from qexp.errors import QexpError
from qexp.runs.catalog import Catalog
from qexp.runs.prepare import Plan, prepare
from qexp.spec.reading import digest
from qexp.store.directory import RunDirectory, is_complete
from qexp.store.process import this_process
from qexp.store.record import AttemptRecord, State, now
from tests.conftest import RESOLVED, mounted

PROCESSES, RUNS_EACH = 20, 10
KILLS, AT_ONCE = 60, 4

WEIGHTS, PREDICTIONS = b"w" * 10_000, b"p" * 5_000

BARELY = 100_000
"""Bytes that a few runs take: with so much room or less, any file of any of them may be the first
without.
"""

UNFINISHED = {"created", "failed", "lost"}
"""What a run that was killed may be, when nobody works on it any more."""

Mishap = Callable[[random.Random], None]


def create_and_finish(root: Path, name: str) -> None:
    """A run from its preparation to its results, without the training between. What the disk
    refuses is raised.
    """
    spec = {**RESOLVED, "made": name}
    directory = prepare(
        Plan(name=name, experience="made", seed=0, spec=spec, digest=digest(spec)), Workspace(root)
    )
    attempt = AttemptRecord(number=1, process=this_process(), started=now(), state=State.RUNNING)
    record = replace(directory.record(), state=State.RUNNING, attempts=(attempt,))
    try:
        directory.write(record)
        Catalog(Workspace(root)).runs()
        files.write_bytes(directory.best_weights, WEIGHTS)
        files.make_folder(directory.results)
        files.write_bytes(directory.results / "test_predictions.nc", PREDICTIONS)
        record = replace(record, state=State.DONE, results={"test": {"depth": {"mae": 0.5}}})
        directory.write(record)
    except QexpError:
        directory.write(replace(record, state=State.FAILED))
        raise


MAKE_AND_TELL = """
for index in range(int(sys.argv[3])):
    create_and_finish(Path(sys.argv[1]), f"{sys.argv[2]}_{index}")
    print(f"{sys.argv[2]}_{index}")
    Catalog(Workspace(Path(sys.argv[1]))).runs()
"""


def in_a_process(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"from tests.runs.test_many_at_once import *\n{script}",
            *map(str, arguments),
        ],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )


def storm(root: Path, moments_file: Path, seed: int, mishap: Mishap) -> None:
    """Sixty processes that make runs, each killed at a moment of its own, and what goes wrong
    meanwhile.

    They are forked from one that has loaded all, so that the whole of their short lives is work.
    """
    moments, alive = random.Random(seed), []
    try:
        for number in range(KILLS):
            heard, says = os.pipe()
            child = os.fork()
            if child == 0:
                work(root, f"k{number}", moments_file, says)
            os.close(says)
            alive.append((child, heard))
            mishap(moments)
            if len(alive) == AT_ONCE:
                child, heard = alive.pop(0)
                os.read(heard, 1)  # it has made a run or tried to: from now on any moment will do
                time.sleep(moments.uniform(0, 0.08))
                kill(child)
                os.close(heard)
                if (root / "runs/catalog.json").exists():
                    json.loads((root / "runs/catalog.json").read_bytes())
    finally:
        for child, _ in alive:
            kill(child)


def work(root: Path, prefix: str, moments_file: Path, says: int) -> None:
    """Make runs until killed; tell of each that is finished, and of each error that was not put
    into words.

    says  where a byte is written after each run that was made or not
    """
    parent = os.getppid()
    for index in itertools.takewhile(lambda _: os.getppid() == parent, itertools.count()):
        name = f"{prefix}_{index}"
        try:
            create_and_finish(root, name)
        except QexpError:
            name = ""
        except BaseException:
            name = f"an error\n{traceback.format_exc()}"
        if name:
            with moments_file.open("a") as file:
                file.write(f"{name}\n")
        os.write(says, b".")
        Catalog(Workspace(root)).runs()
    os._exit(1)


def kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it ended before it was killed"


def states_after(
    root: Path, moments_file: Path, seed: int, mishap: str = "lambda moments: None"
) -> dict[str, str]:
    """The states of all runs after a storm. Whoever said that a run was finished was right, and it
    is all there.
    """
    process = in_a_process(
        f"storm(Path(sys.argv[1]), Path(sys.argv[2]), {seed}, {mishap})", root, moments_file
    )
    process.communicate()
    assert process.returncode == 0
    finished = moments_file.read_text().splitlines()
    assert not [line for line in finished if not line.startswith("k")]
    for path in (root / "runs").rglob("*.json"):  # also those of runs that never came to be
        json.loads(path.read_bytes())
    states = {run["name"]: run["state"] for run in Catalog(Workspace(root)).runs()}
    assert {states.get(name) for name in finished} == {"done"}
    assert set(states.values()) <= UNFINISHED | {"done"}
    for name, state in states.items():
        directory = RunDirectory(root / "runs" / name)
        if state == "done":
            assert directory.best_weights.read_bytes() == WEIGHTS
            assert (directory.results / "test_predictions.nc").read_bytes() == PREDICTIONS
            assert is_complete(directory)
    return states


def fill(disk: Path, room: int) -> None:
    """Leave so many bytes free on a disk, as nearly as its other writers let that be."""
    with contextlib.suppress(OSError), (disk / "filler").open("ab", buffering=0) as filler:
        status = os.statvfs(disk)
        more = status.f_bavail * status.f_frsize - room
        filler.truncate(max(0, filler.tell() + min(0, more)))
        while more > 0:
            more -= filler.write(b"0" * more)


def filled_and_freed(disk: Path) -> Mishap:
    return lambda moments: fill(disk, moments.randrange(moments.choice([1, BARELY, 20 * BARELY])))


def rows(root: Path) -> list[str]:
    return [
        row["summary"]["name"]
        for row in json.loads((root / "runs/catalog.json").read_text())["runs"].values()
    ]


@pytest.mark.heavy
def test_twenty_processes_that_make_ten_runs_each_lose_none_and_double_none(workspace):
    processes = [
        in_a_process(MAKE_AND_TELL, workspace, f"p{number}", RUNS_EACH)
        for number in range(PROCESSES)
    ]
    finished = [name for process in processes for name in process.communicate()[0].split()]
    assert [process.returncode for process in processes] == [0] * PROCESSES
    expected = sorted(
        f"p{number}_{index}" for number in range(PROCESSES) for index in range(RUNS_EACH)
    )
    assert sorted(finished) == expected
    warnings = []
    catalog = Catalog(Workspace(workspace), warnings.append)
    assert sorted((run["name"], run["state"]) for run in catalog.runs()) == [
        (name, "done") for name in expected
    ]
    assert sorted(rows(workspace)) == expected
    assert warnings == []


@pytest.mark.heavy
def test_killed_sixty_times_at_any_moment_no_file_is_torn_and_no_finished_run_is_lost(
    workspace, tmp_path
):
    states = states_after(workspace, tmp_path / "told", seed=1)
    assert len(states) >= KILLS - AT_ONCE
    assert sorted(rows(workspace)) == sorted(states)


@pytest.mark.heavy
def test_the_same_on_a_disk_that_is_filled_and_freed_meanwhile(workspace, tmp_path, qexp):
    runs = workspace / "runs"
    runs.mkdir()
    with mounted("-t", "tmpfs", "-o", "size=16m", "tmpfs", str(runs)):
        states = states_after(
            workspace, tmp_path / "told", 2, "filled_and_freed(Path(sys.argv[1]) / 'runs')"
        )
        (runs / "catalog.json").unlink(missing_ok=True)
        fill(runs, 0)
        with pytest.raises(OSError, match="No space left"):
            (runs / "one_more").write_bytes(b"0")
        listing = qexp("ls", "-q")
        assert (listing.code, sorted(listing.stdout.split())) == (0, sorted(states))
        assert "No space left" in listing.stderr
        (runs / "filler").unlink()
        assert qexp("ls", "-q").stderr == ""
        assert sorted(rows(workspace)) == sorted(states)


@contextmanager
def mounted_read_only(catalog: Path) -> Iterator[None]:
    with mounted("--bind", str(catalog), str(catalog)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(catalog)], check=True)
        with pytest.raises(OSError, match="Read-only"):
            catalog.write_bytes(b"{}")
        yield


@contextmanager
def with_a_lock_that_nobody_gets(catalog: Path) -> Iterator[None]:
    lock = catalog.with_name("catalog.json.lock")
    lock.unlink()
    lock.mkdir()
    yield
    lock.rmdir()


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("seed", "kept"), [(3, mounted_read_only), (4, with_a_lock_that_nobody_gets)]
)
def test_the_same_with_a_catalog_that_cannot_be_written(workspace, tmp_path, qexp, seed, kept):
    create_and_finish(workspace, "before")
    qexp("ls")
    catalog = workspace / "runs/catalog.json"
    before = catalog.read_bytes()
    with kept(catalog):
        states = states_after(workspace, tmp_path / "told", seed)
        assert catalog.read_bytes() == before
        assert len(states) >= KILLS - AT_ONCE
        listing = qexp("ls", "-q")
        assert (listing.code, sorted(listing.stdout.split())) == (0, sorted(states))
        assert "the catalog could not be updated" in listing.stderr
    assert qexp("ls", "-q").stderr == ""
    assert sorted(rows(workspace)) == sorted(states)
