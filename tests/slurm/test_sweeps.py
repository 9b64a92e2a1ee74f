"""A sweep handed to a real cluster from the command line, and what is done with what did not end
well.
"""

import json
from pathlib import Path

from qexp.api.handles import open_run
from qexp.api.listing import runs
from qexp.base.workspace import Workspace
from qexp.jobs import launchers
from tests.conftest import started
from tests.runs.conftest import has_lines
from tests.slurm.cluster import until

BRIEF = ("--set", "epochs=2", "--set", "sizes=[96,32,32]", "--set", "batch_size=16")
SWEEP = ("run", "mogi_quick", "--grid", "learning_rate=1e-3,1e30", *BRIEF, "--launcher", "slurm")


def attempts() -> dict[str, int]:
    return {run["state"]: len(open_run(run["name"]).record["attempts"]) for run in runs()}


def test_of_a_sweep_on_the_cluster_exactly_what_failed_is_run_again(
    slurm_cluster: Path, workspace: Path, qexp
):
    (workspace / "qexp.toml").write_text("notify = \"sh -c 'cat >> notices'\"")
    stdout = qexp(*SWEEP).done()
    assert qexp("wait", *[line.split()[0] for line in stdout.splitlines()]).code == 4
    assert attempts() == {"done": 1, "failed": 1}
    notices = workspace / "notices"
    until(
        lambda: notices.exists() and "has ended: 1" in notices.read_text(),
        "the last run says that all have ended",
    )

    stderr = qexp(*SWEEP).refused(4)
    assert "1 done already" in stderr
    assert "repeat with --only-failed" in stderr

    stdout = qexp(*SWEEP, "--only-failed").done()
    (again,) = [line.split()[0] for line in stdout.splitlines()]
    assert qexp("wait", again).code == 1
    assert attempts() == {"done": 1, "failed": 2}
    assert launchers.find_launch("last", Workspace(workspace)).record().runs == (again,)


def test_a_sweep_that_slurm_refuses_leaves_runs_that_wait_for_nobody(
    slurm_cluster: Path, workspace: Path, qexp
):
    stderr = qexp(*SWEEP, "--option", "partition=nosuch").failed(6)
    assert "nosuch" in stderr or "partition" in stderr
    assert {run["state"] for run in runs()} == {"created"}


def test_a_wrapped_run_on_the_cluster_is_stopped_in_order_and_ends_as_done(
    slurm_cluster: Path, workspace: Path, qexp
):
    wrap = workspace / "wrap.sh"
    # a signal ends it at once
    wrap.write_text('#!/bin/bash\necho "$@" >> "$(dirname "$0")/called"\n"$@"\n')
    wrap.chmod(0o755)
    (workspace / "qexp.toml").write_text(f'wrap = "{wrap}"\n[slurm]\nmemory = "2G"\n')
    endless = ("run", "mogi_quick", *BRIEF[2:], "--launcher", "slurm")
    name = qexp(*endless, "--set", "epochs=1000000").stdout.split()[0]
    until(has_lines(workspace / "runs" / name / "metrics.jsonl", 1), "the first epoch")
    assert qexp("stop", name) == (0, "", f"{name}: interrupted\n")
    assert (workspace / "runs" / name / "checkpoints/last.safetensors").is_file()
    brief = qexp(*endless, "--set", "epochs=1").stdout.split()[0]
    assert qexp("wait", brief).code == 0
    assert open_run(brief).record["attempts"][0]["wrap"] == str(wrap)
    assert (workspace / "called").read_text().count(" execute ") == 2


def test_runs_are_waited_for_and_stopped_on_the_cluster_also_while_they_are_queued(
    slurm_cluster, workspace, qexp
):
    endless = ("--set", "epochs=1000000", *BRIEF[2:])
    qexp("run", "mogi_quick", "--seeds", "0:2", "-j", "1", "--launcher", "slurm", *endless).done()
    running, queued = qexp("ls", "-q").stdout.split()  # the second waits for its turn
    until(has_lines(workspace / "runs" / running / "metrics.jsonl", 1), "the first epoch")
    code, _, stderr = qexp("wait", running, queued, "--timeout", "0.1")
    assert (code, stderr) == (
        2,
        f"error: after 0.1 s not yet ended: {running} (running), {queued} (queued)\n",
    )
    assert "of slurm, which cannot be killed from here" in qexp("stop", running, "--now").failed()
    for name in (queued, running):
        assert qexp("stop", name) == (0, "", f"{name}: interrupted\n")
    assert qexp("stop", queued) == (0, "", f"{queued} is not running: interrupted\n")
    assert qexp("wait", running, queued) == (
        4,
        "",
        f"{running}: interrupted\n{queued}: interrupted\n",
    )
    assert qexp("logs", running).stdout.endswith("interrupted\n")


def test_a_search_has_its_trials_on_the_cluster_and_goes_on_with_those_that_it_left_there(
    slurm_cluster: Path, workspace: Path, qexp
):
    command = (
        "tune",
        "mogi_quick",
        *BRIEF,
        "--space",
        "learning_rate=log:1e-4:1e-2",
        "--launcher",
        "slurm",
        "-j",
        "2",
    )
    counts = ("--trials", "3", "--final-seeds", "1", "--resume")
    search = started(workspace, *command, *counts)
    until(lambda: any((workspace / "runs/.launches").glob("*/jobs.json")), "a submission of trials")
    search.kill()
    search.communicate()
    document = json.loads(qexp(*command, *counts, "--json").done())
    assert [trial["state"] for trial in document["trials"]] == ["done"] * 3
    launch = launchers.find_launch("last", Workspace(workspace))
    trials = [name for trial in document["trials"] for name in trial["runs"]]
    [[final]] = document["final"].values()
    assert all(len(open_run(name).record["attempts"]) == 1 for name in [*trials, final])
    assert open_run(final).record["job"]["launcher"] == "slurm"
    assert launch.record().runs == (final,)


def test_a_stack_is_one_task_whose_runs_have_ends_of_their_own(
    slurm_cluster: Path, workspace: Path, qexp
):
    slow = (
        "--grid",
        "learning_rate=1e-3,1e30,2e-3,3e-3",
        *BRIEF[2:],
        "--set",
        "epochs=100000",
        "--launcher",
        "slurm",
    )
    stdout = qexp("run", "mogi_quick", *slow, "--stack", "3").done()
    names = [line.split()[0] for line in stdout.splitlines()]
    jobs = {name: open_run(name).record["stack"] for name in names}
    assert [place and place["size"] for place in jobs.values()] == [2, 2, 2, 2]
    (folder,) = (workspace / "runs/.launches").glob("2*")
    assert len((folder / "runs_1.txt").read_text().splitlines()) == 2
    until(has_lines(workspace / "runs" / names[0] / "metrics.jsonl", 1), "the first epoch")
    until(has_lines(workspace / "runs" / names[2] / "metrics.jsonl", 1), "that of the other stack")
    until(lambda: open_run(names[1]).state == "failed", "that the one which diverges has failed")
    assert qexp("stop", names[2]).done() == ""
    assert [open_run(name).state for name in names] == [
        "running",
        "failed",
        "interrupted",
        "running",
    ]
    assert qexp("stop", "--launch", "last").code == 0
    assert [open_run(name).state for name in names] == [
        "interrupted",
        "failed",
        "interrupted",
        "interrupted",
    ]
