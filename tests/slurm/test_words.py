"""What Slurm says, as `record.py` has recorded it: every end has its state, with accounting and
without.
"""

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qexp.base.workspace import Workspace
from qexp.errors import QexpError, SchedulerError
from qexp.jobs import launchers
from qexp.jobs.launchers import options_of, this_job
from qexp.jobs.scheduler import Array, Submission
from qexp.jobs.slurm import ACCOUNTED, LISTED, STATES, Slurm
from qexp.jobs.states import FORGOTTEN, state_now
from qexp.store.directory import RunDirectory
from qexp.store.process import this_process
from qexp.store.record import AttemptRecord, JobRecord, State
from tests.slurm.record import RECORDED

MEANT = {
    "waiting": "queued",
    "requeued": "queued",
    "held": "queued",
    "running": "running",
    "suspended": "running",
    "completed": "done",
    "failed": "failed",
    "timeout": "timeout",
    "deadline": "timeout",
    "stopped_before_the_limit": "timeout",
    "out_of_memory": "out_of_memory",
    "killed": "out_of_memory",
    "preempted": "preempted",
    "node_fail": "lost",
    "cancelled": "interrupted",
    "cancelled_while_waiting": "interrupted",
    "cancelled_before_their_turn": "interrupted",
    "prolog_failed": "interrupted",  # Slurm calls that CANCELLED
}
"""Recording → the state of its jobs."""

WRITTEN = {
    **dict.fromkeys(("BOOT_FAIL", "REVOKED", "LAUNCH_FAILED", "RECONFIG_FAIL"), "lost"),
    **dict.fromkeys(("RESIZING", "COMPLETING"), "running"),
    "CONFIGURING": "queued", "CANCELLED+": "interrupted", "A_WORD_OF_TOMORROW": None,
}  # fmt: skip
"""Word of sacct → state, by its manual: these cannot be had on a cluster of one node, or only for a
moment.
"""

UNKNOWN = ("", "slurm_load_jobs error: Invalid job id specified", 1)

OUT_OF_REACH = (
    "",
    "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
    1,
)

NO_ACCOUNTING = ("", "Slurm accounting storage is disabled", 1)


def read_recording(name: str) -> tuple[list[str], dict[str, str]]:
    """Jobs, all of which had come to the same end, and what Slurm said of them: program → what it
    printed.
    """
    head, *answers = (RECORDED / f"{name}.txt").read_text().split("$ ")
    outputs = {
        command.split()[0]: output
        for command, _, output in (text.partition("\n") for text in answers)
    }
    return head.splitlines()[1].removeprefix("# ").split(), outputs


def test_every_recording_has_a_meaning_and_is_of_what_is_asked_today():
    assert {path.stem for path in RECORDED.iterdir()} == {*MEANT}
    asked = [" ".join(command) for command in (LISTED, ACCOUNTED)]
    for path in RECORDED.iterdir():
        assert [
            line[2:] for line in path.read_text().splitlines() if line.startswith("$ ")
        ] == asked


@pytest.mark.parametrize("name", MEANT)
def test_every_end_has_its_state_from_controller_and_accounting_or_from_either(says, name):
    jobs, answers = read_recording(name)
    meant = dict.fromkeys(jobs, MEANT[name])

    def states(squeue: Sequence[Any], sacct: Sequence[Any]) -> dict[str, State]:
        says("squeue", *squeue)
        says("sacct", *sacct)
        return Slurm().states(jobs)

    assert states([answers["squeue"]], [answers["sacct"]]) == meant
    if name != "cancelled_before_their_turn":
        assert states([answers["squeue"]], NO_ACCOUNTING) == meant
        assert states(OUT_OF_REACH, [answers["sacct"]]) == meant
    if not State(MEANT[name]).at_work:  # also when the controller has forgotten it
        assert states(UNKNOWN, [answers["sacct"]]) == meant


def test_what_the_accounting_says_late_is_not_believed(says):
    says("squeue", "7_0|COMPLETED|0|\n7_1|RUNNING|0|\n7_3|PENDING|0|\n")
    says("sacct", "7_0|RUNNING|0:0\n7_3|NODE_FAIL|0:0\n7_[1-2,4%1]|PENDING|0:0\n8_0|RUNNING|0:0\n")
    # 7_2 and 7_4 are not to begin any more, of 8_0 nobody knows, and 7_3 was requeued.
    said = Slurm().states([*(f"7_{task}" for task in range(5)), "8_0"])
    assert said == {
        "7_0": "done",
        "7_1": "running",
        "7_2": "interrupted",
        "7_3": "queued",
        "7_4": "interrupted",
    }


def test_a_task_that_the_accounting_left_out_was_cancelled_before_it_began(says):
    says("squeue", *UNKNOWN)
    says("sacct", "7_0|COMPLETED|0:0\n")
    assert Slurm().states(["7_0", "7_1", "9_0"]) == {"7_0": "done", "7_1": "interrupted"}


def test_the_words_that_could_not_be_recorded_have_their_states(says):
    says("squeue", *OUT_OF_REACH)
    says(
        "sacct",
        "".join(f"8_{at}|{word}|0:0\n" for at, word in enumerate(WRITTEN))
        + "8_[12-15:3,20%2]|PENDING|0:0\n",
    )
    meant = {f"8_{at}": state for at, state in enumerate(WRITTEN.values()) if state is not None}
    waiting = dict.fromkeys(("8_12", "8_15", "8_20"), "queued")
    assert Slurm().states([f"8_{task}" for task in range(30)]) == meant | waiting
    known = {
        "queued",
        "running",
        "done",
        "failed",
        "timeout",
        "out_of_memory",
        "preempted",
        "interrupted",
        "lost",
    }
    assert {*STATES.values()} == known


def test_without_an_answer_there_is_an_error(says):
    says("squeue", *OUT_OF_REACH)
    says("sacct", *NO_ACCOUNTING)
    with pytest.raises(SchedulerError, match="Unable to contact"):
        Slurm().states(["7_0"])


def test_options_of_the_command_line_win_and_all_forms_of_a_time_are_taken():
    table = {"time": 30, "memory": "2G", "requeue": True, "setup": ["a"]}
    words = {"memory": "2G", "requeue": "true", "signal": "60", "setup": ["a"]}
    for text in ("30", "30:00", "1:30:00", "2-12", "2-12:30", "2-12:30:00", "UNLIMITED"):
        assert options_of("slurm", {"slurm": table}, {"time": text}) == {**words, "time": text}
    assert options_of("slurm", {"slurm": table}, {"setup": ["b", "c=d"]})["setup"] == ["b", "c=d"]


OF_SLURM = [
    ({"memori": "4G"}, "no option 'memori'; did you mean 'memory'?"),
    ({"time": "soon"}, "options: time cannot be 'soon'; give minutes"),
    ({"memory": "4 GB"}, "memory cannot be '4 GB'; give the memory per run, such as 4G"),
    ({"requeue": "yes"}, "give true or false"),
    *(({"signal": text}, "from 1 to 65535") for text in ("70000", "0")),
    *(
        ({key: text}, f"{key} cannot be {text!r}")
        for key, text in {
            "time": "1:2:3:4",
            "cpus": "0",
            "partition": "a;rm -r b",
            "account": "$(id)",
            "setup": "a\nb",
            "gres": "gpu:1\n--wrap=id",
            "qos": "",
        }.items()
    ),
    (
        {"options.job-name": "x"},
        "options.job-name cannot be passed on to sbatch: qexp sets it itself, to the name",
    ),
    (
        {"options.outp": "x"},
        "options.outp cannot be passed on to sbatch: qexp sets it itself, to slurm.txt",
    ),
    (
        {"options.mem": "4G"},
        "cannot be passed on to sbatch: write it as memory = ... in the table around it",
    ),
    ({"options.wrap": "id"}, "cannot be passed on to sbatch: write it as wrap = ..."),
    (
        {"options.--nice": "4"},
        "options.--nice: give the long name of an option of sbatch, without hyphens",
    ),
    ({"options.J": "4"}, "options.J: give the long name of an option of sbatch"),
    (
        {"options.comment": "a\nb"},
        "options.comment cannot be 'a\\nb'; give a text or a number in one line",
    ),
    ({"options.nice": [1]}, "options.nice cannot be [1]; give a text or a number"),
    ({"options": "nice"}, "options must be a table"),
]

OF_OTHERS = [
    (
        "gridengine",
        {"time": "60"},
        "time cannot be '60'; give hours, minutes and seconds, such as \"4:00:00\"",
    ),
    (
        "gridengine",
        {"pe": "smp"},
        'a parallel environment and the number of slots, such as "smp 4"',
    ),
    (
        "gridengine",
        {"options.N": "x"},
        "options.N cannot be passed on to qsub: qexp sets it itself, to the name of the",
    ),
    (
        "gridengine",
        {"options.P": "x"},
        "options.P cannot be passed on to qsub: write it as project = ...",
    ),
    ("gridengine", {"options.-m": "a"}, "give an option of qsub, without hyphens before it"),
    ("htcondor", {"time": "60"}, "time cannot be '60'; give hours, minutes and seconds"),
    (
        "htcondor",
        {"options.log": "x"},
        "options.log cannot be passed on to submit descriptions: qexp sets it itself",
    ),
    ("htcondor", {"options.request_cpus": "2"}, "write it as cpus = ..."),
]


@pytest.mark.parametrize(
    ("launcher", "given", "message"), [*(("slurm", *wrong) for wrong in OF_SLURM), *OF_OTHERS]
)
def test_a_wrong_option_and_one_that_qexp_sets_itself_are_errors_that_say_what_would_work(
    launcher, given, message
):
    with pytest.raises(QexpError) as caught:
        options_of(launcher, {}, given)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


PROFILES = {
    "time": 30,
    "setup": ["module load a"],
    "options": {"mail-user": "a@b.org", "exclusive": True, "nice": 5},
    "big": {"time": "1-0", "options": {"exclusive": False, "nodelist": "n[1-3]"}},
    "small": {"memory": "1G"},
}


def test_a_profile_inherits_and_changes_the_table_around_it():
    # sbatch itself refuses the beginning
    assert options_of("slurm", {}, {"options.jo": "x"})["options"] == {"jo": "x"}
    big = options_of("slurm", {"slurm": PROFILES}, {"options.nice": "7"}, "big")
    assert (big["time"], big["setup"]) == ("1-0", ["module load a"])
    assert big["options"] == {
        "mail-user": "a@b.org",
        "exclusive": False,
        "nice": "7",
        "nodelist": "n[1-3]",
    }
    assert options_of("slurm", {"slurm": PROFILES}, {}, "small")["time"] == "30"
    assert "memory" not in options_of("slurm", {"slurm": PROFILES}, {})
    with pytest.raises(QexpError, match=r"no table \[slurm.bigg\]; did you mean 'big'"):
        options_of("slurm", {"slurm": PROFILES}, {}, "bigg")
    with pytest.raises(QexpError, match=r"at \[slurm.big\]: no option 'tim'"):
        options_of("slurm", {"slurm": {"big": {"tim": 3}}}, {})


def test_a_profile_implies_its_launcher(specs, says, qexp):
    says("sbatch", "777\n")
    says("scontrol", "MaxArraySize = 100\nClusterName = c\n")
    (specs.root / "qexp.toml").write_text(
        "[slurm.big]\noptions = {mail-user = 'a@b.org', exclusive = true}\n"
    )
    code, stdout, stderr = qexp("run", "sound", "--profile", "big")
    assert (code, stdout) == (0, "sound_0  777_0\n"), stderr
    launch = launchers.find_launch("last", Workspace(specs.root))
    settings = launch.record().settings
    assert (launch.record().launcher, settings["profile"]) == ("slurm", "big")
    assert settings["options"]["options"] == {"mail-user": "a@b.org", "exclusive": True}
    assert "--mail-user=a@b.org --exclusive" in (launch.folder / "array_1.sh").read_text()
    stderr = qexp("run", "sound", "--seed", "1", "--profile", "bug").failed()
    tables = " or ".join(
        f"[{name}.bug]" for name, scheduler in launchers.LAUNCHERS.items() if scheduler is not None
    )
    assert stderr == f"error: --profile bug: qexp.toml has no table {tables}; did you mean 'big'?\n"


def test_all_wrong_options_are_reported_together():
    with pytest.raises(QexpError) as caught:
        options_of(
            "slurm", {"slurm": {"tyme": 3, "setup": ["a\nb"], "cpus": [1, 2]}}, {"qos": "a b"}
        )
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


@pytest.mark.parametrize(
    "word", ["failed", "timeout", "out_of_memory", "preempted", "interrupted", "lost", "queued"]
)
def test_the_scheduler_is_believed_where_the_record_has_no_last_word(directory, word):
    assert state_now(directory, State.RUNNING, ELSEWHERE, State(word)) == word
    assert state_now(directory, State.QUEUED, None, State(word)) == word


@pytest.mark.parametrize("state", ["done", "failed", "out_of_memory"])
def test_a_record_that_says_how_the_run_ended_is_believed_but_the_scheduler_knows_why_it_was_interrupted(
    directory, state
):
    for report in (State.RUNNING, State.FAILED, State.DONE, State.TIMEOUT, FORGOTTEN, None):
        assert state_now(directory, State(state), None, report) == state
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


@pytest.mark.parametrize(
    ("launcher", "array", "task", "cluster", "identifier"),
    [
        ("slurm", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_CLUSTER_NAME", "12_3"),
        ("gridengine", "JOB_ID", "SGE_TASK_ID", "QEXP_GRIDENGINE_CLUSTER", "12.3"),
        ("htcondor", "QEXP_HTCONDOR_ARRAY", "QEXP_HTCONDOR_TASK", "QEXP_HTCONDOR_CLUSTER", "12.3"),
    ],
)
def test_a_process_knows_the_task_as_which_it_runs(
    monkeypatch, launcher, array, task, cluster, identifier
):
    for variable in (array, cluster):
        monkeypatch.delenv(variable, raising=False)
    assert this_job(Path("/here")) is None
    monkeypatch.setenv(array, "12")
    monkeypatch.setenv(task, "undefined")  # as Grid Engine says of a job that is no array
    assert this_job(Path("/here")) is None
    monkeypatch.setenv(task, "3")
    job = JobRecord(launcher=launcher, id=identifier, workspace="/here")
    assert this_job(Path("/here")) == job
    monkeypatch.setenv(cluster, "alpha")
    assert this_job(Path("/here")) == replace(job, cluster="alpha")


@pytest.mark.parametrize(
    "file",
    [
        "checkpoints/last.safetensors",
        "folds/007/checkpoints/best.safetensors",
        "folds/.stacks/000/a/stack.safetensors",
    ],
)
def test_what_a_run_or_its_folds_have_kept_counts_as_progress_that_is_worth_another_start(
    tmp_path, file
):
    array = Array(
        Submission(tmp_path, "one", options_of("slurm", {}, {})), 1, None, True, [str(tmp_path)]
    )
    script = Slurm().script(array, ["sbatch"], "cuda:1")
    assert '-m qexp execute "${runs[@]}" --device cuda:1 ' in script  # the device that was named
    function = script[script.index("checkpoint() {") : script.index("before=$(checkpoint)")]

    def kept():
        command = ["bash", "-c", f'{function}runs=("$1"); checkpoint', "bash", tmp_path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.stdout

    before = kept()
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).touch()
    assert kept() != before == ""
