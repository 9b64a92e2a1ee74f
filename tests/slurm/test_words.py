"""What Slurm says, as it was recorded: every end has its state, with accounting and without."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qexp.errors import QexpError
from qexp.runs.directory import RunDirectory
from qexp.runs.launch import slurm
from qexp.runs.launch.slurm_words import STATES
from qexp.runs.process import this_process
from qexp.runs.states import FORGOTTEN, state_now

ACCOUNTED = """\
7_[4-6,9%2]|PENDING|0:0
7_0|COMPLETED|0:0
7_1|CANCELLED by 1000|0:0
7_2|FAILED|1:0
7_3|TIMEOUT|0:0
8_0|OUT_OF_MEMORY|0:125
8_1|NODE_FAIL|0:0
8_2|PREEMPTED|0:15
8_3|BOOT_FAIL|0:0
8_4|DEADLINE|0:0
8_5|REVOKED|0:0
8_6|FAILED|130:0
8_7|FAILED|0:9
8_8|REQUEUED|0:0
8_9|SUSPENDED|0:0
8_10|RESIZING|0:0
8_11|CANCELLED+|0:0
8_12|A_WORD_OF_TOMORROW|0:0
"""

MEANT = {
    **dict.fromkeys(("7_4", "7_5", "7_6", "7_9", "8_8"), "queued"),
    "7_0": "done", "7_1": "interrupted", "7_2": "failed", "7_3": "timeout",
    "8_0": "out_of_memory", "8_1": "lost", "8_2": "preempted", "8_3": "lost", "8_4": "timeout", "8_5": "lost",
    "8_6": "timeout", "8_7": "out_of_memory", "8_9": "running", "8_10": "running", "8_11": "interrupted",
}  # fmt: skip

LISTED = """\
9_0|COMPLETING|0|
9_1|FAILED|33280|
9_2|FAILED|9|
9_3|FAILED|256|
9_4|NODE_FAIL|0|
9_[5-9:2]|PENDING|0|
"""


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`says("sacct", "7_0|COMPLETED|0:0")`: a program of that name on the PATH, which prints a recorded answer."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def install(program: str, answer: str, error: str = "", code: int = 0) -> None:
        script = f"#!/bin/sh\ncat <<'END'\n{answer}END\nprintf '%s' '{error}' >&2\nexit {code}\n"
        (folder / program).write_text(script)
        (folder / program).chmod(0o755)

    return install


def test_every_word_of_the_accounting_has_its_state(says):
    says("sacct", ACCOUNTED)
    says("squeue", "", "slurm_load_jobs error: Invalid job id specified", 1)
    jobs = [*MEANT, "8_12", "7_7"]
    assert slurm.states(jobs) == MEANT


def test_without_accounting_the_queue_is_asked(says):
    says("sacct", "", "Slurm accounting storage is disabled", 1)
    says("squeue", LISTED)
    assert slurm.states([f"9_{task}" for task in range(10)]) == {
        "9_0": "running", "9_1": "timeout", "9_2": "out_of_memory", "9_3": "failed", "9_4": "lost",
        "9_5": "queued", "9_7": "queued", "9_9": "queued",
    }  # fmt: skip


def test_what_the_accounting_does_not_know_yet_the_queue_does(says):
    says("sacct", ACCOUNTED)
    says("squeue", LISTED)
    assert slurm.states(["7_0", "9_1"]) == {"7_0": "done", "9_1": "timeout"}


def test_the_accounting_is_enough_when_the_controller_is_out_of_reach(says):
    says("sacct", ACCOUNTED)
    says("squeue", "", "Unable to contact slurm controller", 1)
    assert slurm.states(["7_0", "9_1"]) == {"7_0": "done"}


def test_every_state_that_slurm_can_mean_is_one_of_ours():
    known = {"queued", "running", "done", "failed", "timeout", "out_of_memory", "preempted", "interrupted", "lost"}
    assert {*STATES.values()} == known


def test_options_of_the_command_line_win():
    chosen = slurm.options({"time": 30, "memory": "2G", "requeue": True, "setup": ["module load a"]}, ["time=1-12"])
    assert chosen == {
        "time": "1-12", "memory": "2G", "requeue": "true", "signal": "60", "setup": ["module load a"],
    }  # fmt: skip
    assert slurm.options({"setup": ["a"]}, ["setup=b", "setup=c=d"])["setup"] == ["b", "c=d"]


@pytest.mark.parametrize("text", ["30", "30:00", "1:30:00", "2-12", "2-12:30", "2-12:30:00", "UNLIMITED"])
def test_all_forms_of_a_time_are_taken(text):
    assert slurm.options({}, [f"time={text}"])["time"] == text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("memori=4G", "no option 'memori'; did you mean 'memory'?"),
        ("time=soon", "--slurm: time cannot be 'soon'; give minutes"),
        ("time=1:2:3:4", "time cannot be"),
        ("memory=4 GB", "memory cannot be '4 GB'; give the memory per run, such as 4G"),
        ("cpus=0", "cpus cannot be '0'"),
        ("signal=70000", "from 1 to 65535"),
        ("signal=0", "from 1 to 65535"),
        ("requeue=yes", "give true or false"),
        ("partition=a;rm -r b", "partition cannot be"),
        ("partition=", "partition cannot be ''"),
        ("account=$(id)", "account cannot be"),
        ("gres=gpu:1\n--wrap=id", "gres cannot be"),
        ("setup=a\nb", "setup cannot be"),
        ("partition", "write key=value"),
    ],
)
def test_a_wrong_option_is_an_error_that_says_what_would_work(given, message):
    with pytest.raises(QexpError) as caught:
        slurm.options({}, [given])
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_all_wrong_options_are_reported_together():
    with pytest.raises(QexpError) as caught:
        slurm.options({"tyme": 3, "setup": ["a\nb"], "cpus": [1, 2]}, ["qos=a b"])
    assert len(str(caught.value).splitlines()) == 4
    with pytest.raises(QexpError, match="must be a table"):
        slurm.options("main", [])  # type: ignore[arg-type]


def test_what_was_learned_is_kept_when_many_learn_at_once(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda task: slurm.remember(tmp_path, {f"1_{task}": "done"}), range(32)))
    assert slurm.remembered(tmp_path) == {f"1_{task}": "done" for task in range(32)}


def test_what_does_not_stay_so_is_not_kept_and_a_requeued_job_is_forgotten(tmp_path):
    slurm.remember(tmp_path, {"1_0": "timeout", "1_1": "running", "1_2": "failed"})
    assert slurm.remembered(tmp_path) == {"1_0": "timeout", "1_2": "failed"}
    slurm.remember(tmp_path, {"1_0": "queued"})
    assert slurm.remembered(tmp_path) == {"1_2": "failed"}


def test_a_damaged_memory_is_no_obstacle(tmp_path):
    for content in (b"", b"\xff{", b"[1]", b'{"1_0": 3}'):
        (tmp_path / "states.json").write_bytes(content)
        assert slurm.remembered(tmp_path) == {}
    slurm.remember(tmp_path, {"1_0": "done"})
    assert slurm.remembered(tmp_path) == {"1_0": "done"}
    slurm.remember(tmp_path / "nowhere", {"1_0": "done"})


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    (tmp_path / "run/attempts/01").mkdir(parents=True)
    return RunDirectory(tmp_path / "run")


ELSEWHERE = {**this_process().document(), "host": "a-node", "pid": 1, "start": "0", "attempt": 1}


@pytest.mark.parametrize("word", ["failed", "timeout", "out_of_memory", "preempted", "interrupted", "lost", "queued"])
def test_the_scheduler_is_believed_where_the_record_has_no_last_word(directory, word):
    assert state_now(directory, "running", ELSEWHERE, word) == word
    assert state_now(directory, "queued", None, word) == word


@pytest.mark.parametrize("state", ["done", "failed", "out_of_memory"])
def test_a_record_that_says_how_the_run_ended_is_believed(directory, state):
    for word in ("running", "failed", "done", "timeout", FORGOTTEN, None):
        assert state_now(directory, state, None, word) == state


def test_the_scheduler_knows_why_a_run_was_interrupted(directory):
    found = {word: state_now(directory, "interrupted", None, word) for word in ("timeout", "preempted", "queued")}
    assert all(word == state for word, state in found.items())
    assert state_now(directory, "interrupted", None, "failed") == "interrupted"


def test_a_job_that_is_done_without_a_record_of_it_is_lost_but_not_at_once(directory):
    heartbeat = directory.attempt(1) / "heartbeat"
    heartbeat.touch()
    assert state_now(directory, "running", ELSEWHERE, "done") == "running"
    os.utime(heartbeat, times=(time.time() - 90, time.time() - 90))
    assert state_now(directory, "running", ELSEWHERE, "done") == "lost"


def test_of_a_forgotten_job_the_heartbeat_tells(directory):
    assert state_now(directory, "queued", None, FORGOTTEN) == "lost"
    assert state_now(directory, "queued", None) == "queued"
    heartbeat = directory.attempt(1) / "heartbeat"
    assert state_now(directory, "running", ELSEWHERE, FORGOTTEN) == "lost"
    heartbeat.touch()
    assert state_now(directory, "running", ELSEWHERE, FORGOTTEN) == "running"


def test_a_process_knows_the_task_as_which_it_runs(monkeypatch):
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    assert slurm.this_job() is None
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert slurm.this_job() == {"launcher": "slurm", "id": "12_3"}
