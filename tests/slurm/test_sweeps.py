"""A sweep handed to a real cluster from the command line, and what is done with what did not end well."""

from __future__ import annotations

from pathlib import Path

from qexp import open_run, runs
from qexp.runs.state import launches
from qexp.workspace import Workspace

BRIEF = ("--set", "epochs=2", "--set", "sizes=[96,32,32]", "--set", "batch_size=16")
SWEEP = ("run", "mogi_quick", "--grid", "learning_rate=1e-3,1e30", *BRIEF, "--launcher", "slurm")


def attempts() -> dict[str, int]:
    return {run["state"]: len(open_run(run["name"]).record["attempts"]) for run in runs()}


def test_of_a_sweep_on_the_cluster_exactly_what_failed_is_run_again(slurm_cluster: Path, workspace: Path, qexp):
    code, stdout, stderr = qexp(*SWEEP)
    assert code == 0, stderr
    names = [line.split()[0] for line in stdout.splitlines()]
    assert qexp("wait", *names).code == 4
    assert attempts() == {"done": 1, "failed": 1}

    code, stdout, stderr = qexp(*SWEEP)
    assert (code, stdout) == (4, "")
    assert "1 done already" in stderr
    assert "repeat with --only-failed" in stderr

    code, stdout, stderr = qexp(*SWEEP, "--only-failed")
    assert code == 0, stderr
    (again,) = [line.split()[0] for line in stdout.splitlines()]
    assert qexp("wait", again).code == 1
    assert attempts() == {"done": 1, "failed": 2}
    assert launches.find("last", Workspace(workspace)).record()["runs"] == [again]


def test_a_sweep_that_slurm_refuses_leaves_runs_that_wait_for_nobody(slurm_cluster: Path, workspace: Path, qexp):
    code, _, stderr = qexp(*SWEEP, "--option", "partition=nosuch")
    assert code == 6
    assert "nosuch" in stderr or "partition" in stderr
    assert {run["state"] for run in runs()} == {"created"}
