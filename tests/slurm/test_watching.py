"""Runs on a real cluster are waited for and stopped like those of this machine, also while they are queued."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs.conftest import has_lines
from tests.slurm.cluster import until

ENDLESS = ("--set", "epochs=1000000", "--set", "sizes=[96,32,32]", "--set", "batch_size=16")


@pytest.fixture
def runs(slurm_cluster: Path, workspace: Path, qexp) -> list[str]:
    """Two endless runs, of which the first is running and the second waits for its turn."""
    qexp("run", "mogi_quick", "--seeds", "0:2", "-j", "1", "--launcher", "slurm", *ENDLESS).done()
    names = qexp("ls", "-q").stdout.split()
    until(has_lines(workspace / "runs" / names[0] / "metrics.jsonl", 1), "the first epoch")
    return names


def test_runs_are_waited_for_and_stopped_on_the_cluster(runs, qexp):
    running, queued = runs
    code, _, stderr = qexp("wait", running, queued, "--timeout", "0.1")
    assert (code, stderr) == (2, f"error: after 0.1 s not yet ended: {running} (running), {queued} (queued)\n")
    assert "of slurm, which cannot be killed from here" in qexp("stop", running, "--now").failed()
    for name in (queued, running):
        assert qexp("stop", name) == (0, "", f"{name}: interrupted\n")
    assert qexp("stop", queued) == (0, "", f"{queued} is not running: interrupted\n")
    assert qexp("wait", running, queued) == (4, "", f"{running}: interrupted\n{queued}: interrupted\n")
    assert qexp("logs", running).stdout.endswith("interrupted\n")
