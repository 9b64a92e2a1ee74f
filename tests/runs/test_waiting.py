"""`wait`, `logs` and `stop`: what is said of a run is what its process does, and no other process
is ever touched.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from qexp.errors import NotFoundError
from qexp.jobs import states
from qexp.jobs.launchers import Launch
from qexp.jobs.states import SECONDS_TO_START, ask_to_stop
from qexp.store.directory import RunDirectory
from qexp.store.process import process_start, this_process
from tests.conftest import started
from tests.runs.conftest import ENDLESS, has_lines, until
from tests.runs.test_catalog import write_record


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing and ends with the test."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def attempt_of(pid: int, number: int = 1, **of_process: object) -> dict[str, object]:
    """An attempt's entry in a record, as if a process of this machine worked on it."""
    process = replace(this_process(), pid=pid, start=process_start(pid) or "")
    return {
        "number": number,
        "process": {**process.document(), **of_process},
        "ended": None,
        "state": "running",
    }


def write_running(
    workspace: Path, name: str, pid: int, number: int = 1, **of_process: object
) -> RunDirectory:
    attempts = [attempt_of(pid, number, **of_process)]
    draft = write_record(workspace / "drafts", name, state="running", attempts=attempts, results={})
    directory = RunDirectory(workspace / "runs" / name)
    directory.attempt(number).mkdir(parents=True, exist_ok=True)
    (directory.attempt(number) / "heartbeat").touch()
    (draft / "run.json").replace(directory.record_file)  # whole or not at all, since others look on
    return directory


@pytest.mark.heavy
def test_no_run_is_stopped_before_a_removal_if_another_one_cannot_be(workspace, qexp, sleeper):
    write_running(workspace, "here", sleeper.pid)
    write_running(workspace, "there", 1, host="another-machine")
    assert "another-machine" in qexp("rm", "here", "there", "--stop").failed()
    with pytest.raises(subprocess.TimeoutExpired):
        sleeper.wait(1)
    assert {path.name for path in (workspace / "runs").iterdir()} >= {"here", "there"}


# Waiting


def test_waiting_ends_with_0_only_if_all_are_done(workspace, qexp):
    for name, state in {"a": "done", "b": "done", "c": "failed", "d": "interrupted"}.items():
        write_record(workspace, name, state=state)
    assert qexp("wait", "a", "b") == (0, "", "a: done\nb: done\n")
    assert qexp("wait", "c") == (1, "", "c: failed\n")
    assert qexp("wait", "a", "c", "d") == (4, "", "a: done\nc: failed\nd: interrupted\n")
    assert qexp("wait", "a", "runs/a", "a") == (0, "", "a: done\n")
    assert qexp("wait", "a", "x").code == 3
    assert "or a launch: --launch last" in qexp("wait").failed()


@pytest.mark.slow
def test_waiting_ends_with_2_after_its_time_and_names_what_is_left(workspace, qexp, sleeper):
    write_record(workspace, "a")
    write_record(workspace, "young", state="created")
    write_running(workspace, "busy", sleeper.pid)
    stderr = qexp("wait", "a", "young", "busy", "--timeout", "0.1").refused()
    assert stderr == "a: done\nerror: after 0.1 s not yet ended: young (created), busy (running)\n"
    assert qexp("wait", "a", "--timeout", "-1").code == 2


@pytest.mark.heavy
def test_a_run_that_is_waited_for_is_told_of_when_it_ends(workspace, start, sleeper):
    write_running(workspace, "busy", sleeper.pid)
    waiting = start("wait", "busy")
    sleeper.kill()
    assert waiting.end() == (1, "", "busy: lost\n")


@pytest.mark.heavy
def test_a_run_that_is_removed_or_damaged_does_not_keep_the_others_waiting(
    workspace, start, sleeper
):
    for name in ("a", "b"):
        write_running(workspace, name, sleeper.pid)
    waiting = start("wait", "a", "b")
    shutil.rmtree(workspace / "runs/a")
    (workspace / "runs/b/run.json").write_text("{")
    code, stdout, stderr = waiting.end()
    # The process may look for the first time before or after they are spoilt.
    assert (code, stdout) == (3, "") or (code, stdout, sorted(stderr.split("\n"))) == (
        4,
        "",
        ["", "a: gone", "b: damaged"],
    )


def test_only_the_records_of_the_runs_that_are_waited_for_are_read(workspace, qexp, opened):
    for name in ("a", "b", "c"):
        write_record(workspace, name)
    opened.clear()
    assert qexp("wait", "b").code == 0
    assert {path.parent.name for path in opened if path.name == "run.json"} == {"b"}


# Logs


def write_log(directory: RunDirectory, number: int, content: bytes) -> None:
    directory.attempt(number).mkdir(parents=True, exist_ok=True)
    with (directory.attempt(number) / "log.txt").open("ab") as file:
        file.write(content)


def test_the_log_of_the_last_attempt_is_printed_or_that_of_the_one_asked_for(workspace, qexp):
    run = RunDirectory(write_record(workspace, "a"))
    for number in (1, 2, 10):
        write_log(run, number, f"attempt {number} ν\n".encode())
    write_log(run, 11, b"bytes \xff\xfe that are no text\n")
    assert qexp("logs", "a").stdout == "bytes \ufffd\ufffd that are no text\n"
    shutil.rmtree(run.attempt(11))
    assert qexp("logs", "a") == (0, "attempt 10 ν\n", "")
    assert qexp("logs", "a", "--attempt", "2") == (0, "attempt 2 ν\n", "")
    assert qexp("logs", "a", "--follow") == (0, "attempt 10 ν\n", "a: done\n")
    assert qexp("logs", "a", "--follow", "--attempt", "1") == (0, "attempt 1 ν\n", "a: done\n")


def test_a_log_that_is_not_there_is_answered_with_what_is(workspace, qexp):
    run = RunDirectory(write_record(workspace, "a", state="created"))
    assert qexp("logs", "a") == (3, "", "error: a has no log yet: it is created\n")
    assert qexp("logs", "a", "--attempt", "1") == (
        3,
        "",
        "error: a has no attempt 1; it has none yet\n",
    )
    for number in (1, 2):
        write_log(run, number, b"x\n")
    for options in ((), ("--follow",)):
        expected = (3, "", "error: a has no attempt 3; there are 1, 2\n")
        assert qexp("logs", "a", "--attempt", "3", *options) == expected
    assert qexp("logs", "a", "--attempt", "0").code == 2


@pytest.mark.slow
def test_following_shows_what_comes_also_of_the_next_attempt_and_ends_with_the_run(
    workspace, sleeper
):
    run = write_running(workspace, "busy", sleeper.pid)
    write_log(run, 1, b"first\nhalf a \xce")
    pieces = states.follow_log(run)
    assert next(pieces) == "first\nhalf a "
    write_log(run, 1, b"\xbd\nlast of one\n")
    assert next(pieces) == "ν\nlast of one\n"
    write_running(workspace, "busy", sleeper.pid, number=2)
    write_log(run, 1, b"a late word\n")
    write_log(run, 2, b"second\n")
    assert next(pieces) == "a late word\n"
    assert next(pieces) == "second\n"
    write_log(run, 2, b"the end\n")
    sleeper.kill()
    sleeper.wait()
    assert list(pieces) == ["the end\n"]


def test_following_an_attempt_ends_when_the_next_one_has_begun(workspace, sleeper):
    run = write_running(workspace, "busy", sleeper.pid, number=2)
    write_log(run, 1, b"one\n")
    write_log(run, 2, b"two\n")
    assert list(states.follow_log(run, 1)) == ["one\n"]


@pytest.mark.heavy
def test_following_waits_for_a_run_that_has_not_started(workspace, start, sleeper):
    write_record(workspace, "young", state="created")
    following = start("logs", "young", "-f")
    write_log(write_running(workspace, "young", sleeper.pid), 1, b"here it goes\n")
    sleeper.kill()
    assert following.end() == (0, "here it goes\n", "young: lost\n")


@pytest.mark.heavy
def test_ctrl_c_ends_following_with_130_and_no_word(workspace, sleeper):
    write_log(write_running(workspace, "busy", sleeper.pid), 1, b"first\n")
    following = started(workspace, "logs", "-f", "busy")
    assert following.stdout.readline() == "first\n"
    following.send_signal(signal.SIGINT)
    assert following.communicate(timeout=60) == ("", "")
    assert following.returncode == 130


@pytest.mark.heavy
def test_a_long_log_costs_no_memory_for_all_of_it_and_a_reader_who_has_seen_enough_causes_no_traceback(
    workspace,
):
    run = RunDirectory(write_record(workspace, "a"))
    write_log(run, 1, b"a line of a long log\n" * 100_000)
    command = ["bash", "-c", f"{sys.executable} -m qexp logs a | head -n 1"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (shown.stdout, shown.stderr) == ("a line of a long log\n", "")
    assert max(map(len, states.read_log(run))) < 100_000
    with pytest.raises(NotFoundError):
        next(states.read_log(run, 7))


# Stopping


@pytest.mark.heavy
def test_a_run_that_is_stopped_ends_as_interrupted_with_the_labels_it_got_meanwhile(
    workspace, start, qexp
):
    run = start("run", "mogi_quick", "--name", "long", *ENDLESS)
    until(has_lines(workspace / "runs/long/metrics.jsonl", 2), "the second epoch")
    assert qexp("tag", "long", "--add", "seen").code == 0
    # Who is impatient, or not alone, must not cost the checkpoint.
    assert ask_to_stop(RunDirectory(workspace / "runs/long"))
    assert qexp("stop", "long")[:2] == (0, "")
    record = json.loads((workspace / "runs/long/run.json").read_text())
    assert (record["state"], record["attempts"][0]["state"]) == ("interrupted", "interrupted")
    assert record["epochs"]["done"] >= 2
    # the second signal can come when all has been written
    assert run.end()[0] in (130, -signal.SIGTERM)
    assert qexp("ls", "-q", "--tag", "seen", "--status", "interrupted").stdout == "long\n"
    assert qexp("stop", "long") == (0, "", "long is not running: interrupted\n")


def test_a_run_that_is_killed_is_lost(workspace, qexp, sleeper):
    write_running(workspace, "busy", sleeper.pid)
    assert qexp("stop", "busy", "--now") == (0, "", "busy: lost\n")
    assert sleeper.wait() == -signal.SIGKILL


@pytest.mark.parametrize(
    "of_process", [{"start": "1"}, {"boot_id": "another"}], ids=["start", "boot"]
)
def test_a_process_that_only_has_the_number_of_a_runs_is_left_alone(
    workspace, qexp, sleeper, of_process
):
    directory = write_running(workspace, "old", sleeper.pid, **of_process)
    os.utime(directory.attempt(1) / "heartbeat", (0, 0))
    for options in ((), ("--now",)):
        assert qexp("stop", "old", *options) == (0, "", "old is not running: lost\n")
    assert sleeper.poll() is None


@pytest.mark.parametrize(
    ("of_process", "complaint"),
    [
        ({"host": "node17"}, "runs on node17, as process"),
        ({"pid_namespace": "pid:[1]"}, "runs in another container on"),
        (
            {"boot_id": "another"},
            f"runs on another machine that is also called {os.uname().nodename}",
        ),
    ],
    ids=["host", "container", "boot"],
)
def test_a_run_on_another_machine_is_not_stopped_but_told_where_it_is(
    workspace, qexp, sleeper, of_process, complaint
):
    write_running(workspace, "far", sleeper.pid, **of_process)
    assert complaint in qexp("stop", "far", "--now").refused()
    assert sleeper.poll() is None


@pytest.mark.slow
def test_one_run_that_cannot_be_stopped_does_not_save_the_others(workspace, qexp, sleeper):
    write_running(workspace, "far", sleeper.pid, host="node17")
    write_record(workspace, "young", state="created")
    write_running(workspace, "near", sleeper.pid)
    stderr = qexp("stop", "far", "young", "near").refused(4)
    assert [line.partition(" runs")[0] for line in stderr.splitlines()] == [
        "young is not running: created", "near: lost", "error: far",
    ]  # fmt: skip
    assert sleeper.wait() == -signal.SIGTERM


def test_a_run_that_waits_in_a_pool_is_taken_out_of_it(workspace, qexp, sleeper):
    folder = workspace / "runs/.launches/20260101-000000"
    folder.mkdir(parents=True)
    (folder / "pool.json").write_text(json.dumps(attempt_of(sleeper.pid)["process"]))
    for name in ("next", "last"):
        write_record(workspace, name, state="queued", launch=folder.name)
    assert qexp("stop", "next") == (0, "", "next: interrupted\n")
    assert not Launch(folder).take("next", "started")
    assert qexp("stop", "next") == (0, "", "next is not running: interrupted\n")
    sleeper.kill()
    sleeper.wait()
    assert qexp("stop", "next") == (0, "", "next is not running: interrupted\n")
    assert qexp("stop", "last") == (0, "", "last is not running: created\n")


@pytest.mark.slow
def test_nobody_waits_for_a_run_that_nobody_will_start(workspace, qexp):
    path = write_record(workspace, "young", state="created") / "run.json"
    assert "not yet ended: young (created)" in qexp("wait", "young", "--timeout", "0.2")[2]
    long_ago = path.stat().st_mtime - 2 * SECONDS_TO_START
    os.utime(path, (long_ago, long_ago))
    assert qexp("wait", "young") == (1, "", "young: created, and no process will start it\n")


def test_patterns_name_runs_wherever_several_may_be_named(workspace, qexp):
    for name in ("mogi_1", "mogi_2", "okada_1"):
        write_record(workspace, name)
    assert qexp("wait", "mogi_*", "mogi_1")[0] == 0
    assert qexp("stop", "mogi_?")[2] == "mogi_1 is not running: done\nmogi_2 is not running: done\n"
    assert qexp("tag", "mogi_*", "--add", "paper")[0] == 0
    assert qexp("ls", "-q", "--tag", "paper")[1].split() == ["mogi_1", "mogi_2"]
    assert "no run matches 'mogy_*'; did you mean 'mogi_" in qexp("wait", "mogy_*").failed(3)


@pytest.mark.parametrize("command", ["logs", "where", "wait", "stop", "tag", "note"])
def test_every_command_on_runs_explains_itself_and_knows_what_is_not_there(
    workspace, qexp, command
):
    assert f"Usage: qexp {command}" in qexp(command, "--help").quiet()
    write_record(workspace, "mogi_1")
    assert "did you mean 'mogi_1'?" in qexp(command, "mogi_2").refused(3)
