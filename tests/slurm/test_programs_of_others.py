"""Programs that are not qexp's, on a real cluster: how each ends, and that nothing is left of
it.
"""

import json
from pathlib import Path

import pytest

import qexp as package
from qexp.base.workspace import Workspace
from qexp.jobs.launchers import find_launch
from qexp.jobs.slurm import Slurm
from tests.conftest import call
from tests.slurm.cluster import until
from tests.slurm.conftest import slurm as administrator

PROGRAM = """
setsid sleep 300 & echo $! > $QEXP_RUN/ready
case $QEXP_SEED in
0) echo '{{"mae": 0.5}}' > $QEXP_RESULTS ;;
1) echo wrong >&2; exit 3 ;;
*) echo $$ >> $QEXP_RUN/ready; sleep 300 ;;
esac
"""

ENDS = {"own_0": "done", "own_1": "failed", "own_2": "interrupted", "own_3": "timeout"}


@pytest.fixture
def jobs(slurm_cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Run → its job."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "specs" / "experiences"
    folder.mkdir(parents=True)
    (folder / "own.json").write_text(
        json.dumps({"type": "command", "command": ["sh", "-c", PROGRAM], "grace": 2})
    )
    stdout = call(
        "run", "own", "--seeds", "0:4", "--launcher", "slurm", "--option", "time=10"
    ).done()
    return dict(line.split() for line in stdout.splitlines())


def numbers_of(name: str) -> list[int]:
    """The numbers of the processes that a program has started, and its own."""
    file = Path("runs", name, "ready")
    return [int(word) for word in file.read_text().split()] if file.exists() else []


def test_each_ends_in_its_own_state_and_nothing_is_left_running(jobs):
    for name in ("own_2", "own_3"):
        until(lambda name=name: len(numbers_of(name)) == 2, f"the start of {name}")
    started = [number for name in ENDS for number in numbers_of(name)]
    Slurm().cancel([jobs["own_2"]])
    # What Slurm sends a minute before the time limit, and to the script alone.
    administrator("scancel", "--batch", "--signal=USR1", jobs["own_3"])
    until(
        lambda: not any(state.at_work for state in Slurm().states(jobs.values()).values()),
        "the end of the jobs",
    )
    assert {name: package.open_run(name).state for name in ENDS} == ENDS
    started += numbers_of("own_0") + numbers_of("own_1")
    until(
        lambda: not any(Path(f"/proc/{number}").exists() for number in started),
        "the end of all processes",
    )
    assert len(set(started)) == 6
    assert package.open_run("own_1").record["error"] == "exit code 3: wrong"
    assert find_launch("last", Workspace(Path.cwd())).record().launcher == "slurm"
