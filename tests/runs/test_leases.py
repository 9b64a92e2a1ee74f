"""Of several processes that think a run is theirs, the newest attempt has it; the others stop
without harm.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from qexp.base import files, formats
from qexp.base.workspace import Workspace
from qexp.errors import QexpError, TakenOverError
from qexp.kinds.experiments import experience
from qexp.runs.plan import plan_run
from qexp.runs.prepare import prepare
from qexp.store import lease
from qexp.store.directory import RunDirectory
from qexp.store.process import beat, this_process
from tests.conftest import Specs, call, mounted, shared_folder
from tests.runs.conftest import until
from tests.runs.test_catalog import write_record
from tests.runs.test_fold_workers import prepared, train
from tests.runs.test_many_at_once import fill
from tests.runs.test_waiting import attempt_of, sleeper

__all__ = ["prepared", "sleeper"]  # fixtures

LONG = ("run", "sound", "--name", "sound_0", "--set", "epochs=100", "--device", "cpu")

SAME = (
    "metrics.jsonl",
    "checkpoints/best.safetensors",
    "checkpoints/last.safetensors",
    "results/test_predictions.nc",
)

PAUSED_IN_A_CHECKPOINT = """
import os, signal
from qexp.cli import main
from qexp.networks import training

written, sync = [], os.fsync

def fsync(handle):
    if "/.last.safetensors." in os.readlink(f"/proc/self/fd/{handle}"):
        written.append(handle)
        if len(written) == 5:
            os.kill(os.getpid(), signal.SIGSTOP)
    sync(handle)

os.fsync, training.SECONDS_BETWEEN_CHECKPOINTS = fsync, 0.0
main()
"""
"""`qexp`, which writes a checkpoint after every epoch and is paused when the fifth is to be renamed
into its place.
"""


def contents(directory: Path) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in SAME}


@shared_folder
def uninterrupted(root: Path) -> None:
    """A workspace in which sound_0 is done."""
    Specs(root)
    call(*LONG, "--workspace", root).done()


@pytest.fixture
def uninterrupted_files(uninterrupted: Path) -> dict[str, bytes]:
    """What an uninterrupted run leaves."""
    return contents(uninterrupted / "runs/sound_0")


def declare_dead(directory: RunDirectory) -> None:
    """Let the last attempt be one of another machine that has not been heard of for an hour."""
    record = formats.read_json(directory.record_file)
    record["attempts"][-1]["process"]["host"] = "another-machine"
    formats.write_json(directory.record_file, record)
    heartbeat = directory.attempt(record["attempts"][-1]["number"]) / "heartbeat"
    os.utime(heartbeat, (heartbeat.stat().st_mtime - 3600,) * 2)


def log_of(directory: RunDirectory, attempt: int) -> str:
    path = directory.attempt(attempt) / "log.txt"
    return path.read_text() if path.exists() else ""


def everything_but(folder: Path, directory: RunDirectory) -> dict[Path, bytes]:
    return {
        path: path.read_bytes()
        for path in directory.path.rglob("*")
        if path.is_file() and not path.is_relative_to(folder) and "tensorboard" not in path.parts
    }


@pytest.fixture
def paused(specs: Specs) -> Iterator[tuple[RunDirectory, subprocess.Popen[str]]]:
    """A run whose process is paused while it writes a checkpoint, and believed dead."""
    directory = RunDirectory(specs.root / "runs/sound_0")
    older = subprocess.Popen(
        [sys.executable, "-c", PAUSED_IN_A_CHECKPOINT, *LONG], stderr=subprocess.PIPE, text=True
    )
    os.waitid(os.P_PID, older.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert list(directory.attempt(1).glob("lease-*/.last.safetensors.*"))
    declare_dead(directory)
    yield directory, older
    older.kill()
    older.communicate()


def stopped_without_harm(older: subprocess.Popen[str], directory: RunDirectory) -> None:
    _, stderr = older.communicate(timeout=120)
    assert older.returncode == 2, stderr
    message = (
        f"sound_0: attempt 2 has taken over, as process {os.getpid()} on {os.uname().nodename};"
        " this process"
    )
    assert message in stderr
    assert "stopped without changing anything" in log_of(directory, 1)


@pytest.mark.heavy
def test_a_process_that_is_woken_while_the_next_one_trains_changes_nothing(
    paused, qexp, uninterrupted_files
):
    directory, older = paused

    def wake() -> None:
        until(lambda: "epoch 30:" in log_of(directory, 2), "the 30th epoch")
        older.send_signal(signal.SIGCONT)

    waking = threading.Thread(target=wake)
    waking.start()
    code, _, stderr = qexp(*LONG, "--resume")
    waking.join()
    assert code == 0, stderr
    stopped_without_harm(older, directory)
    assert contents(directory.path) == uninterrupted_files
    assert [attempt.state for attempt in directory.record().attempts] == ["lost", "done"]


@pytest.mark.heavy
def test_a_process_that_is_woken_after_the_next_one_is_done_changes_nothing(
    paused, qexp, uninterrupted_files
):
    directory, older = paused
    qexp(*LONG, "--resume").done()
    before = everything_but(directory.attempt(1), directory)
    older.send_signal(signal.SIGCONT)
    stopped_without_harm(older, directory)
    assert everything_but(directory.attempt(1), directory) == before
    assert contents(directory.path) == uninterrupted_files
    assert not [*directory.path.rglob("*lease-*"), *directory.path.rglob(".*")]


@pytest.mark.heavy
def test_a_process_that_is_woken_after_its_run_made_room_for_another_of_its_name_changes_nothing(
    paused, qexp
):
    directory, older = paused
    assert qexp("rm", "sound_0").code == 0
    assert qexp("run", "sound", "--device", "cpu").code == 0
    before = everything_but(directory.path / "none", directory)
    older.send_signal(signal.SIGCONT)
    _, stderr = older.communicate(timeout=120)
    assert (older.returncode, "sound_0: it was moved away or deleted" in stderr) == (2, True)
    assert everything_but(directory.path / "none", directory) == before


@pytest.mark.heavy
def test_a_process_that_trains_folds_stops_when_the_lease_of_its_run_ends(prepared):
    drafts = prepared.attempt(1) / "lease-1"
    drafts.mkdir(parents=True)
    command = [
        sys.executable,
        "-m",
        "qexp",
        "train-folds",
        str(prepared.path),
        "--drafts",
        str(drafts),
    ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, text=True, **pipes) as worker:
        worker.stdin.write("0\n")
        worker.stdin.flush()
        assert "steps" in json.loads(worker.stdout.readline())
        shutil.rmtree(drafts)
        output, _ = worker.communicate(timeout=120)
    assert (worker.returncode, "another process took over" in output) == (2, True)
    assert not list(prepared.folds.glob("*/checkpoints/*"))


@pytest.mark.heavy
def test_training_of_folds_in_processes_writes_under_the_lease_of_the_run(prepared):
    with lease.take_lease(prepared) as own_lease:
        shutil.rmtree(own_lease.folder)
        with pytest.raises(QexpError, match="another process took over"):
            train(prepared)


# The lease itself


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return RunDirectory(write_record(tmp_path, "one", state="interrupted"))


def test_what_is_being_written_when_the_lease_ends_replaces_nothing(directory):
    file = directory.path / "results/numbers.json"
    files.make_folder(file.parent)
    with lease.take_lease(directory) as own_lease:
        formats.write_json(file, {"mine": 1})
        for writer in (files.replacing, files.beside):
            with pytest.raises(TakenOverError), writer(file):
                shutil.rmtree(own_lease.folder)
            own_lease.folder.mkdir()
        shutil.rmtree(own_lease.folder)
        with pytest.raises(TakenOverError):
            formats.write_json(file, {"mine": 2})
        with pytest.raises(TakenOverError):
            formats.write_json(directory.record_file, {})
        formats.write_json(directory.path.parent / "elsewhere.json", {})
    formats.write_json(file, {**formats.read_json(file), "others": 3})
    assert formats.read_json(file) == {"mine": 1, "others": 3}
    assert [path.name for path in file.parent.iterdir()] == ["numbers.json"]


def test_a_folder_that_is_gone_is_no_lease_that_ended(directory):
    with lease.take_lease(directory), pytest.raises(QexpError, match="No such file") as caught:
        formats.write_json(directory.path / "results/numbers.json", {})
    assert not isinstance(caught.value, TakenOverError)


def test_a_folder_of_a_run_on_another_disk_is_written_to_as_well(directory, tmp_path):
    (tmp_path / "disk").mkdir()
    with mounted("-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path / "disk")):
        (directory.path / "results").symlink_to(tmp_path / "disk")
        with lease.take_lease(directory) as own_lease:
            formats.write_json(directory.path / "results/numbers.json", {"one": 1})
            assert [path.name for path in (tmp_path / "disk").iterdir()] == ["numbers.json"]
            shutil.rmtree(own_lease.folder)
            with pytest.raises(TakenOverError):
                formats.write_json(directory.path / "results/numbers.json", {"one": 2})


def test_attempts_are_counted_up_and_leave_no_lease_behind(directory):
    for number in (1, 2, 3):
        with lease.take_lease(directory) as own_lease:
            assert (own_lease.number, own_lease.is_held()) == (number, True)
            command = formats.read_json(own_lease.attempt / "command.json")
            assert (
                command["process"]
                == {**this_process().document(), "locks": True}
                == own_lease.process.document()
            )
        assert not own_lease.is_held()
    assert lease.attempts(directory) == [1, 2, 3]
    assert not [*directory.path.rglob("*lease*"), *directory.path.glob("attempts/.*")]


def claim(directory: RunDirectory, pid: int, **of_process: object) -> Path:
    """What a process leaves that has made the first attempt, and not yet said so in the record."""
    attempt = directory.attempt(1)
    (attempt / "lease-1").mkdir(parents=True)
    beat(attempt / "heartbeat")
    formats.write_json(
        attempt / "command.json", {"argv": [], "process": attempt_of(pid, **of_process)["process"]}
    )
    return attempt


def test_a_process_that_is_about_to_start_keeps_others_out_and_a_dead_one_nobody(
    directory, sleeper
):
    attempt = claim(directory, sleeper.pid)
    with pytest.raises(
        QexpError, match=f"is being started by another process, as process {sleeper.pid} on"
    ):
        lease.take_lease(directory).__enter__()
    assert lease.attempts(directory) == [1]
    assert (attempt / "lease-1").is_dir()
    sleeper.kill()
    sleeper.wait()
    with lease.take_lease(directory) as own_lease:
        assert own_lease.number == 2
        assert not (attempt / "lease-1").exists()


def test_a_process_elsewhere_that_is_about_to_start_counts_until_it_is_silent(directory, sleeper):
    attempt = claim(directory, sleeper.pid, host="another-machine")
    with pytest.raises(QexpError, match="counts as dead after 300 s without a heartbeat"):
        lease.take_lease(directory).__enter__()
    os.utime(attempt / "heartbeat", (0, 0))
    with lease.take_lease(directory) as own_lease:
        assert own_lease.number == 2


AT_ONCE = """
import multiprocessing, sys
from pathlib import Path
from qexp.errors import QexpError
from qexp.store import lease
from qexp.store.directory import RunDirectory

def attempt(start, end, said):
    start.wait()
    try:
        with lease.take_lease(RunDirectory(Path(sys.argv[1]))) as held:
            said.put("taken")
            end.wait()
            assert held.is_held()
    except QexpError as error:
        said.put(str(error).split(", as process")[0])
        end.wait()

fork = multiprocessing.get_context("fork")
start, end, said = fork.Barrier(8), fork.Barrier(8), fork.Queue()
processes = [fork.Process(target=attempt, args=(start, end, said)) for _ in range(8)]
for process in processes: process.start()
for process in processes: print(said.get())
for process in processes: process.join()
assert [process.exitcode for process in processes] == [0] * 8
"""


@pytest.mark.heavy
def test_of_many_that_try_at_once_one_has_the_run(directory):
    script = [sys.executable, "-c", AT_ONCE, directory.path]
    lines = subprocess.run(script, check=True, capture_output=True, text=True).stdout.splitlines()
    assert sorted(lines) == ["one is being started by another process"] * (8 - 1) + ["taken"]
    assert not [*directory.path.glob("attempts/.*")]


# A full disk


@pytest.mark.heavy
def test_where_there_was_no_room_to_start_a_run_it_starts_as_soon_as_there_is(tmp_path, qexp):
    specs = Specs(tmp_path)
    runs = tmp_path / "runs"
    runs.mkdir()
    started = ("run", "sound", "--device", "cpu", "--workspace", specs.root)
    with mounted("-t", "tmpfs", "-o", "size=4m", "tmpfs", str(runs)):
        home = Workspace(specs.root)
        prepare(plan_run(experience("sound", {}, home), 0, "sound_0", home), home)
        directory = RunDirectory(runs / "sound_0")
        for pages in range(3):  # so that it is another file each time for which there is none
            fill(runs, pages * 4096)
            assert "No space left on device" in qexp(*started, "--resume").failed()
            (runs / "filler").unlink()
            assert (directory.record().state, list((directory.path / "attempts").iterdir())) == (
                "created",
                [],
            )
        qexp(*started, "--resume").done()
        assert directory.record().state == "done"
