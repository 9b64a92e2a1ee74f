"""A job belongs to a cluster and to the workspace that submitted it; nobody else asks for it or
cancels it.
"""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from qexp.jobs.states import ask_to_stop
from qexp.spec.reading import digest
from qexp.store.directory import RunDirectory
from qexp.store.record import Record, State
from tests.conftest import RESOLVED

RUN = ("run", "mogi_quick", "--launcher", "slurm")

PROGRAMS = {
    "sbatch": "echo 777",
    "scontrol": "echo 'ClusterName             = alpha'; echo 'MaxArraySize            = 1001'",
    "squeue": "echo '777_0|RUNNING|0|'",
    "scancel": ":",
}


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """`called()`: the programs of Slurm that were called since the last time. Job 777_0 runs on the
    cluster alpha.
    """
    folder = tmp_path / "bin"
    folder.mkdir()
    log = tmp_path / "called"
    for name, answer in PROGRAMS.items():
        (folder / name).write_text(f"#!/bin/sh\necho {name} \"$@\" >> '{log}'\n{answer}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv("SLURM_CLUSTER_NAME", raising=False)

    def since() -> list[str]:
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [line for line in lines if not line.startswith("scontrol")]

    return since


def state_of(qexp: Callable, name: str = "mogi_quick_0", *options: str | Path) -> str:
    (run,) = (
        run for run in json.loads(qexp("ls", "--json", *options).stdout) if run["name"] == name
    )
    return run["state"]


def test_the_job_of_a_run_that_was_submitted_here_is_asked_for_and_cancelled(
    workspace, called, qexp
):
    assert qexp(*RUN).code == 0
    assert state_of(qexp) == "running"
    (file,) = workspace.glob("runs/.launches/*/jobs.json")
    assert json.loads(file.read_text()) == {
        "cluster": "alpha", "workspace": str(workspace), "jobs": {"mogi_quick_0": "777_0"},
    }  # fmt: skip
    # and no waiting: this job never ends
    assert ask_to_stop(RunDirectory(workspace / "runs/mogi_quick_0"))
    assert called()[-1] == "scancel --quiet 777_0"


@pytest.mark.parametrize("state", ["queued", "running", "interrupted"])
def test_an_imported_run_has_no_job_here(workspace, called, qexp, tmp_path, state):
    job = {"launcher": "slurm", "id": "777_0", "cluster": "alpha"}
    make(workspace / "runs/guest", state="interrupted", job=job, launch="20260101-000000")
    assert qexp("export", "guest", "--to", "guest.zip").code == 0
    shutil.rmtree(workspace / "runs/guest")
    called()
    if state != "interrupted":
        repack(workspace / "guest.zip", state)
    assert qexp("import", "guest.zip").code == 0
    settled = {"queued": "created", "running": "lost", "interrupted": "interrupted"}[state]
    assert state_of(qexp, "guest") == settled
    assert qexp("stop", "guest").stderr == f"guest is not running: {settled}\n"
    if settled != "created":
        assert qexp("wait", "guest").stderr == f"guest: {settled}\n"
    assert qexp("doctor").code in (0, 5)
    assert called() == []
    record = json.loads((workspace / "runs/guest/run.json").read_text())
    assert (record["job"], record["launch"]) == (None, None)
    assert record["imported"]["was"] == {
        "name": "guest",
        "state": state,
        "job": job,
        "launch": "20260101-000000",
    }


def make(folder: Path, **fields: object) -> None:
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(json.dumps(RESOLVED))
    record = (
        Record(name=folder.name, seed=0, state=State.CREATED, digest=digest(RESOLVED)).document()
        | fields
    )
    (folder / "run.json").write_text(json.dumps(record))


def repack(archive: Path, state: str) -> None:
    """Let the record in an archive claim a state that no run can be exported in."""
    with zipfile.ZipFile(archive) as file:
        contents = {
            member.filename: file.read(member) for member in file.infolist() if not member.is_dir()
        }
    manifest = json.loads(contents.pop("manifest.json"))
    contents["guest/run.json"] = json.dumps(
        {**json.loads(contents["guest/run.json"]), "state": state}
    ).encode()
    manifest["sha256"] = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    with zipfile.ZipFile(archive, "w") as file:
        for name, data in {**contents, "manifest.json": json.dumps(manifest).encode()}.items():
            file.writestr(name, data)


@pytest.mark.parametrize("workspace_noted", [None, "/another/workspace"])
@pytest.mark.parametrize("state", ["queued", "running", "interrupted"])
def test_a_run_that_was_copied_here_has_no_job_here(
    workspace, called, qexp, state, workspace_noted
):
    job = {"launcher": "slurm", "id": "777_0"} | (
        {"workspace": workspace_noted} if workspace_noted else {}
    )
    make(workspace / "runs/guest", state=state, job=job)
    assert state_of(qexp, "guest") == ("created" if state == "queued" else state)
    assert qexp("stop", "guest").code in (0, 2)
    assert called() == []


def test_a_copy_of_a_workspace_leaves_the_jobs_of_the_original_alone(
    workspace, called, qexp, tmp_path, monkeypatch
):
    assert qexp(*RUN).code == 0
    shutil.copytree(workspace, tmp_path / "copy", symlinks=True)
    called()
    monkeypatch.chdir(tmp_path / "copy")
    assert state_of(qexp) == "created"
    assert qexp("stop", "mogi_quick_0").code in (0, 2)
    assert called() == []
    (tmp_path / "link").symlink_to(workspace)
    assert state_of(qexp, "mogi_quick_0", "--workspace", tmp_path / "link") == "running"


def test_a_job_of_another_cluster_is_neither_asked_for_nor_cancelled(
    workspace, called, qexp, tmp_path
):
    assert qexp(*RUN).code == 0
    # A job that noted this workspace in its run is believed without a launch.
    job = {"launcher": "slurm", "id": "777_0", "cluster": "alpha", "workspace": str(workspace)}
    make(workspace / "runs/own", state="queued", job=job)
    assert state_of(qexp, "own") == "running"
    scontrol = tmp_path / "bin/scontrol"
    scontrol.write_text(scontrol.read_text().replace("alpha", "beta"))
    called()
    assert state_of(qexp) == "queued"
    stderr = qexp("stop", "mogi_quick_0").failed()
    assert (
        "mogi_quick_0 is job 777_0 of the cluster alpha; stop it on a machine of that cluster"
        in stderr
    )
    assert qexp("stop", "--launch", "last").code == 2
    assert called() == []
