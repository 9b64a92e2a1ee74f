"""Sweeps whose runs one process trains side by side, and what becomes of each of the runs."""

import json
import os
import shutil
import signal

import pytest

import qexp as package
from qexp.runs import execute
from qexp.store.directory import RunDirectory
from tests.conftest import call, shared_folder
from tests.runs.conftest import ENDLESS, SMALL, has_lines, until

BRIEF = ("--set", "epochs=3", *SMALL, "--device", "cpu")
SAME = ("metrics.jsonl", "checkpoints/best.safetensors", "checkpoints/last.safetensors")

pytestmark = pytest.mark.heavy


def run(name):
    return package.open_run(name)


def states():
    return {one["name"]: one["state"] for one in package.runs()}


def kept(folder):
    """What must be the same, byte for byte."""
    return {name: (folder / name).read_bytes() for name in SAME}


def losses(folder):
    return [
        json.loads(line)["train"]["loss"]
        for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]


@shared_folder
def swept(root):
    """A workspace with a sweep of three seeds in a stack, and the first of them trained by
    itself.
    """
    assert call("init", root).code == 0
    call("run", "mogi_quick", "--seeds", "0:3", *BRIEF, "--workspace", root).done()
    call("run", "mogi_quick", "--name", "alone", *BRIEF, "--workspace", root).done()


@pytest.fixture
def sweep(swept, tmp_path, monkeypatch):
    shutil.copytree(swept, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    return [one["name"] for one in package.runs() if one["name"] != "alone"]


def test_runs_in_a_stack_are_ordinary_runs_that_say_where_they_were(sweep, qexp):
    first, second, third = (run(name) for name in sweep)
    assert [one.record["stack"]["place"] for one in (first, second, third)] == [0, 1, 2]
    assert {one.record["stack"]["id"] for one in (first, second, third)} == {
        f"{first.record['launch']}.0"
    }
    environment = json.loads((second.path / "environment.json").read_text())
    assert environment["stack"] == {"size": 3, "place": 1}
    log = (second.path / "attempts/01/log.txt").read_text()
    assert "place 2 in a stack of 3 runs" in log
    assert log.count("epoch 3:") == 1, "of the others nothing"
    assert log.rstrip().endswith("INFO done")
    assert log.count("INFO done") == 1, "nor of their ends"
    assert not list(second.path.glob("attempts/01/lease-*"))
    alone = run("alone")
    assert "stack" not in alone.record
    assert first.results.keys() == alone.results.keys()
    assert losses(first.path) == pytest.approx(losses(alone.path), rel=1e-5)
    assert first.results["test"]["depth"]["mae"] == pytest.approx(
        alone.results["test"]["depth"]["mae"], rel=1e-3
    )
    assert kept(first.path) != kept(second.path)


def test_verify_and_rerun_train_a_stack_of_that_shape_again(sweep, qexp):
    assert qexp("verify", sweep[1]).done().startswith(f"{sweep[1]}: identical, bit for bit")
    qexp("rerun", sweep[2], "--name", "again").done()
    assert kept(run("again").path) == kept(run(sweep[2]).path)
    qexp("rerun", sweep[2], "--name", "another", "--seed", "0").done()
    assert "stack" not in run("another").record


def test_figures_of_many_runs_are_drawn_by_several_processes(sweep, monkeypatch):
    monkeypatch.setenv("QEXP_FIGURES", "yes")
    directories = [RunDirectory(run(name).path) for name in sweep]
    assert execute.drawn_by_others(directories, 2) == set(), "one process draws three runs as fast"
    monkeypatch.setattr(execute, "RUNS_TO_DRAW", 1)
    directories[1].evaluation_file().unlink()
    assert execute.drawn_by_others(directories, 3) == {directories[0], directories[2]}
    pictures = {path.stem for path in (directories[2].path / "results/figures").iterdir()}
    assert {"learning_curve", "test_estimates"} <= pictures


def test_stack_says_how_many_and_one_is_each_by_itself(sweep, qexp):
    qexp("run", "mogi_quick", "--seeds", "10:12", *BRIEF, "--stack", "1").done()
    qexp("run", "mogi_quick", "--seeds", "20:25", *BRIEF, "--stack", "2", "-j", "2").done()
    made = {
        one["seed"]: run(one["name"]).record.get("stack")
        for one in package.runs()
        if one["seed"] >= 10
    }
    assert [made[seed] for seed in (10, 11)] == [None, None]
    assert [(made[seed] or {}).get("size") for seed in range(20, 25)] == [2, 2, 2, 2, None]
    assert "--stack 0: at least one" in qexp(
        "run", "mogi_quick", "--seeds", "0:2", "--stack", "0"
    ).failed(2)


def test_numbers_that_change_no_shape_may_differ_and_others_make_a_stack_of_their_own(
    workspace, qexp
):
    grid = ("--grid", "learning_rate=1e-3,3e-3", "--grid", "batch_size=16,32")
    qexp("run", "mogi_quick", *grid, "--set", "epochs=2", "--set", "sizes=[96,32,32]").done()
    stacks = {}
    for one in package.runs():
        spec, stack = run(one["name"]).spec, run(one["name"]).record["stack"]
        stacks.setdefault(stack["id"], []).append((spec["batch_size"], spec["learning_rate"]))
    assert sorted(sorted(members) for members in stacks.values()) == [
        [(16, 0.001), (16, 0.003)],
        [(32, 0.001), (32, 0.003)],
    ]


def test_one_that_diverges_fails_and_the_others_do_not(workspace, qexp):
    qexp("run", "mogi_quick", "--grid", "learning_rate=1e30,1e-3,3e-3", *BRIEF).failed(4)
    failed = [name for name, state in states().items() if state == "failed"]
    assert len(failed) == 1
    assert sorted(states().values()) == ["done", "done", "failed"]
    assert "the loss is NaN or infinite in epoch 1" in run(failed[0]).record["error"]


def test_killed_and_resumed_all_or_one_has_the_bits_of_an_uninterrupted_stack(
    workspace, start, qexp
):
    slow = ("run", "mogi_quick", "--seeds", "0:3", "--set", "epochs=40", *SMALL, "--device", "cpu")
    qexp(*slow).done()
    whole = {name: kept(run(name).path) for name in states()}
    for folder in (workspace / "runs").iterdir():
        shutil.rmtree(folder) if folder.is_dir() else folder.unlink()

    pool = start(*slow)
    first = workspace / "runs" / next(iter(whole))
    until(has_lines(first / "metrics.jsonl", 10), "the tenth epoch")
    os.kill(RunDirectory(first).record().attempts[-1].process.pid, signal.SIGKILL)
    assert pool.end()[0] == 4
    assert set(states().values()) == {"lost"}
    qexp("rerun", min(whole), "--resume").done()
    assert sorted(states().values()) == ["done", "lost", "lost"]
    qexp(*slow, "--resume").done()
    assert {name: kept(run(name).path) for name in states()} == whole


def test_one_can_be_stopped_and_the_others_go_on(workspace, start, qexp):
    pool = start("run", "mogi_quick", "--seeds", "0:3", *ENDLESS)
    until(lambda: list(states().values()) == ["running"] * 3, "that all run")
    one, *others = states()
    until(has_lines(workspace / "runs" / others[0] / "metrics.jsonl", 1), "an epoch")
    assert "drop --now" in qexp("stop", one, "--now").failed(2)
    qexp("stop", one).done()
    assert states() == {one: "interrupted", **dict.fromkeys(others, "running")}
    before = len(losses(workspace / "runs" / others[0]))
    until(
        has_lines(workspace / "runs" / others[0] / "metrics.jsonl", before + 2),
        "that another goes on",
    )
    pool.send(signal.SIGINT)
    assert pool.end()[0] == 130
    assert set(states().values()) == {"interrupted"}
    assert run(one).record["epochs"]["done"] < run(others[0]).record["epochs"]["done"]


def test_a_wrap_does_not_start_a_stack(sweep, qexp):
    given = ("run", "mogi_quick", "--seeds", "5:7", *BRIEF, "--option", "wrap=env")
    assert "a wrap starts each run by itself" in qexp(*given, "--stack", "2").refused()
    qexp(*given).done()
    assert [
        run(one["name"]).record.get("stack") for one in package.runs() if one["seed"] in (5, 6)
    ] == [None, None]
    folders = [str(run(name).path) for name in sweep]
    assert "a wrap cannot start" in qexp("execute", *folders, "--wrap", "env").refused()
