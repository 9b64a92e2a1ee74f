"""Files of rows estimated as the tasks of an array, on a real cluster, and what is said of them
afterwards.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import qexp as package
from qexp.base.workspace import Workspace
from qexp.errors import NotFoundError
from qexp.jobs import launchers
from tests import stones
from tests.conftest import call, shared_folder
from tests.slurm.test_arrays import wait_for

TILES = ("a.csv", "b.csv", "c.csv")
PREDICT = ("predict", "stones_0", "tiles", "--device", "cpu")
ARRAY = (
    *PREDICT,
    "--output",
    "made",
    "--launcher",
    "slurm",
    "--option",
    "memory=2G",
    "--option",
    "cpus=1",
)


@shared_folder
def trained(root: Path) -> None:
    """A workspace with a run that can estimate files, and a folder of them."""
    assert call("init", root).code == 0
    stones.write(root)
    package.run("stones", device="cpu", workspace=root)
    folder = root / "tiles"
    folder.mkdir()
    random, head = np.random.default_rng(4), "red,green,blue"
    for name in TILES:
        np.savetxt(
            folder / name,
            random.uniform(0.2, 0.8, (50, 3)),
            delimiter=",",
            header=head,
            comments="",
        )


@pytest.fixture
def tiles(trained: Path, workspace: Path) -> Path:
    """The folder of files, in a copy of that workspace, which is the current directory."""
    shutil.copytree(trained, workspace, dirs_exist_ok=True)
    return workspace / "tiles"


def ended(lines: str) -> dict[str, str]:
    """File → how its task ended, of what the command printed."""
    jobs = dict(line.split() for line in lines.splitlines())
    states = wait_for([*jobs.values()])
    return {name: states[job] for name, job in jobs.items()}


def outputs(stderr: str) -> Sequence[str]:
    """What the tasks say, in the folder that the command named."""
    return [
        path.read_text()
        for path in sorted(Path(stderr.removeprefix("output of the jobs: ").strip()).iterdir())
    ]


def test_the_files_of_a_folder_are_estimated_by_an_array_as_they_are_here(
    slurm_cluster, tiles, workspace, qexp
):
    code, stdout, stderr = qexp(*ARRAY)
    assert code == 0, stderr
    assert ended(stdout) == {f"made/{name}": "done" for name in TILES}
    assert qexp(*PREDICT, "--output", "here").code == 0
    for name in TILES:
        assert (workspace / "made" / name).read_bytes() == (workspace / "here" / name).read_bytes()
    assert [
        f"made/{name}: 50 rows" in said for name, said in zip(TILES, outputs(stderr), strict=True)
    ] == [True] * 3
    _, _, again = qexp(*PREDICT, "--output", "made")
    assert again.splitlines() == [f"made/{name} exists already" for name in TILES]


def test_a_bad_file_fails_alone_and_its_task_says_why(slurm_cluster, tiles, workspace, qexp):
    (tiles / "b.csv").write_text("red,green,blue\n0.5,dark,0.5\n")
    code, stdout, stderr = qexp(*ARRAY, "--chunk", "10")
    assert code == 0, stderr
    assert ended(stdout) == {"made/a.csv": "done", "made/b.csv": "failed", "made/c.csv": "done"}
    assert "tiles/b.csv: row 2, column 'green': 'dark' is not a number" in outputs(stderr)[1]
    assert {path.name for path in (workspace / "made").iterdir()} == {
        "a.csv",
        "a.csv.json",
        "c.csv",
        "c.csv.json",
    }


def test_a_prediction_is_no_launch_of_runs_and_confuses_no_command(
    slurm_cluster, tiles, workspace, qexp
):
    place = Workspace(workspace)
    assert qexp("run", "stones", "--seeds", "0:1", "--set", "epochs=2").code == 0
    stdout = qexp(*ARRAY).done()
    (record,) = (workspace / "runs/.launches").glob("*/prediction.json")
    assert json.loads(record.read_text())["jobs"] == dict(
        line.split() for line in stdout.splitlines()
    )
    assert launchers.find_launch("last", place) == launchers.all_launches(place)[-1]
    (last,) = json.loads(qexp("ls", "--launch", "last", "--json").stdout)
    assert last["overrides"] == ["epochs=2"]
    assert qexp("doctor").code == 0
    identifier = record.parent.name
    for command in ("ls", "stop"):
        said = qexp(command, "--launch", identifier).failed(3)
        assert (
            f"{identifier} is a prediction, which has no runs; {record.relative_to(workspace)} has"
            " its jobs" in said
        )
    with pytest.raises(NotFoundError, match="no launch 'another'"):
        launchers.find_launch("another", place)
    ended(stdout)


def test_what_slurm_refuses_is_told_in_its_words_and_nothing_is_made(
    slurm_cluster, tiles, workspace, qexp
):
    assert "nowhere" in qexp(*ARRAY, "--option", "partition=nowhere").refused(6)
    assert not any((workspace / "made").iterdir())
    (record,) = (workspace / "runs/.launches").glob("*/prediction.json")
    assert json.loads(record.read_text())["jobs"] == {}


def test_what_would_fail_in_every_task_is_told_before_anything_is_submitted(
    tiles, workspace, qexp, monkeypatch
):
    monkeypatch.setenv("PATH", str(workspace))
    assert "there is no sbatch on the PATH" in qexp(*ARRAY).failed()
    package.open_run("stones_0").directory.fold("002").best_weights.unlink()
    assert "stones_0: 1 of 4 folds are not done: 002" in qexp(*ARRAY).failed()
