"""Runs on a real Grid Engine: how each ends, whatever ends it, is known afterwards."""

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from qexp.base.workspace import Workspace
from qexp.errors import QexpError, SchedulerError
from qexp.jobs.gridengine import GridEngine
from qexp.jobs.launchers import options_of
from qexp.jobs.scheduler import Submission
from qexp.jobs.states import state_now
from qexp.kinds import experiments
from qexp.runs import plan, prepare
from qexp.runs.order import read_overrides
from qexp.store.directory import RunDirectory
from qexp.store.record import JobRecord
from tests.conftest import call
from tests.gridengine.grid import Cluster
from tests.runs.conftest import has_lines
from tests.runs.test_same_bits import contents
from tests.slurm.cluster import until
from tests.slurm.test_arrays import folders
from tests.slurm.test_ends_of_runs import BRIEF, ENDLESS, LOSSES, SLOW

ENDS = {
    "done": (BRIEF, "done"),
    "diverges": ((*BRIEF, "learning_rate=1e30", "optimizer=sgd"), "failed"),
    "broken": (BRIEF, "failed"),
    "deleted": (ENDLESS, "interrupted"),
    "killed": (ENDLESS, "out_of_memory"),
    "crashed": (ENDLESS, "lost"),
    "also_done": (BRIEF, "done"),
}
"""Run of one array → its overrides, and its state in the end."""


PARTED = [
    """trap 'signalled=yes SECONDS=7200; kill -ALRM "$python"' ALRM""",
    '[ $restarts -gt 0 ] || (until grep -q epoch.:2 "$run/metrics.jsonl"; do sleep 0.1; done; kill -ALRM $$) &',
]
"""Setup lines by which the time of a run's first start is nearly up as soon as it has trained for two epochs."""


@dataclass
class Submitted:
    """Runs of a workspace on the cluster."""

    workspace: Workspace
    jobs: dict[str, str] = field(default_factory=dict)

    def run(self, name: str) -> RunDirectory:
        return RunDirectory(self.workspace.runs / name)

    def prepare(self, name: str, seed: int, *overrides: str) -> RunDirectory:
        experience = experiments.experience("mogi_quick", read_overrides("--set", overrides), self.workspace)
        return prepare.prepare(plan.plan_run(experience, seed, name, self.workspace), self.workspace)

    def submit(self, launch: str, runs: list[RunDirectory], **options: str | list[str]) -> None:
        chosen = options_of("gridengine", {"gridengine": options}, {})
        folder = self.workspace.runs / ".launches" / launch
        self.jobs |= GridEngine().submit(Submission(folder, launch, chosen), runs)

    def word(self, name: str) -> str | None:
        return GridEngine().states([self.jobs[name]]).get(self.jobs[name])

    def state(self, name: str) -> str:
        """From the record and what Grid Engine says now."""
        record = self.run(name).record()
        return state_now(self.run(name), record.state, record.open_attempt, self.word(name))

    def trains(self, name: str) -> Callable[[], bool]:
        return has_lines(self.run(name).metrics_file, 2)

    def has_ended(self, name: str) -> Callable[[], bool]:
        return lambda: self.word(name) not in ("queued", "running", None)

    def process(self, name: str) -> int:
        attempt = self.run(name).record().open_attempt
        assert attempt is not None
        return attempt.process.pid


@pytest.fixture(scope="module")
def submitted(grid: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Submitted:
    """All runs of this module at once, in a folder whose name Grid Engine and a shell might want to read."""
    root = tmp_path_factory.mktemp("grid") / "it's 100%a $TASK_ID : work"
    assert call("init", root).code == 0
    ours = Submitted(Workspace(root))
    (root / "specs/extensions.py").write_text(LOSSES)
    ours.submit("warned", [ours.prepare("warned", 0, *ENDLESS)], time="0:01:30", signal="30")
    deaf = ["trap '' USR2", "SECONDS=-1000"]  # hears of no limit
    ours.submit("deaf", [ours.prepare("deaf", 1, *ENDLESS)], time="0:00:20", setup=deaf)
    ours.submit("parted", [ours.prepare("parted", 5, *SLOW)], requeue="true", time="2:00:00", setup=PARTED)
    ours.submit("whole", [ours.prepare("whole", 5, *SLOW)])
    array = [ours.prepare(name, seed, *overrides) for seed, (name, (overrides, _)) in enumerate(ENDS.items())]
    array[2].spec_file.write_text("{")
    ours.submit("array", array, pe="smp 1", memory="20G")
    return ours


def test_each_run_of_an_array_ends_in_its_own_state(submitted):
    for name in ("deleted", "killed", "crashed"):
        until(submitted.trains(name), f"training of {name}")
    GridEngine().cancel([submitted.jobs["deleted"]])
    os.kill(submitted.process("killed"), signal.SIGKILL)
    # As if the node had crashed: nobody is left to say how the job ended.
    for number in (shepherd_of(submitted.process("crashed")), submitted.process("crashed")):
        os.kill(number, signal.SIGKILL)
    for name in ENDS:
        until(submitted.has_ended(name), f"the end of {name}")
    assert {name: submitted.state(name) for name in ENDS} == {name: state for name, (_, state) in ENDS.items()}
    assert submitted.run("deleted").record().state == "interrupted"


def shepherd_of(process: int) -> int:
    """The process of Grid Engine around a run's."""
    while "sge_shepherd" not in Path(f"/proc/{process}/comm").read_text():
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return process


def test_a_run_is_warned_before_its_time_is_up_and_says_timeout_with_a_checkpoint(submitted):
    until(submitted.has_ended("warned"), "the end")
    assert submitted.state("warned") == "timeout"
    assert submitted.run("warned").record().state == "interrupted"
    assert (submitted.run("warned").path / "checkpoints/last.safetensors").is_file()


def test_a_run_that_is_killed_at_its_limit_without_a_warning_says_timeout(submitted):
    until(submitted.has_ended("deaf"), "the end")
    assert submitted.state("deaf") == "timeout"


def test_a_run_that_needs_more_time_starts_again_by_itself_and_comes_to_the_same_bits(submitted):
    for name in ("parted", "whole"):
        until(submitted.has_ended(name), "the end")
    *before, last = [attempt.state for attempt in submitted.run("parted").record().attempts]
    assert (set(before), last) == ({"interrupted"}, "done")
    assert contents(submitted.run("whole").path) == contents(submitted.run("parted").path)


def test_a_run_knows_which_job_it_was_and_where_its_output_is(submitted, grid):
    until(submitted.has_ended("done"), "the end")
    run = submitted.run("done")
    assert run.record().job == JobRecord(
        launcher="gridengine",
        id=submitted.jobs["done"],
        cluster=grid.call("qconf", "-sss"),
        workspace=str(submitted.workspace.root),
    )
    output = submitted.workspace.runs / ".launches/array/output/done.txt"
    assert "epoch 3/3" in output.read_text()
    assert output.resolve() == (run.path / "gridengine.txt").resolve()


def submit(folder: Path, runs: Sequence[RunDirectory], *setup: str, at_most: int | None = None, **options: str) -> list:
    chosen = options_of("gridengine", {"gridengine": options}, {"setup": setup})
    return [*GridEngine().submit(Submission(folder, "2 runs", chosen, at_most), runs).values()]


def test_what_is_deleted_before_it_begins_is_interrupted_whoever_deletes_it(grid, tmp_path):
    jobs = submit(tmp_path / "launch", folders(tmp_path, 4), "sleep 600", at_most=1)
    until(lambda: GridEngine().states(jobs)[jobs[0]] == "running", "the first job")
    grid.call("qdel", jobs[1])
    assert GridEngine().cancel([jobs[2], "999.1"]) == {jobs[2]: "interrupted"}
    said = GridEngine().states(jobs)
    assert said == dict(zip(jobs, ("running", "interrupted", "interrupted", "queued"), strict=True))
    grid.call("qdel", jobs[0].partition(".")[0])
    until(lambda: {*GridEngine().states(jobs).values()} == {"interrupted"}, "the end of all")
    assert GridEngine().cancel(jobs) == {}
    assert GridEngine().states(["999.1"]) == {}


def test_a_job_that_cannot_run_is_refused_in_plain_words(grid, tmp_path):
    for options, words in {"queue": "unknown queue", "project": '"nowhere" does not exist'}.items():
        with pytest.raises(SchedulerError, match=words) as caught:
            submit(tmp_path / "launch", folders(tmp_path / options, 1), **{options: "nowhere"})
        assert caught.value.exit_code == 6


def test_a_master_that_is_gone_is_said_and_a_run_outlives_that(grid, tmp_path):
    (job,) = submit(tmp_path / "launch", folders(tmp_path, 1), "sleep 8", "exit 7")
    until(lambda: GridEngine().states([job]) == {job: "running"}, "the start")
    grid.kill("sge_qmaster")
    with pytest.raises(SchedulerError, match="qstat refused"):
        GridEngine().states([job])
    with pytest.raises(SchedulerError, match="refused"):
        submit(tmp_path / "another", folders(tmp_path / "another", 1))
    assert GridEngine().cluster() is None
    grid.start("sge_qmaster")

    def ended() -> bool:
        try:
            return GridEngine().states([job]) == {job: "failed"}
        except QexpError:
            return False

    until(ended, "the end")
