"""The catalog is an index: it can be wrong, missing or damaged, and listings are right all the
same.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tinydb import TinyDB

from qexp.base import files
from qexp.base.workspace import Workspace
from qexp.errors import NotFoundError
from qexp.runs.catalog import Catalog, find_run
from tests.conftest import mounted


def write_record(root: Path, name: str, **fields: object) -> Path:
    """A run's record as `prepare` writes it, without the training."""
    record = {
        "schema": 1,
        "name": name,
        "experience": "made",
        "dataset": "made",
        "model": "made",
        "seed": 0,
        "state": "done",
        "created": "2026-01-01T00:00:00.000+00:00",
        "started": None,
        "ended": None,
        "digest": "0",
        "overrides": [],
        "tags": [],
        "parents": [],
        "units": {"depth": "km"},
        "attempts": [],
        "epochs": {"done": 1, "of": 1, "best": 1},
        "seconds": 1.0,
        "error": None,
        "results": {"test": {"depth": {"mae": 0.5}}},
        **fields,
    }
    directory = root / "runs" / name
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "run.json").write_text(json.dumps(record))
    return directory


@pytest.fixture
def catalog(workspace: Path) -> Catalog:
    return Catalog(Workspace(workspace))


def names(catalog: Catalog) -> list[str]:
    return [run["name"] for run in catalog.runs()]


def test_new_changed_and_vanished_runs_are_seen_at_the_next_look(workspace, catalog):
    write_record(workspace, "a")
    write_record(workspace, "b")
    assert names(catalog) == ["a", "b"]
    write_record(workspace, "b", state="failed", error="a long story of what went wrong")
    shutil.rmtree(workspace / "runs/a")
    write_record(workspace, "c")
    assert [(run["name"], run["state"]) for run in catalog.runs()] == [
        ("b", "failed"),
        ("c", "done"),
    ]


def test_whoever_follows_the_catalog_sees_changes_and_writes_nothing(workspace):
    write_record(workspace, "a")
    warnings = []
    runs = Catalog(Workspace(workspace), warnings.append).follow()
    assert [run["name"] for run in runs()] == ["a"]
    write_record(workspace, "a", state="failed", error="a long story of what went wrong")
    write_record(workspace, "b")
    (workspace / "runs/broken").mkdir()
    (workspace / "runs/broken/run.json").write_text("{")
    before = {path: path.stat().st_mtime_ns for path in workspace.rglob("*")}
    assert [(run["name"], run["state"]) for run in runs()] == [
        ("a", "failed"),
        ("b", "done"),
        ("broken", "damaged"),
    ]
    assert len(warnings) == 1
    assert {path: path.stat().st_mtime_ns for path in workspace.rglob("*")} == before
    shutil.rmtree(workspace / "runs/broken")
    warnings.clear()
    assert [run["name"] for run in runs()] == ["a", "b"]
    assert warnings == []


@pytest.mark.parametrize("content", ["{ torn", "[1, 2]", ""])
def test_one_damaged_record_does_not_hide_the_others(workspace, qexp, content):
    write_record(workspace, "a")
    (write_record(workspace, "b") / "run.json").write_text(content)
    code, stdout, stderr = qexp("ls", "-q")
    assert (code, stdout) == (0, "a\nb\n")
    assert "runs/b/run.json" in stderr
    assert [run["state"] for run in json.loads(qexp("ls", "--json").stdout)] == ["done", "damaged"]
    assert "runs/b/run.json" in qexp("show", "b").refused(5)


def test_a_catalog_that_is_gone_is_made_again_with_the_rows_of_tinydb(workspace, catalog):
    write_record(workspace, "a")
    for _ in range(2):
        assert names(catalog) == ["a"]
        (workspace / "runs/catalog.json").unlink()
    assert catalog.reindex() == 1
    with TinyDB(workspace / "runs/catalog.json", access_mode="r") as database:
        assert database.tables() == {"written", "runs"}
        assert [row["summary"]["name"] for row in database.table("runs")] == ["a"]


@pytest.mark.heavy
def test_many_processes_at_once_lose_no_run_and_double_none(workspace):
    script = (
        "import sys; sys.path.insert(0, sys.argv[3]); from pathlib import Path\n"
        "from tests.runs.test_catalog import *\n"
        "for index in range(8):\n"
        "    write_record(Path(sys.argv[1]), f'run_{sys.argv[2]}_{index}')\n"
        "    Catalog(Workspace(Path(sys.argv[1]))).runs()\n"
    )
    words = [[str(workspace), str(number), str(Path(__file__).parents[2])] for number in range(6)]
    processes = [
        subprocess.Popen([sys.executable, "-c", script, *arguments]) for arguments in words
    ]
    assert [process.wait() for process in processes] == [0] * 6
    rows = json.loads((workspace / "runs/catalog.json").read_text())["runs"].values()
    listed_names = sorted(row["summary"]["name"] for row in rows)
    # The last one to write saw all that were there when it looked; the next look has them all.
    assert len(listed_names) == len(set(listed_names))
    assert len(names(Catalog(Workspace(workspace)))) == 48
    assert len(json.loads((workspace / "runs/catalog.json").read_text())["runs"]) == 48


def test_a_run_is_found_by_name_prefix_or_path(workspace, catalog):
    for name in ("mogi_10", "mogi_9", "other_1", "mogi_1"):
        write_record(workspace, name)
    assert names(catalog) == ["mogi_1", "mogi_9", "mogi_10", "other_1"], (
        "in the order that people expect"
    )
    assert find_run("other", catalog).name == "other_1"
    assert find_run("mogi_1", catalog).name == "mogi_1"
    assert find_run("runs/mogi_10", catalog).name == "mogi_10"
    assert find_run(str(workspace / "runs/mogi_10/"), catalog).name == "mogi_10"
    with pytest.raises(NotFoundError, match="mogi_1, mogi_9, mogi_10"):
        find_run("mogi", catalog)
    with pytest.raises(NotFoundError, match="did you mean 'other_1'"):
        find_run("othre_1", catalog)


def test_a_fold_is_found_by_the_name_or_a_prefix_of_its_run(
    workspace, catalog, qexp, tmp_path, monkeypatch
):
    for name in ("kfold_1", "plain_1"):
        write_record(workspace, name)
    for fold in ("001", "010"):
        write_record(workspace, f"kfold_1/folds/{fold}")
    path = workspace / "runs/kfold_1/folds/010"
    monkeypatch.chdir(tmp_path)  # from where nothing of that name is a path
    for reference in ("kfold_1/folds/010", "kf/folds/010", "kfold_1/folds/010/", str(path)):
        assert find_run(reference, catalog).path == path
    assert (
        qexp("--workspace", workspace, "where", "kfold_1/folds/001").stdout
        == f"{path.with_name('001')}\n"
    )
    for reference, complaint in (
        ("kfold_1/folds/012", "kfold_1 has no fold '012'; did you mean '010'"),
        ("plain_1/folds/001", "plain_1 has no fold '001'; there are none"),
        ("kfold_2/folds/001", "no run 'kfold_2'; did you mean 'kfold_1'"),
        ("/folds/001", "no run"),
    ):
        with pytest.raises(NotFoundError, match=complaint):
            find_run(reference, catalog)


def set_back(file: Path) -> None:
    """Let a file be an hour old, as most are when they are looked at."""
    os.utime(file, (file.stat().st_mtime - 3600,) * 2)


def test_listing_reads_only_what_changed(workspace, catalog, opened):
    for index in range(5):
        set_back(write_record(workspace, f"run_{index}") / "run.json")
    catalog.runs()
    write_record(workspace, "run_3", state="failed")
    opened.clear()
    catalog.runs()
    assert [path.parent.name for path in opened if path.name == "run.json"] == ["run_3"]


def test_a_change_that_leaves_time_size_and_inode_as_they_were_is_seen_if_it_came_at_once(
    workspace, catalog
):
    """On a file system that keeps whole seconds, and gives freed inodes out again."""
    labels = write_record(workspace, "a") / "labels.json"
    second = int(files.now_at(labels.parent))
    for tag in ("one", "two"):
        labels.write_text(json.dumps({"tags": [tag], "note": ""}))
        os.utime(labels, (second, second))
        assert [run["tags"] for run in catalog.runs()] == [[tag]]


def test_a_change_is_seen_whose_process_died_right_after_it(workspace, catalog):
    run = write_record(workspace, "a")
    set_back(run / "run.json")
    assert [run["tags"] for run in catalog.runs()] == [[]]
    (run / "labels.json").write_text('{"tags": ["good"], "note": ""}')
    assert [run["tags"] for run in catalog.runs()] == [["good"]]
    (run / "labels.json").unlink()
    assert [run["tags"] for run in catalog.runs()] == [[]]


@pytest.fixture
def small_disk(workspace: Path) -> Iterator[Path]:
    """The runs on a file system of their own, of 64 kB, with one run on it."""
    runs = workspace / "runs"
    runs.mkdir()
    with mounted("-t", "tmpfs", "-o", "size=64k", "tmpfs", str(runs)):
        write_record(workspace, "a")
        yield runs


@pytest.mark.heavy
def test_a_full_disk_and_one_for_reading_only_give_a_clear_error_and_harm_no_record(
    small_disk, qexp
):
    before = (small_disk / "a/run.json").read_bytes()
    with contextlib.suppress(OSError):
        (small_disk / "filler").write_bytes(b"0" * 100_000)
    assert "No space left on device" in qexp("run", "mogi_quick", "--set", "epochs=1").refused()
    assert (small_disk / "a/run.json").read_bytes() == before
    assert [path.name for path in small_disk.iterdir() if path.is_dir()] == ["a"]
    (small_disk / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert "Read-only file system" in qexp("run", "mogi_quick", "--set", "epochs=1").failed()
    assert qexp("ls", "-q").stdout == "a\n"
