"""The queue of a workspace: what waits in it, in which order, and that each run is trained once."""

import json
import os
import signal
from collections.abc import Iterator

import pytest

import qexp as package
from qexp.base.workspace import Workspace
from qexp.errors import NotFoundError
from qexp.jobs.launchers import Launch
from qexp.jobs.queue import next_in, queue_of, waiting_in
from qexp.store.directory import RunDirectory
from qexp.store.process import process_start
from tests.runs.conftest import ENDLESS, SMALL, until
from tests.runs.test_catalog import write_record
from tests.runs.test_waiting import attempt_of, sleeper

__all__ = ["sleeper"]

BRIEF = ("--set", "epochs=3", *SMALL, "--device", "cpu", "--stack", "1")


@pytest.fixture
def queue(workspace, sleeper) -> Launch:
    """A queue of the runs a, b, c and d, of which a is at work, with a process as its pool."""
    launch = Launch(workspace / "runs/.launches/20260101-000000")
    launch.folder.mkdir(parents=True)
    settings = {"jobs": 1, "device": "auto", "options": {}}
    record = {"id": launch.id, "launcher": "local", "runs": [*"abcd"], "queue": True}
    launch.record_file.write_text(json.dumps({**record, "settings": settings}))
    launch.pool_file.write_text(json.dumps(attempt_of(sleeper.pid)["process"]))
    working = {"state": "running", "attempts": [attempt_of(sleeper.pid)]}
    launch.take("a", "started")
    for name in "abcd":
        write_record(
            workspace, name, launch=launch.id, **({"state": "queued"} if name > "a" else working)
        )
    return launch


def names(runs) -> str:
    return " ".join(run.name for run in runs)


@pytest.mark.slow
def test_waiting_runs_are_put_first_last_or_at_a_place_and_the_listing_has_their_order(
    queue, workspace, qexp
):
    for words, order in {
        "d --position first": "a d b c",
        "d --position last": "a b c d",
        "d c --position 2": "a b d c",
        "b --position 99": "a d c b",
    }.items():
        shown = qexp("queue", *words.split()).done()
        assert " ".join(line.split()[0] for line in shown.splitlines()) == order, words
        assert qexp("ls", "--queue", "-q").done().split() == order.split()
    assert shown.splitlines()[:2] == ["a  running", "d  queued"]
    assert package.api.queue("b", position=1)["b"] == "queued"
    assert names(waiting_in(queue)) == "b d c"
    assert "a does not wait in the queue: it is running" in qexp(
        "queue", "a", "--position", "last"
    ).refused(2)
    for words in ["b"], ["--position", "1"], ["b", "--position", "0"], ["b", "--position", "next"]:
        assert "with --position where to" in qexp("queue", *words).refused(2)
    assert names(waiting_in(queue)) == "b d c"


def test_what_is_stopped_or_removed_is_out_of_the_queue_also_while_nothing_works_on_it(
    queue, workspace, qexp, sleeper
):
    assert qexp("stop", "b").done() == ""
    assert names(waiting_in(queue)) == "c d"
    qexp("rm", "c", "--stop", "--yes").done()
    assert names(waiting_in(queue)) == "d"
    sleeper.kill()
    sleeper.wait()
    assert package.api.queue()["d"] == "created"
    assert qexp("stop", "d").stderr == "d: interrupted\n"
    assert waiting_in(queue) == []
    assert queue_of(Workspace(workspace)) is None, "a is lost, and needs --resume as elsewhere"
    assert qexp("queue").done() == ""


def test_a_pool_takes_as_many_as_are_free_and_counts_those_that_a_killed_one_left_at_work(queue):
    queue.rewrite(settings={**queue.record().settings, "jobs": 2})
    assert names(next_in(queue, 2)) == "b"
    assert next_in(queue, 1) == [], "a pool of another number ends, and a new one goes on"
    queue.rewrite(settings={**queue.record().settings, "jobs": 0})
    assert next_in(queue, 1) == []


@pytest.mark.slow
def test_runs_that_would_be_trained_otherwise_or_elsewhere_are_refused_before_anything_is_written(
    queue, qexp
):
    before = queue.record_file.read_bytes()
    run = ("run", "mogi_quick", "--queue")
    assert "now with {'jobs': 1, 'device': 'auto'" in qexp(*run, "--device", "cpu").refused(2)
    assert "--queue is for this machine" in qexp(*run, "--launcher", "slurm").refused(2)
    assert "--queue is for this machine" in qexp(*run, "--detach").refused(2)
    assert queue.record_file.read_bytes() == before
    assert not RunDirectory(queue.folder.parents[1] / "mogi_quick_0").path.exists()


def pids_of_pools(workspace) -> Iterator[int]:
    for file in (workspace / "runs/.launches").glob("*/pool.json"):
        pid = json.loads(file.read_text())["pid"]
        if process_start(pid):
            yield pid


def states():
    return [package.open_run(run["name"]).state for run in package.runs(sort="seed")]


def attempts(workspace):
    return [
        [folder.name for folder in (workspace / "runs" / run["name"] / "attempts").iterdir()]
        for run in package.runs()
    ]


@pytest.mark.heavy
def test_a_queue_that_is_filled_twice_at_once_and_whose_process_is_killed_trains_each_run_once(
    workspace, qexp, start
):
    words = ("run", "mogi_quick", "--seeds", "0:2", *BRIEF, "--queue")
    for process in [start(*words), start(*words)]:
        assert process.end()[0] == 0
    until(lambda: "running" in states() or "done" in states(), "that one begins")
    for pid in pids_of_pools(workspace):
        os.kill(pid, signal.SIGKILL)
    qexp("run", "mogi_quick", "--seed", "2", *BRIEF, "--queue").done()
    until(lambda: states() == ["done"] * 3, "that all are done")
    assert attempts(workspace) == [["01"]] * 3
    until(lambda: not [*pids_of_pools(workspace)], "that the process ends")


@pytest.mark.heavy
def test_a_paused_queue_starts_nothing_and_one_that_goes_on_keeps_the_specs_that_were_queued(
    workspace, qexp
):
    qexp("run", "mogi_quick", "--seeds", "0:3", *ENDLESS, "--stack", "1", "--queue").done()
    until(lambda: "running" in states(), "that one begins")
    qexp("queue", "-j", "0").done()
    first = states().index("running")
    qexp("stop", package.runs(sort="seed")[first]["name"]).done()
    until(lambda: not [*pids_of_pools(workspace)], "that the process ends")
    assert sorted(states()) == ["created", "created", "interrupted"]
    more = qexp("run", "mogi_quick", "--seed", "3", *ENDLESS, "--stack", "1", "--queue")
    assert more.code == 0
    assert "the queue is paused" in more.stderr
    (workspace / "specs/experiences/mogi_quick.json").write_text("{}")
    qexp("queue", "-j", "2").done()
    until(lambda: states().count("running") == 2, "that two others are trained")
    qexp("stop", "--launch", "last").done()
    assert states() == ["interrupted"] * 4
    with pytest.raises(NotFoundError, match="no run waits in the queue"):
        package.api.queue(package.runs()[0]["name"], position="first")
