"""The settings and commands of the page on Grid Engine, on a real cluster."""

import json
import shlex
from pathlib import Path

import pytest

from qexp.api.listing import runs
from tests.conftest import call
from tests.documents.reader import BLOCK, PAGES, only_shown
from tests.gridengine.grid import Cluster

PAGE = "docs/how-to/grid-engine.md"

OF_THIS_CLUSTER = {
    'queue = "gpu.q"': 'queue = "main.q"',
    '"module load cuda"': '"export LOADED=cuda"',
    'memory = "8G"': 'memory = "20G"',
}
"""What the cluster of the page has and this one does not → what this one has."""


@pytest.fixture
def settings(grid: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the page, in the `qexp.toml` of a workspace that is the current directory."""
    assert call("init", tmp_path).code == 0
    for name in ("mogi_cnn", "mogi_noisy"):
        path = tmp_path / f"specs/experiences/{name}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "epochs": 1, "sizes": [512, 32, 32]}))
    written = "\n".join(block for kind, block in BLOCK.findall(PAGES[PAGE]) if kind == "toml")
    for on_the_page, here in OF_THIS_CLUSTER.items():
        assert on_the_page in written
        written = written.replace(on_the_page, here)
    (tmp_path / "qexp.toml").write_text(written)
    monkeypatch.chdir(tmp_path)


def test_the_commands_of_the_page_run_on_a_cluster(settings, grid):
    (line,) = only_shown(PAGE)
    stdout = call(*shlex.split(line.replace("--seeds 0:10", "--seeds 0:1"))[1:]).done()
    submitted = dict(line.split() for line in stdout.splitlines())
    assert submitted.keys() == {"mogi_cnn_0", "mogi_noisy_0"}
    said = grid.call("qstat", "-j", submitted["mogi_cnn_0"].partition(".")[0])
    assert all(words in said for words in ("h_rt=1800", "smp range: 4", "me@example.org"))
    assert call("wait", *submitted).code == 0
    assert {run["state"] for run in runs()} == {"done"}


def test_the_profile_of_the_page_reaches_the_job_which_can_be_stopped(settings, grid):
    name, job = call("run", "mogi_cnn", "--profile", "big", "--option", "options.h=true").done().split()
    said = grid.call("qstat", "-j", job.partition(".")[0])
    assert all(words in said for words in ("h_rt=172800", "kind=long", "-10"))
    assert call("stop", name).code == 0
    assert runs()[0]["state"] == "interrupted"
