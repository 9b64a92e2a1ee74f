"""No run is put inside another one, and nothing is removed or deleted that holds one."""

import shutil
from pathlib import Path

import pytest

from qexp.base.workspace import Workspace
from qexp.runs.prepare import Plan, prepare
from qexp.store import directory


def content(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.name.startswith("catalog.json")}


@pytest.fixture
def nested(here: Path) -> Path:
    """A workspace whose run sound_0 holds sound_1 and sound_2, to which links lead."""
    for name in ("sound_1", "sound_2"):
        shutil.copytree(here / "runs/sound_0", here / name)
    for name in ("sound_1", "sound_2"):
        (here / name).rename(here / "runs/sound_0" / name)
        (here / "runs" / name).symlink_to(here / "runs/sound_0" / name)
    return here


@pytest.mark.parametrize(
    "folder",
    ["runs/sound_0", "runs/sound_0/checkpoints/deep/in/it", "runs/sound_0/folds/001", "runs/.trash",
     "runs/.launches/x", "runs/folder", "link", "../kept/sound_9"],
)  # fmt: skip
@pytest.mark.parametrize(
    "command", [("run", "sound", "--seed", "7"), ("run", "sound", "--seeds", "7:9")]
)
def test_a_place_where_a_run_would_be_lost_is_refused_before_anything_is_written(
    here, qexp, folder, command
):
    shutil.copytree(here / "runs/sound_0", here.parent / "kept/sound_9")
    (here / "link").symlink_to("runs/sound_0/matrices")
    before = content(here.parent)
    stderr = qexp(*command, "--storage-path", folder, "--device", "cpu").refused()
    assert "lies inside" in stderr
    assert "choose a" in stderr
    assert content(here.parent) == before


@pytest.mark.parametrize("folder", ["runs", "runs/../runs", "link", "../disk"])
def test_a_place_that_is_the_folder_of_runs_is_that_and_one_below_a_file_called_run_json_is_none(
    here, folder
):
    (here.parent / "run.json").write_text('{"name": "my own"}')
    (here / "link").symlink_to("runs")
    plan = Plan(name="new", experience="made", seed=1, spec={"epochs": 1})
    directory = prepare(plan, Workspace(here), storage=here / folder)
    assert directory.path == here / "runs/new"
    assert directory.path.is_dir()
    assert directory.path.is_symlink() == (folder == "../disk")


def test_a_run_that_holds_others_is_neither_removed_nor_deleted_also_on_another_disk(
    nested, tmp_path, qexp
):
    before = content(nested)
    assert "sound_0 holds other runs, sound_1, sound_2" in qexp("rm", "sound_0").failed()
    assert content(nested) == before
    # As it was removed by a version that did not look:
    (nested / "runs/.trash").mkdir()
    (nested / "runs/sound_0").rename(nested / "runs/.trash/sound_0--20260101T000000.000000Z")
    before = content(nested)
    stderr = qexp("purge", "--yes").failed()
    assert "is not deleted: it holds other runs, sound_1, sound_2" in stderr
    assert "0 of 1 runs deleted" in stderr
    assert content(nested) == before
    removed = nested / "runs/.trash/sound_0--20260101T000000.000000Z"
    removed.rename(tmp_path / "sound_0")
    removed.symlink_to(tmp_path / "sound_0")
    before = content(tmp_path)
    assert "holds other runs" in qexp("purge", "--yes").failed()
    assert content(tmp_path) - before <= {nested / "runs/.trash.lock"}
    removed.unlink()
    (tmp_path / "sound_0").rename(removed)
    assert qexp("restore", "sound_0").code == 0
    for name in ("sound_1", "sound_2"):
        (nested / "runs" / name).unlink()
        (nested / "runs/sound_0" / name).rename(nested / "runs" / name)
    assert qexp("rm", "sound_0").code == 0
    assert qexp("purge", "--yes").code == 0
    assert qexp("ls", "-q").stdout.split() == ["sound_1", "sound_2"]


def test_inner_runs_can_be_removed_and_deleted_first(nested, qexp):
    for command, code in (
        ("rm sound_1 sound_2", 0),
        ("rm sound_0", 2),
        ("purge --yes", 0),
        ("rm sound_0", 0),
    ):
        assert qexp(*command.split()).code == code
    assert qexp("purge", "--yes").code == 0
    assert not list((nested / "runs").glob("sound_*"))


TARGETS = [
    "specs/experiences/sound.json",
    "runs/sound_0/run.json",
    "runs/sound_0/results/new.html",
    "runs/new",
    "link/new.pdf",
    "record.html",
    "workspaces/inner/../../runs/x.nc",
]


@pytest.mark.parametrize(
    "command",
    [
        ("report", "sound_0", "--overwrite", "--to"),
        ("export", "sound_0", "--to"),
        ("export", "sound_0", "--format", "onnx", "--overwrite", "--to"),
        ("observe", "of.nc", "--overwrite", "--to"),
        ("observe", "of.nc", "--overwrite", "--figure"),
        ("invert", "of.nc", "--source", "mogi", "--overwrite", "--to"),
        ("predict", "sound_0", "of.csv", "--overwrite", "--output"),
        ("data", "show", "sound", "--out"),
        ("data", "ice", "--overwrite", "--out"),
        ("data", "xrf", "--overwrite", "--out"),
        ("study", "sound", "--grid", "learning_rate=0.1,0.2", "--seeds", "0:2", "--out"),
        ("verify", "sound_0", "--keep"),
    ],
)
def test_no_command_writes_where_runs_and_specs_are(here, qexp, command):
    (here / "link").symlink_to("runs/sound_0/results")
    (here / "record.html").symlink_to("runs/sound_0/run.json")
    (here / "workspaces/inner/specs").mkdir(parents=True)
    (here / "of.csv").write_text("x,y\n1,2\n")
    before = {path: path.stat().st_mtime_ns for path in content(here) if path.is_file()}
    for name in TARGETS:
        code, _, stderr = qexp(*command, name)
        assert (code, name if "lies inside" in stderr else stderr) == (2, name)
    assert {path: path.stat().st_mtime_ns for path in content(here) if path.is_file()} == before


def test_a_target_beside_runs_and_in_a_workspace_inside_specs_is_taken(tmp_path):
    for name in ("specs/experiences", "specs/own/specs", "specs/own/results", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    for name in (
        "x.html",
        "elsewhere/x.html",
        "specs/own/results/x.html",
        "comparisons/runs/x.csv",
    ):
        assert directory.target_outside_of_runs(tmp_path / name) == tmp_path / name
