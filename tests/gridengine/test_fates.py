"""Runs on a real Grid Engine: how each ends is known afterwards; and the settings and commands of
its page.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from qexp.api.listing import runs
from qexp.errors import QexpError, SchedulerError
from qexp.jobs.gridengine import GridEngine
from qexp.jobs.scheduler import array_of
from tests.conftest import call
from tests.gridengine.grid import Cluster, cluster
from tests.runs.test_same_bits import contents
from tests.slurm.cluster import until
from tests.slurm.conftest import where_it_can_be_had
from tests.slurm.test_arrays import submit_jobs
from tests.slurm.test_ends_of_runs import BRIEF, ENDLESS, SLOW, Submitted
from tests.slurm.test_how_to import assert_done, open_workspace

# Tests of clusters follow one another in one of pytest's workers.
pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]

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
    (
        '[ $restarts -gt 0 ] || (until grep -q epoch.:2 "$run/metrics.jsonl"; do sleep 0.1; done;'
        " kill -ALRM $$) &"
    ),
]
"""Setup lines by which the time of a run's first start is nearly up as soon as it has trained for
two epochs.
"""


PAGE = "docs/how-to/grid-engine.md"

OF_THIS_CLUSTER = {
    'queue = "gpu.q"': 'queue = "main.q"',
    '"module load cuda"': '"export LOADED=cuda"',
    'memory = "8G"': 'memory = "20G"',
}
"""What the cluster of the page has and this one does not → what this one has."""


@pytest.fixture(scope="module")
def grid() -> Iterator[Cluster]:
    """A cluster that Grid Engine's programs find; started with CI set alone, since its tests take
    minutes.
    """
    with where_it_can_be_had(cluster()) as ours, pytest.MonkeyPatch.context() as patch:
        for name, value in (ours.variables | {"OMP_NUM_THREADS": "1"}).items():
            if name != "LD_LIBRARY_PATH":
                patch.setenv(name, value)
        yield ours


@pytest.fixture(scope="module")
def submitted(grid: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Submitted:
    """All runs of this module at once, in a folder whose name Grid Engine and a shell might want to
    read.
    """
    ours = Submitted(tmp_path_factory.mktemp("grid") / "it's 100%a $TASK_ID : work", "gridengine")
    ours.submit("warned", [ours.prepare("warned", 0, *ENDLESS)], time="0:01:30", signal="30")
    deaf = ["trap '' USR2", "SECONDS=-1000"]  # hears of no limit
    ours.submit("deaf", [ours.prepare("deaf", 1, *ENDLESS)], time="0:00:20", setup=deaf)
    ours.submit(
        "parted", [ours.prepare("parted", 5, *SLOW)], requeue="true", time="2:00:00", setup=PARTED
    )
    ours.submit("whole", [ours.prepare("whole", 5, *SLOW)])
    array = [
        ours.prepare(name, seed, *overrides)
        for seed, (name, (overrides, _)) in enumerate(ENDS.items())
    ]
    array[2].spec_file.write_text("{")
    ours.submit("array", array, pe="smp 1", memory="20G")
    return ours


def test_each_run_of_an_array_ends_in_its_own_state(submitted):
    for name in ("deleted", "killed", "crashed"):
        until(submitted.trains(name), f"training of {name}")
    GridEngine().cancel([submitted.jobs["deleted"]])
    killed, crashed = (
        submitted.run(name).record().open_attempt.process.pid for name in ("killed", "crashed")
    )
    # As if the node of one had crashed: nobody is left to say how the job ended.
    for number in (killed, shepherd_of(crashed), crashed):
        os.kill(number, signal.SIGKILL)
    submitted.wait_for(*ENDS)
    states = submitted.states()
    assert {name: states[name] for name in ENDS} == {
        name: state for name, (_, state) in ENDS.items()
    }
    assert submitted.run("deleted").record().state == "interrupted"


def shepherd_of(process: int) -> int:
    """The process of Grid Engine around a run's."""
    while "sge_shepherd" not in Path(f"/proc/{process}/comm").read_text():
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return process


def test_a_run_that_is_warned_or_killed_at_its_limit_says_timeout(submitted):
    submitted.assert_warned("warned")
    submitted.wait_for("deaf")
    assert submitted.states()["deaf"] == "timeout"


def test_a_run_that_needs_more_time_starts_again_by_itself_and_comes_to_the_same_bits(submitted):
    submitted.wait_for("parted", "whole")
    *before, last = [attempt.state for attempt in submitted.run("parted").record().attempts]
    assert (set(before), last) == ({"interrupted"}, "done")
    assert contents(submitted.run("whole").path) == contents(submitted.run("parted").path)


def test_a_run_knows_which_job_it_was_and_where_its_output_is(submitted):
    submitted.assert_known("done")
    submitted.assert_output("array", "done", "epoch 3/3")


def test_what_is_deleted_before_it_begins_is_interrupted_whoever_deletes_it(grid, tmp_path):
    jobs = submit_jobs("gridengine", tmp_path, 4, "sleep 600", at_most=1)
    until(lambda: GridEngine().states(jobs)[jobs[0]] == "running", "the first job")
    grid.call("qdel", jobs[1])
    assert GridEngine().cancel([jobs[2], "999.1"]) == {jobs[2]: "interrupted"}
    said = GridEngine().states(jobs)
    assert said == dict(zip(jobs, ("running", "interrupted", "interrupted", "queued"), strict=True))
    grid.call("qdel", array_of(jobs[0]))
    until(lambda: {*GridEngine().states(jobs).values()} == {"interrupted"}, "the end of all")
    assert GridEngine().cancel(jobs) == {}
    assert GridEngine().states(["999.1"]) == {}


def test_a_job_that_cannot_run_is_refused_in_plain_words(grid, tmp_path):
    for option, words in {"queue": "unknown queue", "project": '"nowhere" does not exist'}.items():
        with pytest.raises(SchedulerError, match=words) as caught:
            submit_jobs("gridengine", tmp_path / option, 1, "exit 0", **{option: "nowhere"})
        assert caught.value.exit_code == 6


def test_a_master_that_is_gone_is_said_and_a_job_outlives_that(grid, tmp_path):
    (job,) = submit_jobs("gridengine", tmp_path, 1, "sleep 8", "exit 7")
    until(lambda: GridEngine().states([job]) == {job: "running"}, "the start")
    grid.kill("sge_qmaster")
    with pytest.raises(SchedulerError, match="qstat refused"):
        GridEngine().states([job])
    with pytest.raises(SchedulerError, match="refused"):
        submit_jobs("gridengine", tmp_path / "another", 1, "exit 0")
    assert GridEngine().cluster() is None
    grid.start("sge_qmaster")

    def ended() -> bool:
        try:
            return GridEngine().states([job]) == {job: "failed"}
        except QexpError:
            return False

    until(ended, "the end")


@pytest.fixture
def settings(grid: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_workspace(tmp_path, PAGE, "gridengine", OF_THIS_CLUSTER)
    monkeypatch.chdir(tmp_path)


def test_the_commands_of_the_page_run_on_a_cluster(settings, grid):
    def said(job: str) -> str:
        return grid.call("qstat", "-j", array_of(job))

    assert_done(PAGE, said, "h_rt=1800", "smp range: 4", "me@example.org")


def test_the_profile_of_the_page_reaches_the_job_which_can_be_stopped(settings, grid):
    name, job = (
        call("run", "mogi_cnn", "--profile", "big", "--option", "options.h=true").done().split()
    )
    said = grid.call("qstat", "-j", array_of(job))
    assert all(words in said for words in ("h_rt=172800", "kind=long", "-10"))
    assert call("stop", name).code == 0
    assert runs()[0]["state"] == "interrupted"
