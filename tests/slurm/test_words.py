"""What Slurm says, as `record.py` has recorded it: every end has its state, with accounting and without."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from qexp.base.workspace import Workspace
from qexp.errors import QexpError, SchedulerError
from qexp.jobs import launchers, slurm
from qexp.jobs.launchers import options_of, this_job
from qexp.jobs.slurm import ACCOUNTED, LISTED, STATES, Slurm
from qexp.jobs.states import FORGOTTEN, state_now
from qexp.store.directory import RunDirectory
from qexp.store.process import this_process
from qexp.store.record import AttemptRecord, JobRecord, State
from tests.slurm.record import RECORDED

MEANT = {
    "waiting": "queued", "requeued": "queued", "held": "queued",
    "running": "running", "suspended": "running",
    "completed": "done", "failed": "failed",
    "timeout": "timeout", "deadline": "timeout", "stopped_before_the_limit": "timeout",
    "out_of_memory": "out_of_memory", "killed": "out_of_memory",
    "preempted": "preempted", "node_fail": "lost",
    "cancelled": "interrupted", "cancelled_while_waiting": "interrupted", "cancelled_before_their_turn": "interrupted",
    "prolog_failed": "interrupted",  # Slurm calls that CANCELLED
}  # fmt: skip
"""Recording → the state of its jobs."""

WRITTEN = """\
8_1|BOOT_FAIL|0:0
8_2|REVOKED|0:0
8_3|LAUNCH_FAILED|0:0
8_4|RECONFIG_FAIL|0:0
8_5|RESIZING|0:0
8_6|CONFIGURING|0:0
8_7|COMPLETING|0:0
8_8|CANCELLED+|0:0
8_9|A_WORD_OF_TOMORROW|0:0
8_[12-15:3,20%2]|PENDING|0:0
"""
"""Written by hand from the manual of sacct: these cannot be had on a cluster of one node, or only for a moment."""

MEANT_BY_WRITTEN = {
    **dict.fromkeys(("8_1", "8_2", "8_3", "8_4"), "lost"),
    **dict.fromkeys(("8_5", "8_7"), "running"),
    **dict.fromkeys(("8_6", "8_12", "8_15", "8_20"), "queued"),
    "8_8": "interrupted",
}

UNKNOWN = ("", "slurm_load_jobs error: Invalid job id specified", 1)

OUT_OF_REACH = ("", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)", 1)

NO_ACCOUNTING = ("", "Slurm accounting storage is disabled", 1)


@dataclass(frozen=True)
class Recording:
    """What Slurm said of jobs, all of which had come to the same end."""

    jobs: list[str]
    answers: dict[str, str]
    """Program → what it printed."""

    @classmethod
    def read(cls, name: str) -> Recording:
        head, *answers = (RECORDED / f"{name}.txt").read_text().split("$ ")
        outputs = {command.split()[0]: output for command, _, output in (text.partition("\n") for text in answers)}
        return cls(head.splitlines()[1].removeprefix("# ").split(), outputs)


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`says("sacct", "7_0|COMPLETED|0:0")`: a program of that name on the PATH, which prints that."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def install(program: str, answer: str, error: str = "", code: int = 0) -> None:
        script = f"#!/bin/sh\ncat <<'END'\n{answer}END\nprintf '%s' '{error}' >&2\nexit {code}\n"
        (folder / program).write_text(script)
        (folder / program).chmod(0o755)

    return install


def test_every_recording_has_a_meaning():
    assert {path.stem for path in RECORDED.iterdir()} == {*MEANT}


def test_the_recordings_are_of_what_is_asked_today():
    asked = [" ".join(command) for command in (LISTED, ACCOUNTED)]
    for path in RECORDED.iterdir():
        assert [line[2:] for line in path.read_text().splitlines() if line.startswith("$ ")] == asked


@pytest.mark.parametrize("name", MEANT)
def test_every_end_has_its_state(says, name):
    recording = Recording.read(name)
    for program, answer in recording.answers.items():
        says(program, answer)
    assert Slurm().states(recording.jobs) == dict.fromkeys(recording.jobs, MEANT[name])


@pytest.mark.parametrize("name", [name for name in MEANT if name != "cancelled_before_their_turn"])
def test_every_end_has_its_state_without_accounting(says, name):
    recording = Recording.read(name)
    says("squeue", recording.answers["squeue"])
    says("sacct", *NO_ACCOUNTING)
    assert Slurm().states(recording.jobs) == dict.fromkeys(recording.jobs, MEANT[name])


@pytest.mark.parametrize("name", [name for name in MEANT if name != "cancelled_before_their_turn"])
def test_the_accounting_is_enough_when_the_controller_is_out_of_reach(says, name):
    recording = Recording.read(name)
    says("squeue", *OUT_OF_REACH)
    says("sacct", recording.answers["sacct"])
    assert Slurm().states(recording.jobs) == dict.fromkeys(recording.jobs, MEANT[name])


@pytest.mark.parametrize("name", [name for name, state in MEANT.items() if not State(state).at_work])
def test_how_a_job_ended_is_known_when_the_controller_has_forgotten_it(says, name):
    recording = Recording.read(name)
    says("squeue", *UNKNOWN)
    says("sacct", recording.answers["sacct"])
    assert Slurm().states(recording.jobs) == dict.fromkeys(recording.jobs, MEANT[name])


def test_what_the_accounting_says_late_is_not_believed(says):
    says("squeue", "7_0|COMPLETED|0|\n7_1|RUNNING|0|\n7_3|PENDING|0|\n")
    says("sacct", "7_0|RUNNING|0:0\n7_3|NODE_FAIL|0:0\n7_[1-2,4%1]|PENDING|0:0\n8_0|RUNNING|0:0\n")
    # 7_2 and 7_4 are not to begin any more, of 8_0 nobody knows, and 7_3 was requeued.
    said = Slurm().states([*(f"7_{task}" for task in range(5)), "8_0"])
    assert said == {"7_0": "done", "7_1": "running", "7_2": "interrupted", "7_3": "queued", "7_4": "interrupted"}


def test_a_task_that_the_accounting_left_out_was_cancelled_before_it_began(says):
    says("squeue", *UNKNOWN)
    says("sacct", "7_0|COMPLETED|0:0\n")
    assert Slurm().states(["7_0", "7_1", "9_0"]) == {"7_0": "done", "7_1": "interrupted"}


def test_the_words_that_could_not_be_recorded_have_their_states(says):
    says("squeue", *OUT_OF_REACH)
    says("sacct", WRITTEN)
    assert Slurm().states([f"8_{task}" for task in range(30)]) == MEANT_BY_WRITTEN


def test_without_an_answer_there_is_an_error(says):
    says("squeue", *OUT_OF_REACH)
    says("sacct", *NO_ACCOUNTING)
    with pytest.raises(SchedulerError, match="Unable to contact"):
        Slurm().states(["7_0"])


def test_every_state_that_slurm_can_mean_is_one_of_ours():
    known = {"queued", "running", "done", "failed", "timeout", "out_of_memory", "preempted", "interrupted", "lost"}
    assert {*STATES.values()} == known


def test_options_of_the_command_line_win():
    chosen = options_of(
        "slurm", {"slurm": {"time": 30, "memory": "2G", "requeue": True, "setup": ["module load a"]}}, {"time": "1-12"}
    )
    assert chosen == {
        "time": "1-12", "memory": "2G", "requeue": "true", "signal": "60", "setup": ["module load a"],
    }  # fmt: skip
    assert options_of("slurm", {"slurm": {"setup": ["a"]}}, {"setup": ["b", "c=d"]})["setup"] == ["b", "c=d"]


@pytest.mark.parametrize("text", ["30", "30:00", "1:30:00", "2-12", "2-12:30", "2-12:30:00", "UNLIMITED"])
def test_all_forms_of_a_time_are_taken(text):
    assert options_of("slurm", {"slurm": {}}, {"time": text})["time"] == text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("memori=4G", "no option 'memori'; did you mean 'memory'?"),
        ("time=soon", "options: time cannot be 'soon'; give minutes"),
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
    ],
)
def test_a_wrong_option_is_an_error_that_says_what_would_work(given, message):
    with pytest.raises(QexpError) as caught:
        options_of("slurm", {"slurm": {}}, dict([given.split("=", 1)]))
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"options.job-name": "x"}, "options.job-name cannot be passed on to sbatch: qexp sets it itself, to the name"),
        ({"options.jo": "x"}, None),
        ({"options.outp": "x"}, "options.outp cannot be passed on to sbatch: qexp sets it itself, to slurm.txt"),
        ({"options.mem": "4G"}, "cannot be passed on to sbatch: write it as memory = ... in the table around it"),
        ({"options.wrap": "id"}, "cannot be passed on to sbatch: write it as wrap = ..."),
        ({"options.--nice": "4"}, "options.--nice: give the long name of an option of sbatch, without hyphens"),
        ({"options.J": "4"}, "options.J: give the long name of an option of sbatch"),
        ({"options.comment": "a\nb"}, "options.comment cannot be 'a\\nb'; give a text or a number in one line"),
        ({"options.nice": [1]}, "options.nice cannot be [1]; give a text or a number"),
        ({"options": "nice"}, "options must be a table"),
    ],
)
def test_options_that_qexp_sets_itself_are_refused_with_the_key_that_does_it(given, message):
    if message is None:  # sbatch itself refuses what could be several options
        assert options_of("slurm", {}, given)["options"] == {"jo": "x"}
        return
    with pytest.raises(QexpError) as caught:
        options_of("slurm", {}, given)
    assert message in str(caught.value)


PROFILES = {
    "time": 30,
    "setup": ["module load a"],
    "options": {"mail-user": "a@b.org", "exclusive": True, "nice": 5},
    "big": {"time": "1-0", "options": {"exclusive": False, "nodelist": "n[1-3]"}},
    "small": {"memory": "1G"},
}


def test_a_profile_inherits_and_changes_the_table_around_it():
    big = options_of("slurm", {"slurm": PROFILES}, {"options.nice": "7"}, "big")
    assert (big["time"], big["setup"]) == ("1-0", ["module load a"])
    assert big["options"] == {"mail-user": "a@b.org", "exclusive": False, "nice": "7", "nodelist": "n[1-3]"}
    assert options_of("slurm", {"slurm": PROFILES}, {}, "small")["time"] == "30"
    assert "memory" not in options_of("slurm", {"slurm": PROFILES}, {})
    with pytest.raises(QexpError, match=r"no table \[slurm.bigg\]; did you mean 'big'"):
        options_of("slurm", {"slurm": PROFILES}, {}, "bigg")
    with pytest.raises(QexpError, match=r"at \[slurm.big\]: no option 'tim'"):
        options_of("slurm", {"slurm": {"big": {"tim": 3}}}, {})


def test_a_profile_implies_its_launcher(specs, says, qexp):
    says("sbatch", "777\n")
    says("scontrol", "MaxArraySize = 100\nClusterName = c\n")
    (specs.root / "qexp.toml").write_text("[slurm.big]\noptions = {mail-user = 'a@b.org', exclusive = true}\n")
    code, stdout, stderr = qexp("run", "sound", "--profile", "big")
    assert (code, stdout) == (0, "sound_0  777_0\n"), stderr
    launch = launchers.find_launch("last", Workspace(specs.root))
    settings = launch.record()["settings"]
    assert (launch.record()["launcher"], settings["profile"]) == ("slurm", "big")
    assert settings["options"]["options"] == {"mail-user": "a@b.org", "exclusive": True}
    assert "--mail-user=a@b.org --exclusive" in (launch.folder / "array_1.sh").read_text()
    code, _, stderr = qexp("run", "sound", "--seed", "1", "--profile", "bug")
    assert (code, stderr) == (
        2, "error: --profile bug: qexp.toml has no table [slurm.bug]; did you mean 'big'?\n"
    )  # fmt: skip


def test_all_wrong_options_are_reported_together():
    with pytest.raises(QexpError) as caught:
        options_of("slurm", {"slurm": {"tyme": 3, "setup": ["a\nb"], "cpus": [1, 2]}}, {"qos": "a b"})
    assert len(str(caught.value).splitlines()) == 4
    with pytest.raises(QexpError, match="must be a table"):
        options_of("slurm", {"slurm": "main"}, {})  # type: ignore[arg-type]


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    (tmp_path / "run/attempts/01").mkdir(parents=True)
    return RunDirectory(tmp_path / "run")


ELSEWHERE = AttemptRecord(
    number=1, process=replace(this_process(), host="a-node", pid=1, start="0"), state=State.RUNNING
)


@pytest.mark.parametrize("word", ["failed", "timeout", "out_of_memory", "preempted", "interrupted", "lost", "queued"])
def test_the_scheduler_is_believed_where_the_record_has_no_last_word(directory, word):
    assert state_now(directory, State.RUNNING, ELSEWHERE, State(word)) == word
    assert state_now(directory, State.QUEUED, None, State(word)) == word


@pytest.mark.parametrize("state", ["done", "failed", "out_of_memory"])
def test_a_record_that_says_how_the_run_ended_is_believed(directory, state):
    for report in (State.RUNNING, State.FAILED, State.DONE, State.TIMEOUT, FORGOTTEN, None):
        assert state_now(directory, State(state), None, report) == state


def test_the_scheduler_knows_why_a_run_was_interrupted(directory):
    for report in (State.TIMEOUT, State.PREEMPTED, State.QUEUED):
        assert state_now(directory, State.INTERRUPTED, None, report) is report
    assert state_now(directory, State.INTERRUPTED, None, State.FAILED) is State.INTERRUPTED


def test_a_job_that_is_done_without_a_record_of_it_is_lost_but_not_at_once(directory):
    heartbeat = directory.attempt(1) / "heartbeat"
    heartbeat.touch()
    assert state_now(directory, State.RUNNING, ELSEWHERE, State.DONE) == "running"
    os.utime(heartbeat, times=(time.time() - 90, time.time() - 90))
    assert state_now(directory, State.RUNNING, ELSEWHERE, State.DONE) == "lost"


def test_of_a_forgotten_job_the_heartbeat_tells(directory):
    assert state_now(directory, State.QUEUED, None, FORGOTTEN) == "lost"
    assert state_now(directory, State.QUEUED, None) == "queued"
    heartbeat = directory.attempt(1) / "heartbeat"
    assert state_now(directory, State.RUNNING, ELSEWHERE, FORGOTTEN) == "lost"
    heartbeat.touch()
    assert state_now(directory, State.RUNNING, ELSEWHERE, FORGOTTEN) == "running"


def test_a_process_knows_the_task_as_which_it_runs(monkeypatch):
    for variable in ("SLURM_ARRAY_JOB_ID", "SLURM_CLUSTER_NAME"):
        monkeypatch.delenv(variable, raising=False)
    assert this_job(Path("/here")) is None
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    job = JobRecord(launcher="slurm", id="12_3", workspace="/here")
    assert this_job(Path("/here")) == job
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "alpha")
    assert this_job(Path("/here")) == replace(job, cluster="alpha")


def test_a_task_trains_on_the_device_that_was_named():
    script = slurm.script_of_runs("one", "runs.txt", ["sbatch"], options_of("slurm", {}, {}), "cuda:1")
    assert '-m qexp execute "$run" --device cuda:1 ' in script


@pytest.mark.parametrize(
    "file",
    ["checkpoints/last.safetensors", "folds/007/checkpoints/best.safetensors", "folds/.stacks/000/a/stack.safetensors"],
)
def test_what_a_run_or_its_folds_have_kept_counts_as_progress_that_is_worth_another_start(tmp_path, file):
    script = slurm.script_of_runs("one", "runs.txt", ["sbatch"], options_of("slurm", {}, {}), "auto")
    function = script[script.index("checkpoint() {") : script.index("before=$(checkpoint)")]

    def kept():
        command = ["bash", "-c", f"{function}run=$1; checkpoint", "bash", tmp_path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.stdout

    before = kept()
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).touch()
    assert kept() != before == ""
