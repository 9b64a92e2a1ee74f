"""Runs on a real cluster with accounting, whose controller forgets them seconds after their end."""

import json
from pathlib import Path

import pytest

from qexp.errors import SchedulerError
from qexp.jobs.slurm import ACCOUNTED, Slurm
from tests.conftest import call
from tests.runs.conftest import has_lines
from tests.slurm.cluster import until
from tests.slurm.conftest import slurm as administrator
from tests.slurm.test_arrays import submit

SMALL = ("--set", "sizes=[96,32,32]", "--set", "batch_size=16")

ENDLESS = (*SMALL, "--set", "epochs=1000000")


def start(*options: str) -> dict[str, str]:
    """Run → job, of a launch."""
    stdout = call("run", "mogi_quick", *options, "--launcher", "slurm").done()
    return dict(line.split() for line in stdout.splitlines())


def listed() -> dict[str, str]:
    """Run → state, as `qexp ls` says."""
    return {run["name"]: run["state"] for run in json.loads(call("ls", "--json").done())}


def forgotten() -> bool:
    return administrator("squeue", "--noheader", "--states=all") == ""


def accounted(*jobs: str) -> list[str]:
    return administrator(*ACCOUNTED, f"--jobs={','.join(jobs)}").splitlines()


def test_how_runs_ended_is_known_after_the_controller_has_forgotten_them(
    accounting_cluster, workspace
):
    jobs = start("--seed", "9", *SMALL, "--set", "epochs=2") | start(
        "--seeds", "0:4", "-j", "3", *ENDLESS
    )
    done, warned, cancelled, preempted, waiting = jobs
    for name in (warned, cancelled, preempted):
        until(has_lines(workspace / "runs" / name / "metrics.jsonl", 1), "the first epoch")
    at_work = dict.fromkeys((warned, cancelled, preempted), "running")
    assert listed().items() >= (at_work | {waiting: "queued"}).items()

    # By hand, so that nothing of it is remembered by us; and the accounting still believes that it
    # waits.
    until(
        lambda: any("PENDING" in line for line in accounted(jobs[waiting])),
        "word of a task that waits",
    )
    administrator("scancel", jobs[waiting])
    assert listed().items() >= (at_work | {waiting: "interrupted"}).items()

    administrator("scancel", "--batch", "--signal=USR1", jobs[warned])
    administrator("scancel", jobs[cancelled])
    until(
        lambda: len(administrator("squeue", "--noheader").splitlines()) == 1,
        "the end of all but one",
    )
    urgent = administrator("sbatch", "--parsable", "--partition=urgent", "--exclusive", "--output=/dev/null",
                           "--wrap=exit 0")  # fmt: skip
    until(forgotten, "that the controller forgets")
    until(lambda: accounted(urgent) == [f"{urgent}|COMPLETED|0:0"], "word of the last job")
    ends = {
        done: "done", warned: "timeout", cancelled: "interrupted", preempted: "preempted",
        waiting: "interrupted",
    }  # fmt: skip
    assert listed() == ends
    assert Slurm().states(jobs.values()) == {jobs[name]: state for name, state in ends.items()}


def test_a_run_whose_node_fails_is_lost(accounting_cluster, tmp_path):
    (job,) = submit(tmp_path, 1, "sleep 600")
    until(lambda: Slurm().states([job]) == {job: "running"}, "a job that runs")
    (node,) = administrator("sinfo", "--noheader", "--format=%n").split()
    administrator("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    until(lambda: Slurm().states([job]) == {job: "lost"}, "the end")
    until(
        lambda: "idle" in administrator("sinfo", "--noheader", "--format=%T"),
        "a node that takes jobs",
    )


def elsewhere(configuration: Path, folder: Path, *lines: str) -> str:
    """A configuration that says of some things that they are elsewhere."""
    keys = tuple(line.partition("=")[0] for line in lines)
    kept = [line for line in configuration.read_text().splitlines() if not line.startswith(keys)]
    path = folder / "slurm.conf"
    path.write_text("\n".join([*lines, *kept, ""]))
    return str(path)


def test_either_the_controller_or_the_accounting_is_enough(
    accounting_cluster, tmp_path, monkeypatch
):
    first, second = submit(tmp_path, 2, '[ "$run" = "${run%0}" ] || exit 0; sleep 600')
    both = {first: "done", second: "running"}
    until(lambda: Slurm().states([first, second]) == both, "the first job's end")
    until(
        lambda: {f"{first}|COMPLETED|0:0", f"{second}|RUNNING|0:0"} == {*accounted(first, second)},
        "word of both",
    )

    no_accounting = ("AccountingStoragePort=1",)
    no_controller = ("SlurmctldPort=1", "MessageTimeout=1")
    with monkeypatch.context() as patch:
        patch.setenv("SLURM_CONF", elsewhere(accounting_cluster, tmp_path, *no_accounting))
        assert Slurm().states([second]) == {second: "running"}
        patch.setenv("SLURM_CONF", elsewhere(accounting_cluster, tmp_path, *no_controller))
        assert Slurm().states([first, second]) == both
        patch.setenv(
            "SLURM_CONF", elsewhere(accounting_cluster, tmp_path, *no_controller, *no_accounting)
        )
        with pytest.raises(SchedulerError, match="squeue refused"):
            Slurm().states([first, second])
    Slurm().cancel([second])


def test_a_job_that_the_controller_has_forgotten_is_left_alone_when_others_are_cancelled(
    accounting_cluster, tmp_path
):
    (old,) = submit(tmp_path / "old", 1, "exit 0")
    until(forgotten, "that the controller forgets")
    new, waiting = submit(tmp_path / "new", 2, "sleep 600", at_most=1)
    until(lambda: Slurm().states([new]) == {new: "running"}, "a job that runs")
    assert Slurm().cancel([old, new, waiting]) == {waiting: "interrupted"}
    until(lambda: "running" not in Slurm().states([old, new]).values(), "the end")
    assert Slurm().states([old, new]) == {old: "done", new: "interrupted"}
