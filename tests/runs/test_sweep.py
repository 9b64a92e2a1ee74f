"""Sweeps in pools of real processes."""

import json
import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

import qexp as package
from qexp.base.workspace import Workspace
from qexp.errors import NotFoundError
from qexp.jobs import launchers
from qexp.jobs.launchers import Launch
from qexp.runs import launch
from qexp.store.directory import RunDirectory
from qexp.web.workspace_pages import compared
from tests.conftest import call, shared_folder
from tests.runs.conftest import ENDLESS, SMALL, halt, has_been_told_to_end, until

BRIEF = ("--set", "epochs=3", *SMALL, "--device", "cpu")


def states():
    return {run["name"]: run["state"] for run in package.runs()}


def attempts(path):
    return sorted(folder.name for folder in (path / "attempts").iterdir())


def in_state(state, count):
    return lambda: list(states().values()).count(state) >= count


@pytest.mark.heavy
def test_a_run_that_fails_stops_no_other_and_only_it_is_run_again(workspace, qexp):
    sweep = ("run", "mogi_quick", "--grid", "learning_rate=1e30,1e-3", *BRIEF, "-j", "1")
    qexp(*sweep).failed(4)
    assert sorted(states().values()) == ["done", "failed"]
    failed = [name for name, state in states().items() if state == "failed"]

    stderr = qexp(*sweep).failed(4)
    assert all(text in stderr for text in ("1 done already", "left alone, failed", "--only-failed"))
    assert qexp(*sweep, "--only-failed").code == 1, "it is the only one of this launch"
    for run in package.runs():
        expected = ["01", "02"] if run["name"] in failed else ["01"]
        assert attempts(package.open_run(run["name"]).path) == expected


def test_a_dry_run_says_what_would_run_and_writes_nothing(workspace, qexp):
    stdout = qexp(
        "run", "mogi_quick", "mogi_cnn", "--seeds", "0:2", "--grid", "epochs=2,3", "--dry-run"
    ).done()
    lines = stdout.splitlines()
    assert len(lines) == 8
    assert all("epochs=" in line for line in lines)
    assert not (workspace / "runs").exists()


@pytest.mark.heavy
def test_ctrl_c_starts_nothing_new_lets_the_running_ones_write_a_checkpoint_and_resume_goes_on(
    workspace, start
):
    pool = start("run", "mogi_quick", "--seeds", "0:2", *ENDLESS, "-j", "1", "--stack", "1")
    until(in_state("running", 1), "that one is running")
    pool.send(signal.SIGINT)
    code, _, stderr = pool.end()
    assert code == 130, stderr
    assert "1 not started" in stderr
    assert "the same command with --resume goes on" in stderr
    assert sorted(states().values()) == ["created", "interrupted"]

    again = start("run", "mogi_quick", "--seeds", "0:2", *ENDLESS, "-j", "2", "--resume")
    until(in_state("running", 2), "that both are running")
    again.send(signal.SIGTERM)
    assert again.end()[0] == 130
    assert set(states().values()) == {"interrupted"}
    assert sorted(len(attempts(package.open_run(name).path)) for name in states()) == [1, 2]


@pytest.mark.heavy
def test_a_second_ctrl_c_kills(workspace, start):
    pool = start("run", "mogi_quick", "--seeds", "0:2", *ENDLESS, "-j", "2")
    until(in_state("running", 2), "that so many are running")
    pids = [
        run["attempts"][-1]["process"]["pid"]
        for run in (package.open_run(name).record for name in states())
    ]
    try:
        for pid in pids:
            halt(pid)  # so that they cannot follow the first one
        pool.send(signal.SIGINT)
        until(lambda: all(map(has_been_told_to_end, pids)), "that the pool passes the first one on")
        pool.send(signal.SIGINT)
        assert pool.end()[0] == 130
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert set(states().values()) == {"lost"}


@shared_folder
def launched(root):
    """A workspace in which a launch of two runs at once has ended, on a machine that says it has
    two GPUs.
    """
    assert call("init", root).code == 0
    with pytest.MonkeyPatch.context() as patch:
        # There need not be any: what counts is which one a run is told to see.
        patch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
        brief = ("--set", "epochs=3", *SMALL)
        call(
            "run", "mogi_quick", "--seeds", "0:2", *brief, "-j", "1000", "--workspace", root
        ).done()


@pytest.mark.heavy
def test_a_launch_is_written_down_and_its_runs_know_it_and_share_the_cores_and_the_gpus(launched):
    launch = launchers.find_launch("last", Workspace(launched))
    runs = {
        run["name"]: package.open_run(run["name"], workspace=launched)
        for run in package.runs(workspace=launched)
    }
    assert launch.record().runs == tuple(runs)
    assert {run.record["launch"] for run in runs.values()} == {launch.id}
    assert launchers.find_launch(launch.id[:9], Workspace(launched)).id == launch.id
    with pytest.raises(NotFoundError, match="no launch"):
        launchers.find_launch("1999", Workspace(launched))
    environments = [
        json.loads((run.path / "environment.json").read_text()) for run in runs.values()
    ]
    assert [environment["threads"] for environment in environments] == [1, 1]
    assert sorted(
        environment["variables"]["CUDA_VISIBLE_DEVICES"] for environment in environments
    ) == ["4", "7"]


@pytest.mark.heavy
def test_a_launch_holds_what_it_found_done_so_that_every_way_to_compare_agrees(workspace, qexp):
    qexp("run", "mogi_quick", "--seed", "1", *BRIEF).done()
    qexp("run", "mogi_quick", "--seeds", "0:2", "--grid", "learning_rate=1e-3,3e-3", *BRIEF).done()
    record = launchers.find_launch("last", Workspace(workspace)).record()
    assert (len(record.runs), len(record.done_before), len(record.asked)) == (3, 1, 4)
    documents = [
        json.loads(qexp("compare", *which, "--json").stdout)
        for which in (("mogi_quick_*",), ("--launch", "last"), record.asked)
    ]
    pairs = [document["pairs"] for document in documents]
    assert pairs[0] == pairs[1] == pairs[2]
    assert pairs[0][0]["seeds"] == [0, 1]
    assert [group["missing"] for group in documents[1]["groups"]] == [[], []]
    page = compared(Workspace(workspace), "", record.asked)
    assert [len(metric.values[0]) for metric in page["paired"].metrics][:1] == [2]
    changes = [re.split("  +", line)[1] for line in qexp("ls").stdout.splitlines()[1:]]
    assert len(set(changes)) == 2, "equal specs read alike, however they were asked for"


@pytest.mark.heavy
def test_a_detached_launch_goes_on_by_itself(workspace, start):
    code, stdout, stderr = start("run", "mogi_quick", "--seeds", "0:2", *BRIEF, "--detach").end()
    assert code == 0, stderr
    assert stdout.strip() == launchers.find_launch("last", Workspace(workspace)).id
    until(in_state("done", 2), "that so many are done")


@pytest.mark.heavy
def test_a_detached_launch_is_stopped_by_its_id_and_what_waits_in_it_does_not_start(
    workspace, qexp
):
    stdout = qexp(
        "run", "mogi_quick", "--seeds", "0:3", *ENDLESS, "--stack", "1", "--detach"
    ).done()
    until(in_state("running", 1), "that the first runs")
    second = next(name for name, state in states().items() if state == "queued")
    qexp("stop", second).done()
    assert sorted(states().values()) == ["interrupted", "queued", "running"]
    qexp("stop", "--launch", stdout.strip()).done()
    assert sorted(states().values()) == ["created", "interrupted", "interrupted"]
    assert not attempts(package.open_run(second).path)
    assert launchers.find_launch("last", Workspace(workspace)).pool_works() is False


@pytest.mark.heavy
def test_two_sweeps_of_the_same_runs_at_once_run_each_of_them_once(workspace, start):
    sweep = ("run", "mogi_quick", "--seeds", "0:2", *BRIEF)
    processes = [start(*sweep) for _ in range(2)]
    assert {process.end()[0] for process in processes} <= {0, 4}
    assert set(states().values()) == {"done"}
    assert all(attempts(package.open_run(name).path) == ["01"] for name in states())


class Listening(launchers.Watcher):
    def __init__(self):
        self.troubles = {}

    def not_started(self, run, why):
        self.troubles[run] = why


def opened(folder: Path) -> Launch:
    """A launch of two runs at a time."""
    opened = Launch(folder / "launch")
    opened.folder.mkdir()
    settings = {"jobs": 2, "device": "cpu"}
    record = {"id": "launch", "launcher": "local", "runs": [], "settings": settings}
    opened.record_file.write_text(json.dumps(record))
    return opened


def test_what_has_just_ended_keeps_no_other_from_being_killed(tmp_path):
    """A process may end, and be waited for, between the last look and the second Ctrl-C."""
    runs = [RunDirectory(tmp_path / name) for name in ("ended", "endless")]
    pool = launch.Pool(opened(tmp_path), runs)
    ended, endless = (
        subprocess.Popen(["sleep", time], start_new_session=True) for time in ("0", "600")
    )
    ended.wait()
    pool._running = dict(zip(runs, (ended, endless), strict=True))
    pool._pass_on(signal.SIGTERM)
    pool._pass_on(signal.SIGKILL)
    assert endless.wait(60) < 0


@pytest.mark.parametrize("blocked", ["turns", "output"])
def test_what_a_pool_cannot_start_is_reported_and_the_pool_comes_to_its_end(tmp_path, blocked):
    """Whatever the disk refuses; here a file lies where a folder should be."""
    (opened(tmp_path).folder / blocked).touch()
    runs = [RunDirectory(tmp_path / name) for name in ("a", "b", "c")]
    seen = Listening()
    assert launch.Pool(Launch(tmp_path / "launch"), runs).run(seen) == {}
    assert sorted(seen.troubles) == ["a", "b", "c"]
    assert all(f"launch/{blocked}" in why for why in seen.troubles.values())


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--seeds", "3:1"], "--seeds 3:1: the range 3:1 is empty"),
        (["--seeds", "0:2", "--seed", "1"], "exclude each other"),
        (["--seeds", "0:2", "-j", "0"], "--jobs 0: at least one"),
        (["--seeds", "0:2", "--launcher", "slrm"], "no such launcher; did you mean 'slurm'?"),
        (
            ["--seeds", "0:2", "--option", "time=1"],
            "local has no option 'time'; known: python, wrap.",
        ),
        (["--option", "time=1"], "local has no option 'time'; known: python, wrap."),
        (
            ["--launcher", "slurm", "--device", "gpu"],
            "--device gpu: no such device; use auto, cpu or cuda",
        ),
        (["--seeds", "0:2", "--name", "x"], "--name is for a single run"),
        (["--grid", "learning_rat=1,2"], "did you mean 'learning_rate'?"),
        (["--seeds", "0:10001"], "10,001 runs would start; confirm with --yes"),
        (["-j", "4"], "-j is for several runs"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_and_nothing_is_written(
    workspace, qexp, options, complaint
):
    assert complaint in qexp("run", "mogi_quick", *options).failed()
    assert not (workspace / "runs").exists()


@pytest.mark.slow
def test_a_pool_that_was_killed_before_its_runs_began_is_done_again_by_whatever_option(
    workspace, qexp
):
    """The state in which each run and the launch are then: prepared, queued, and the pool's process
    gone.
    """
    from qexp.runs.launch import check_order, open_launch

    order = package.Order("mogi_quick", seeds=range(2))
    launch, _ = open_launch(check_order(order, Workspace(workspace)), Workspace(workspace))
    gone = {
        "host": os.uname().nodename,
        "boot_id": "another",
        "pid_namespace": "",
        "pid": 1,
        "start": "0",
    }
    launch.pool_file.write_text(json.dumps(gone))
    assert set(states().values()) == {"created"}
    for option in ("--only-failed", "--resume"):
        outcome = qexp("run", "mogi_quick", "--seeds", "0:3", option, "--dry-run")
        taken = [line.split()[0] for line in outcome.done().splitlines()]
        # A run that nobody asked for before is not one that failed.
        assert taken == [
            "mogi_quick_0",
            "mogi_quick_1",
            *(["mogi_quick_2"] if option == "--resume" else []),
        ]
        assert "left alone" not in outcome.stderr
