"""Many processes write runs and read the catalog at once, and are killed at any moment: nothing lost, nothing torn."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qexp import files
from qexp.runs.catalog import Catalog
from qexp.runs.prepare import Plan, prepare
from qexp.workspace import Workspace

PROCESSES, RUNS_EACH = 20, 10
KILLS, AT_ONCE = 60, 4


def create_and_finish(root: Path, name: str) -> None:
    """A run's directory from its preparation to its results, without the training between."""
    spec = {"outputs": ["depth"], "epochs": 1, "dataset": {}, "model": {}}
    directory = prepare(Plan(name, "made", "made", "made", 0, spec, digest=name), Workspace(root))
    record = directory.record()
    files.write_json(directory.record_file, {**record, "state": "running"})
    Catalog(Workspace(root)).runs()
    record |= {"state": "done", "results": {"test": {"depth": {"mae": 0.5}}}}
    files.write_json(directory.record_file, record)
    print(name, flush=True)
    Catalog(Workspace(root)).runs()


def writer(root: Path, prefix: str, runs: int) -> subprocess.Popen[str]:
    """A process that makes runs one after the other, and tells of each that is finished."""
    script = (
        "import sys; from pathlib import Path\n"
        "from tests.runs.test_many_at_once import create_and_finish\n"
        f"for index in range({runs}): create_and_finish(Path(sys.argv[1]), f'{{sys.argv[2]}}_{{index}}')\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script, str(root), prefix],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        text=True,
    )


def rows(root: Path) -> list[str]:
    return [row["summary"]["name"] for row in json.loads((root / "runs/catalog.json").read_text())["runs"].values()]


def test_twenty_processes_that_make_ten_runs_each_lose_none_and_double_none(workspace):
    processes = [writer(workspace, f"p{number}", RUNS_EACH) for number in range(PROCESSES)]
    told = [name for process in processes for name in process.communicate()[0].split()]
    assert [process.returncode for process in processes] == [0] * PROCESSES
    expected = sorted(f"p{number}_{index}" for number in range(PROCESSES) for index in range(RUNS_EACH))
    assert sorted(told) == expected
    catalog = Catalog(Workspace(workspace))
    listed = catalog.runs()
    assert sorted(run["name"] for run in listed) == expected
    assert {run["state"] for run in listed} == {"done"}
    assert sorted(rows(workspace)) == expected
    assert catalog.warnings == []


@pytest.mark.parametrize("seed", [1])
def test_killed_sixty_times_at_any_moment_no_file_is_torn_and_no_finished_run_is_lost(workspace, seed):
    moments = random.Random(seed)
    finished: list[str] = []
    for first in range(0, KILLS, AT_ONCE):
        writers = [writer(workspace, f"k{first + number}", 1000) for number in range(AT_ONCE)]
        for process in writers:
            finished.append(process.stdout.readline().strip())  # it is at work: from now on any moment will do
        for process in writers:
            time.sleep(moments.uniform(0, 0.05))
            process.kill()
            finished += process.communicate()[0].split()
        for record in (workspace / "runs").glob("[!.]*/run.json"):
            json.loads(record.read_bytes())
        json.loads((workspace / "runs/catalog.json").read_bytes())
    catalog = Catalog(Workspace(workspace))
    states = {run["name"]: run["state"] for run in catalog.runs()}
    assert catalog.warnings == []
    assert len(finished) >= KILLS
    assert {states.get(name) for name in finished} == {"done"}
