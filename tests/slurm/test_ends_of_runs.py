"""Runs on a real cluster: how each ends, whatever ends it, is known afterwards."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qexp.base.workspace import Workspace
from qexp.jobs.launchers import LAUNCHERS, options_of
from qexp.jobs.scheduler import Submission
from qexp.jobs.slurm import Slurm
from qexp.jobs.states import state_now
from qexp.kinds import experiments
from qexp.runs import plan, prepare
from qexp.runs.order import read_overrides
from qexp.store.directory import RunDirectory
from qexp.store.record import JobRecord
from tests.conftest import call
from tests.runs.conftest import has_lines
from tests.runs.test_same_bits import contents
from tests.slurm.cluster import until
from tests.slurm.conftest import slurm as administrator

LOSSES = """
import signal, time
import torch
from qexp.extend import Entry

def mean(estimate, truth):
    return (estimate - truth).abs().mean()

def slow(estimate, truth):
    time.sleep(0.05)
    return mean(estimate, truth)

def greedy(estimate, truth):
    greedy.hoard = torch.ones(400_000_000)
    signal.pause()

LOSSES = {
    "slow": Entry(lambda: slow, {}, "Takes its time, but not the processor's.", {"type": "slow"}),
    "greedy": Entry(lambda: greedy, {}, "Takes 1.6 GB.", {"type": "greedy"}),
}
"""

SMALL = ("sizes=[96,32,32]", "batch_size=16")

BRIEF = (*SMALL, "epochs=3")

SLOW = (*SMALL, "losses.depth=slow", "epochs=10")

ENDLESS = (*SMALL, "losses.depth=slow", "epochs=1000000")

FATES = {0: "failed", 1: "failed", 2: "timeout", 3: "out_of_memory", 4: "interrupted"}
"""Seed → how the run is made to end; all others are to be done."""


RUNS = 12


class Submitted:
    """Runs of a new workspace, on the cluster of a launcher.

    options  of all launches
    """

    def __init__(self, root: Path, launcher: str, **options: str) -> None:
        assert call("init", root).code == 0
        (root / "specs/extensions.py").write_text(LOSSES)
        self.workspace, self.launcher, self.options = Workspace(root), launcher, options
        self.scheduler: Any = LAUNCHERS[launcher]
        self.jobs: dict[str, str] = {}

    def run(self, name: str) -> RunDirectory:
        return RunDirectory(self.workspace.runs / name)

    def prepare(self, name: str, seed: int, *overrides: str) -> RunDirectory:
        experience = experiments.experience(
            "mogi_quick", read_overrides("--set", overrides), self.workspace
        )
        return prepare.prepare(
            plan.plan_run(experience, seed, name, self.workspace), self.workspace
        )

    def submit(
        self, launch: str, runs: list[RunDirectory], at_most: int | None = None, **options: Any
    ) -> None:
        chosen = options_of(self.launcher, {self.launcher: {**self.options, **options}}, {})
        folder = self.workspace.runs / ".launches" / launch
        self.jobs |= self.scheduler.submit(Submission(folder, launch, chosen, at_most), runs)

    def word(self, name: str) -> str | None:
        return self.scheduler.states([self.jobs[name]]).get(self.jobs[name])

    def states(self) -> dict[str, str]:
        """Name → state, from the record and what the scheduler says now."""
        words = self.scheduler.states(self.jobs.values())
        records = {name: self.run(name).record() for name in self.jobs}
        return {
            name: state_now(
                self.run(name), record.state, record.open_attempt, words.get(self.jobs[name])
            )
            for name, record in records.items()
        }

    def trains(self, name: str) -> Callable[[], bool]:
        return has_lines(self.run(name).metrics_file, 2)

    def wait_for(self, *names: str) -> None:
        for name in names:
            until(
                lambda name=name: self.word(name) not in ("queued", "running", None),
                f"the end of {name}",
            )

    def assert_warned(self, name: str) -> None:
        """The run was warned before its time was up, and says timeout, with a checkpoint."""
        self.wait_for(name)
        assert self.states()[name] == "timeout"
        assert self.run(name).record().state == "interrupted"
        assert (self.run(name).path / "checkpoints/last.safetensors").is_file()

    def assert_known(self, name: str) -> None:
        """The run knows which job it was."""
        self.wait_for(name)
        cluster, workspace = self.scheduler.cluster(), str(self.workspace.root)
        assert cluster is not None
        job = JobRecord(
            launcher=self.launcher, id=self.jobs[name], cluster=cluster, workspace=workspace
        )
        assert self.run(name).record().job == job

    def assert_output(self, launch: str, name: str, text: str) -> None:
        """What the run has printed lies in it, and can be found from the launch."""
        self.wait_for(name)
        output = self.workspace.runs / ".launches" / launch / "output" / f"{name}.txt"
        assert text in output.read_text()
        assert output.resolve() == (self.run(name).path / f"{self.launcher}.txt").resolve()


def end_in(submitted: Submitted, name: str, seconds: int) -> None:
    """Have Slurm believe that a job that runs has so much time left; it looks at that twice a
    minute.

    The controller may refuse for a moment, so it is asked again.
    """

    def accepted() -> bool:
        try:
            administrator(
                "scontrol", "update", f"JobId={submitted.jobs[name]}", f"EndTime=now+{seconds}"
            )
        except subprocess.CalledProcessError:
            return False
        return True

    until(accepted, f"a new end of {name}")


@pytest.fixture(scope="module")
def submitted(slurm_cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> Submitted:
    """All runs of this module at once, in a folder whose name Slurm and a shell might want to read
    for themselves.
    """
    root = tmp_path_factory.mktemp("slurm") / "it's 100%a $HOME work"
    ours = Submitted(root, "slurm", time="10")
    diverging = (*BRIEF, "learning_rate=1e30", "optimizer=sgd")
    greedy = (*BRIEF, "losses.depth=greedy")
    overrides = {0: diverging, 2: ENDLESS, 3: greedy, 4: ENDLESS}
    array = [ours.prepare(f"run_{seed}", seed, *overrides.get(seed, BRIEF)) for seed in range(RUNS)]
    array[1].spec_file.write_text("{")
    warned = ours.prepare("warned", 0, *ENDLESS)
    whole, parted = (ours.prepare(name, 5, *SLOW) for name in ("whole", "parted"))
    ours.submit("warned", [warned])
    ours.submit("pair", [parted, whole], requeue="true")
    ours.submit("dozen", array, at_most=6)
    # The longest waits begin first: Slurm looks at time limits twice a minute.
    for name, seconds in {"warned": 60, "run_2": 1}.items():
        until(ours.trains(name), "training")
        end_in(ours, name, seconds)
    return ours


def test_a_run_that_is_requeued_before_the_time_limit_resumes_by_itself_to_the_same_bits(submitted):
    until(submitted.trains("parted"), "training")
    # What Slurm sends a minute before the limit, and to the script alone.
    administrator("scancel", "--batch", "--signal=USR1", submitted.jobs["parted"])
    until(lambda: submitted.word("parted") == "queued", "requeueing")
    assert submitted.run("parted").record().state == "interrupted"
    assert submitted.states()["parted"] == "queued"
    # Slurm holds a requeued job back for two minutes; it needs but a second to be rid of the first
    # start.
    administrator("scontrol", "update", f"JobId={submitted.jobs['parted']}", "StartTime=now+3")
    submitted.wait_for("parted", "whole")
    assert [attempt.state for attempt in submitted.run("parted").record().attempts] == [
        "interrupted",
        "done",
    ]
    assert contents(submitted.run("whole").path) == contents(submitted.run("parted").path)


def test_of_a_dozen_runs_each_ends_in_its_own_state(submitted):
    until(submitted.trains("run_4"), "training")
    Slurm().cancel([submitted.jobs["run_4"]])
    names = [f"run_{seed}" for seed in range(RUNS)]
    submitted.wait_for(*names)
    found = submitted.states()
    assert {name: found[name] for name in names} == {
        name: FATES.get(seed, "done") for seed, name in enumerate(names)
    }


def test_a_run_knows_which_job_it_was(submitted):
    submitted.assert_known("run_7")


def test_a_job_ends_with_the_exit_code_of_its_run(submitted):
    codes = {}
    for name in ("run_0", "run_1", "run_7"):
        submitted.wait_for(name)
        codes[name] = administrator("squeue", "--array", "--states=all", "--noheader", "--Format=exit_code",
                                    f"--jobs={submitted.jobs[name]}")  # fmt: skip
    assert codes == {"run_0": str(1 << 8), "run_1": str(1 << 8), "run_7": "0"}


def test_a_run_is_warned_before_its_time_is_up_and_says_timeout_with_a_checkpoint(submitted):
    submitted.assert_warned("warned")


def test_what_a_run_and_slurm_print_lies_in_the_run_and_can_be_found_from_the_launch(submitted):
    # Not the run whose time is up: where Slurm warns and ends it in one look, a run that heeds the
    # warning may be gone before Slurm has a word to print.
    submitted.assert_output("dozen", "run_3", "Exceeded job memory limit")
    submitted.assert_output("dozen", "run_7", "epoch 3/3")
    folder = submitted.workspace.runs / ".launches/dozen"
    assert {path.name for path in folder.iterdir()} == {
        "array_1",
        "array_1.sh",
        "runs_1.txt",
        "output",
    }
    assert all(path.is_symlink() for path in (folder / "array_1").iterdir())
