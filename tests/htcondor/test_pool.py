"""Runs in a real pool of HTCondor: how each ends is known afterwards, and what is evicted
continues.
"""

import json
from collections.abc import Iterator

import pytest

from tests.htcondor.pool import Pool, pool
from tests.slurm.cluster import until
from tests.slurm.conftest import where_it_can_be_had

# Tests of clusters follow one another in one of pytest's workers.
pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]

SETTINGS = """[htcondor]
memory = "1GB"
requeue = true
setup = ["env > variables.txt"]
[htcondor.options]
"+Project" = '"volcano"'
"""

ENDLESS = "mogi_quick --set epochs=100000 --launcher htcondor"


@pytest.fixture(scope="module")
def here() -> Iterator[Pool]:
    """A pool, and a workspace in which its user is."""
    with where_it_can_be_had(pool()) as ours:
        ours.qexp("init --kind volcano workspace")
        ours.call(f"cat > workspace/qexp.toml <<'END'\n{SETTINGS}END")
        yield ours


def run(pool: Pool, arguments: str, variables: str = "") -> str:
    said = pool.qexp(f"--workspace workspace run {arguments}", variables)
    assert "error" not in said, said
    return said


def states(pool: Pool) -> dict[str, str]:
    """Name of a run, or the seed at its end, and its state."""
    listed = pool.qexp("--workspace workspace ls --json")
    return {row["name"].split("_")[-1]: row["state"] for row in json.loads(listed)}


def wait(pool: Pool, name: str, state: str) -> None:
    until(lambda: states(pool)[name] == state, f"{state} of {name}")


def job(pool: Pool) -> str:
    return pool.call("condor_q -run -af:j JobStatus").split()[0]


def epochs(pool: Pool, name: str) -> list[int]:
    lines = pool.call(f"cat workspace/runs/{name}/metrics.jsonl 2> /dev/null").splitlines()
    return [json.loads(line)["epoch"] for line in lines]


def test_a_launch_is_done_and_its_jobs_get_no_secrets(here):
    run(here, "mogi_quick --set epochs=2 --seeds 0:2 --launcher htcondor",
        "SECRET_OF_MINE=hidden VISIBLE=yes")  # fmt: skip
    wait(here, "0", "done")
    wait(here, "1", "done")
    variables = here.call("cat workspace/runs/.launches/*/variables.txt")
    assert "VISIBLE=yes" in variables
    assert "hidden" not in variables


def test_an_evicted_run_continues_where_it_was(here):
    run(here, f"{ENDLESS} --name evicted")
    until(lambda: len(epochs(here, "evicted")) > 3, "three epochs")
    here.call(f"condor_vacate_job {job(here)}")
    wait(here, "evicted", "queued")
    seen = len(epochs(here, "evicted"))
    until(lambda: len(epochs(here, "evicted")) > seen, "another epoch")
    assert epochs(here, "evicted")[: seen + 1] == list(range(1, seen + 2))
    here.qexp("--workspace workspace stop evicted")
    wait(here, "evicted", "interrupted")


def test_a_run_that_is_held_waits_and_one_that_is_removed_is_interrupted(here):
    run(here, f"{ENDLESS} --name held")
    wait(here, "held", "running")
    number = job(here)
    here.call(f"condor_hold {number}")
    wait(here, "held", "queued")
    here.call(f"condor_release {number}")
    wait(here, "held", "running")
    here.call(f"condor_rm {number}")
    wait(here, "held", "interrupted")


def test_the_time_of_a_run_and_how_many_are_in_the_queue_are_limited(here):
    run(here, f"{ENDLESS} --seeds 5:7 -j 1 --option time=0:00:20"
              " --option requeue=false --option signal=5")  # fmt: skip
    wait(here, "5", "running")
    assert states(here)["6"] == "queued"
    assert len(here.call("condor_q -run -af ClusterId").split()) == 1
    wait(here, "5", "timeout")
    wait(here, "6", "running")
    here.qexp("--workspace workspace stop *_6")
    wait(here, "6", "interrupted")


def test_a_run_that_fails_says_so(here):
    run(here, "mogi_quick --set epochs=2 --set learning_rate=1e30 --set optimizer=sgd"
              " --name broken --launcher htcondor")  # fmt: skip
    wait(here, "broken", "failed")
    assert "try a lower learning rate" in here.call("tail -n 30 workspace/runs/broken/htcondor.txt")
