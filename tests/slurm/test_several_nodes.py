"""A run in several processes, one on each node of a cluster: what the page on them shows."""

import json
import sys
from pathlib import Path

import pytest

import qexp
from tests.conftest import call
from tests.runs.conftest import has_lines, until
from tests.slurm.cluster import cluster, free_ports
from tests.slurm.conftest import found, where_it_can_be_had
from tests.slurm.test_how_to import open_workspace

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]


@pytest.fixture
def two_nodes():
    with where_it_can_be_had(cluster(nodes=2)) as configuration, found(configuration):
        yield


@pytest.mark.usefixtures("two_nodes")
def test_a_run_on_two_nodes_has_the_losses_of_one_process_and_can_be_stopped(tmp_path, monkeypatch):
    torchrun = str(Path(sys.executable).parent / "torchrun")
    here = {
        "node1:29500": f"127.0.0.1:{free_ports('meeting')['meeting']}",
        "--nproc-per-node=4": "--nproc-per-node=1",
        "torchrun": torchrun,
        "options = {nodes = 2}": 'options = {nodes = 2}\ntime = "10:00"',
    }
    open_workspace(tmp_path, "docs/how-to/several-processes.md", "slurm.nodes", here)
    monkeypatch.chdir(tmp_path)
    on_nodes = ("--launcher", "slurm", "--profile", "nodes")
    call("run", "mogi_cnn", *on_nodes).done()
    call("wait", "mogi_cnn_0").done()
    run, alone = qexp.open_run("mogi_cnn_0"), qexp.run("mogi_cnn", name="alone")
    attempt = run.record["attempts"][-1]
    assert (attempt["processes"], attempt["backend"]) == (2, "gloo")
    losses = [
        [line["validation"]["loss"] for line in one.directory.metrics()] for one in (run, alone)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    call("run", "mogi_cnn", "--name", "long", "--set", "epochs=2000", *on_nodes).done()
    until(has_lines(tmp_path / "runs/long/metrics.jsonl", 2), "two epochs")
    call("stop", "long").done()
    call("wait", "long")
    record = json.loads((tmp_path / "runs/long/run.json").read_text())
    assert (record["state"], record["epochs"]["done"] >= 2) == ("interrupted", True)
