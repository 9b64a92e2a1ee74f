"""The settings and commands of the page on Slurm, on a real cluster."""

import json
import shlex
from pathlib import Path

import pytest

from qexp.api.listing import runs
from tests.conftest import call
from tests.documents.reader import BLOCK, PAGES, only_shown
from tests.slurm.conftest import slurm as administrator

PAGE = "docs/how-to/slurm.md"

OF_THIS_CLUSTER = {
    'partition = "gpu"': 'partition = "main"',
    'gres = "gpu:1"\n': "",
    '"module load cuda"': '"export LOADED=cuda"',
    'time = "2-00:00:00"': 'time = "40:00"',
    'nodelist = "node[1-4]", exclusive = true': "exclusive = true",
}
"""What the cluster of the page has and this one does not → what this one has."""


@pytest.fixture
def settings(slurm_cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Those of the page for Slurm, in the `qexp.toml` of a workspace that is the current directory."""
    assert call("init", tmp_path).code == 0
    for name in ("mogi_cnn", "mogi_noisy"):
        path = tmp_path / f"specs/experiences/{name}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "epochs": 1, "sizes": [512, 32, 32]}))
    written = "\n".join(block for kind, block in BLOCK.findall(PAGES[PAGE]) if kind == "toml" and "[slurm" in block)
    for on_the_page, here in OF_THIS_CLUSTER.items():
        assert on_the_page in written
        written = written.replace(on_the_page, here)
    (tmp_path / "qexp.toml").write_text(written)
    monkeypatch.chdir(tmp_path)
    return written


def test_the_commands_of_the_page_run_on_a_cluster(settings):
    (line,) = only_shown(PAGE)
    stdout = call(*shlex.split(line.replace("--seeds 0:10", "--seeds 0:1"))[1:]).done()
    submitted = dict(line.split() for line in stdout.splitlines())
    assert submitted.keys() == {"mogi_cnn_0", "mogi_noisy_0"}
    assert "TimeLimit=00:30:00" in administrator("scontrol", "show", "job", submitted["mogi_cnn_0"])
    assert call("wait", *submitted).code == 0
    assert {run["state"] for run in runs()} == {"done"}


def test_the_profile_of_the_page_reaches_the_job(settings):
    name, job = call("run", "mogi_cnn", "--profile", "big", "--option", "options.hold=true").done().split()
    said = administrator("scontrol", "show", "job", job)
    assert "TimeLimit=00:40:00" in said
    assert "Partition=main" in said
    assert call("stop", name).code == 0
