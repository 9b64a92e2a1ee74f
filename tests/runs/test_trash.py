"""Removed runs can be brought back until they are purged, and nothing that is at work is moved."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from qexp.base import files
from qexp.base.workspace import Workspace
from qexp.errors import QexpError
from qexp.runs.prepare import Plan, prepare
from qexp.store.record import Record, State
from qexp.upkeep import trash
from tests.runs.conftest import contents, has_lines, running, until

SPEC = {"outputs": ["depth"], "epochs": 1, "dataset": {}, "model": {}}


@pytest.fixture
def make(workspace: Path) -> Callable[..., Path]:
    """`make("one", state="failed")`: a run of a record and one file; `place` puts it elsewhere and
    links to it.
    """

    def make_run(name: str, place: Path | None = None, **fields: object) -> Path:
        folder = (place or workspace / "runs") / name
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints/best.safetensors").write_bytes(b"w" * 1000)
        record = Record(name=name, seed=0, state=State.DONE).document() | fields
        (folder / "run.json").write_text(json.dumps(record))
        if place is not None:
            (workspace / "runs").mkdir(exist_ok=True)
            (workspace / "runs" / name).symlink_to(folder)
        return workspace / "runs" / name

    return make_run


def in_trash(workspace: Path) -> list[str]:
    return [entry.name for entry in trash.entries(Workspace(workspace))]


def test_what_is_removed_and_restored_is_as_it_was(make, workspace, qexp):
    run = make("mogi_1")
    before = contents(run)
    code, stdout, stderr = qexp("rm", "mogi_1")
    assert (code, stdout) == (0, "")
    assert "qexp restore mogi_1" in stderr
    assert not run.exists()
    assert qexp("ls", "-q").stdout == ""
    assert qexp("restore").done().splitlines()[1].split()[0] == "mogi_1"
    for name in ("nosuch", "../mogi_1", "", ".purging-mogi_1--20260101T000000.000000Z"):
        assert "mogi_1" in qexp("restore", name).failed(3)
    assert qexp("restore", "mogi_1").code == 0
    assert contents(run) == before
    assert qexp("ls", "-q").stdout == "mogi_1\n"
    assert qexp("restore").stderr == "the trash is empty\n"


def test_runs_are_named_by_patterns_and_paths_moved_once_and_deleted_with_a_yes(
    make, workspace, qexp
):
    names = ["mogi_1", "mogi_2", "other_1", "third"]
    for name in names:
        make(name)
    qexp("rm", "mogi_*", "mogi_1", "other_1", "runs/third").done()
    assert sorted(in_trash(workspace)) == names
    stderr = qexp("purge").refused()  # where nobody can be asked
    assert "delete 4 runs permanently" in stderr
    assert "--yes" in stderr
    assert sorted(in_trash(workspace)) == names


def test_a_name_that_is_gone_is_not_the_prefix_of_a_run_that_would_be_removed_instead(
    make, workspace, qexp
):
    make("mogi_1")
    make("mogi_10")
    qexp("rm", "mogi_1").done()
    assert "mogi_1 is in the trash already" in (stderr := qexp("rm", "mogi_1").failed(3))
    assert "full name: mogi_10" in stderr
    assert "no run 'mogi'" in qexp("rm", "mogi").failed(3)
    assert in_trash(workspace) == ["mogi_1"]


@pytest.mark.parametrize(
    ("names", "code", "complaint"),
    [
        (["one", "nosuch"], 3, "no run 'nosuch'"),
        (["one", "no*"], 3, "no run matches 'no*'"),
        (["one", "busy"], 2, "busy is running; nothing was moved"),
        (["one", "waiting"], 2, "waiting is queued; nothing was moved"),
        (["one", "*"], 2, "busy is running, waiting is queued; nothing was moved"),
        (["one", ""], 3, "no run ''"),
        (["one", ".."], 3, "no run '..'"),
        (["one", "catalog.json"], 3, "no run 'catalog.json'"),
        (["one", "../elsewhere/far"], 2, "../elsewhere/far is not a run in"),
        (["one", "runs/.trash"], 3, "no run"),
        (["one", "a\n\x1b[31m"], 3, "no run"),
    ],
)
def test_if_one_of_several_cannot_be_removed_none_is(make, workspace, qexp, names, code, complaint):
    make("one")
    make("busy", **running())
    make("waiting", state="queued")
    shutil.copytree(workspace / "runs/one", workspace.parent / "elsewhere/far")
    qexp("ls")
    ended, stdout, stderr = qexp("rm", *names)
    assert (ended, stdout) == (code, "")
    assert complaint in stderr
    assert (workspace / "runs/one/run.json").exists()
    assert in_trash(workspace) == []


def test_a_run_that_lost_its_process_or_whose_record_is_damaged_can_be_removed_unless_its_heart_beats(
    make, workspace, qexp
):
    make("lost", **running(start="another"))
    assert qexp("rm", "lost").code == 0
    assert in_trash(workspace) == ["lost"]
    run = make("torn")
    (run / "run.json").write_text('{"na')
    (run / "attempts/01").mkdir(parents=True)
    heartbeat = run / "attempts/01/heartbeat"
    heartbeat.touch()
    assert qexp("rm", "torn").code == 2
    os.utime(heartbeat, (time.time() - 3600,) * 2)
    assert qexp("rm", "torn").code == 0
    assert qexp("restore", "torn").code == 0
    assert (run / "run.json").read_text() == '{"na'


@pytest.mark.heavy
def test_a_running_run_is_stopped_first_if_asked(workspace, start, qexp):

    process = start(
        "run", "mogi_quick", "--name", "long", "--set", "epochs=100000", "--set", "sizes=[96,32,32]"
    )
    until(has_lines(workspace / "runs/long/metrics.jsonl", 2), "the second epoch")
    assert qexp("rm", "long").code == 2
    qexp("rm", "long", "--stop").done()
    assert process.end()[0] == 130
    (entry,) = trash.entries(Workspace(workspace))
    assert json.loads((entry.path / "run.json").read_text())["state"] == "interrupted"


def test_of_several_of_one_name_the_newest_is_restored_or_the_one_that_is_named_in_full(
    make, workspace, qexp
):
    for note in ("first", "second"):
        make("one", note=note)
        assert qexp("rm", "one").code == 0
    first, _ = trash.entries(Workspace(workspace))
    assert qexp("restore", "one").code == 0
    assert json.loads((workspace / "runs/one/run.json").read_text())["note"] == "second"
    assert "a run one exists already" in qexp("restore", first.path.name).failed()
    assert in_trash(workspace) == ["one"]
    assert qexp("rm", "one").code == 0
    assert qexp("restore", first.path.name).code == 0
    assert json.loads((workspace / "runs/one/run.json").read_text())["note"] == "first"


@pytest.mark.parametrize("relative", [False, True])
def test_of_a_run_on_another_disk_the_link_is_removed_and_restored_and_both_deleted(
    make, workspace, qexp, tmp_path, relative
):
    disk = tmp_path / "disk"
    run = make("far", place=disk)
    link = Path("../../disk/far") if relative else disk / "far"
    run.unlink()
    run.symlink_to(link)
    before = contents(disk / "far")
    assert qexp("rm", "far").code == 0
    assert not os.path.lexists(run)
    (entry,) = trash.entries(Workspace(workspace))
    assert contents(entry.data) == before
    assert files.size_of(entry.data) > 1000
    assert qexp("restore", "far").code == 0
    assert run.readlink() == link
    assert contents(run) == before
    assert qexp("rm", "far").code == 0
    code, _, stderr = qexp("purge", "--yes")
    assert (code, "1 of 1 runs deleted" in stderr) == (0, True)
    assert list(disk.iterdir()) == []
    assert list((workspace / "runs/.trash").iterdir()) == []


def test_a_name_is_free_again_on_another_disk_as_soon_as_its_run_is_removed(
    workspace, qexp, tmp_path
):
    disk, home = tmp_path / "disk", Workspace(workspace)
    (disk / "far/mine").mkdir(parents=True)

    def seed() -> int:
        return json.loads((workspace / "runs/far/run.json").read_text())["seed"]

    for number in (1, 2):
        run = prepare(
            Plan(name="far", experience="made", seed=number, spec=SPEC), home, storage=disk
        )
        assert (run.path.readlink().parent, seed()) == (disk, number)
        assert qexp("rm", "far").code == 0
    first, _ = trash.entries(home)
    assert qexp("restore", "far").code == 0
    assert "a run far exists already" in qexp("restore", first.path.name).failed()
    assert qexp("rm", "far").code == 0
    assert qexp("restore", first.path.name).code == 0
    assert seed() == 1
    assert qexp("purge", "--yes").code == 0
    assert sorted(disk.iterdir()) == sorted([disk / "far", (workspace / "runs/far").readlink()])
    assert qexp("ls", "-q").stdout == "far\n"


def test_a_run_to_which_another_link_leads_stays_where_it_is(make, workspace, qexp):
    near = make("near")
    (workspace / "runs/alias").symlink_to(near)
    assert qexp("rm", "alias").code == 0
    assert (near / "run.json").is_file()
    assert qexp("purge", "--yes").code == 2
    assert (near / "run.json").is_file()


def test_a_purge_keeps_what_a_run_in_use_or_somebody_else_has_where_a_link_points(
    make, workspace, qexp, tmp_path
):
    make("far", place=tmp_path / "disk")
    make("mine", place=tmp_path / "disk")
    qexp("rm", "far", "mine")
    far, mine = trash.entries(Workspace(workspace))
    (workspace / "runs/far").symlink_to(far.data)
    (mine.data / "run.json").unlink()
    before = contents(tmp_path / "disk")
    assert qexp("purge", "--yes").failed().count(" is not deleted: ") == 2
    assert contents(tmp_path / "disk") == before


def test_a_link_whose_disk_is_not_there_is_neither_restored_nor_forgotten(
    make, workspace, qexp, tmp_path
):
    make("far", place=tmp_path / "disk")
    (tmp_path / "disk").rename(tmp_path / "unmounted")
    assert qexp("rm", "far").code == 0
    assert qexp("restore", "far").code == 5
    assert qexp("purge", "--yes").code == 2
    (tmp_path / "unmounted").rename(tmp_path / "disk")
    assert qexp("restore", "far").code == 0


def removed_at(workspace: Path, name: str, age: timedelta) -> None:
    """Say of what lies in the trash that it was removed so long ago."""
    (entry,) = (entry for entry in trash.entries(Workspace(workspace)) if entry.name == name)
    entry.path.rename(
        entry.path.with_name(f"{name}--{(datetime.now(UTC) - age).strftime(trash.STAMP)}")
    )


def test_a_purge_deletes_what_is_older_and_says_how_much(make, workspace, qexp):
    for name, age in (
        ("old", timedelta(days=31)),
        ("young", timedelta(days=29)),
        ("fresh", timedelta(minutes=5)),
    ):
        make(name)
        qexp("rm", name)
        removed_at(workspace, name, age)
    code, _, stderr = qexp("purge", "--older-than", "30d", "--yes")
    assert code == 0
    assert stderr.startswith("1 of 1 runs deleted, 1.")
    assert stderr.endswith(" kB freed\n")
    assert in_trash(workspace) == ["young", "fresh"]
    assert qexp("purge", "--older-than", "12h", "--yes").code == 0
    assert in_trash(workspace) == ["fresh"]
    assert qexp("purge", "--yes").code == 0
    assert in_trash(workspace) == []
    assert qexp("purge").stderr == "nothing to delete\n"


def test_an_age_that_is_none_is_refused_and_the_longest_is_older_than_anything(make, qexp):
    make("one")
    qexp("rm", "one")
    for age in ("30", "d", "-3d", "3y", "1.5h", "30 d", "9999999d", "٣d"):
        assert "write a number and one of m, h, d, w" in qexp("purge", "--older-than", age).failed()
    assert qexp("purge", "--older-than", "999999w", "--yes").stderr == "nothing to delete\n"


def test_what_a_killed_purge_left_is_not_restored_but_deleted_by_the_next(
    make, workspace, qexp, tmp_path
):
    make("near")
    make("far", place=tmp_path / "disk")
    qexp("rm", "near", "far")
    for entry in trash.entries(Workspace(workspace)):
        if entry.name == "far":
            shutil.rmtree(entry.data)
        entry.path.rename(entry.path.with_name(trash.DOOMED + entry.path.name))
    assert qexp("restore", "near").code == 3
    assert qexp("purge", "--yes").code == 0
    assert list((workspace / "runs/.trash").iterdir()) == []


def test_files_of_others_in_the_trash_are_left_alone_and_one_in_its_place_is_an_error(
    make, workspace, qexp
):
    run = make("one")
    (workspace / "runs/.trash").touch()
    assert "cannot write to" in qexp("rm", "one").failed()
    assert run.exists()
    (workspace / "runs/.trash").unlink()
    assert qexp("rm", "one").code == 0
    for name in ("notes", "one--yesterday", "one--20261399T000000.000000Z"):
        (workspace / "runs/.trash" / name).mkdir()
    assert qexp("purge", "--yes").code == 0
    assert len(list((workspace / "runs/.trash").iterdir())) == 3


def test_a_restored_run_never_replaces_one_that_came_at_the_same_moment(
    make, workspace, tmp_path, monkeypatch
):
    home = Workspace(workspace)
    far = make("far", place=tmp_path / "disk")
    trash.discard(trash.runs_to_remove(["far"], home), home)

    def answered_too_early(path: Path) -> bool:
        far.symlink_to(tmp_path)  # another process, right after the answer
        return False

    monkeypatch.setattr(os.path, "lexists", answered_too_early)
    with pytest.raises(QexpError, match="a run far exists already"):
        trash.restore("far", home)
    assert far.readlink() == tmp_path
    assert in_trash(workspace) == ["far"]


@pytest.mark.heavy
def test_several_processes_that_remove_and_restore_at_once_lose_nothing(make, workspace, tmp_path):
    for index in range(10):
        make(f"run_{index}", note=str(index), place=tmp_path / "disk" if index % 2 else None)
    script = (
        "import sys; from pathlib import Path; from qexp.errors import QexpError; from qexp.upkeep"
        " import trash\nfrom qexp.base.workspace import Workspace\nplace ="
        " Workspace(Path(sys.argv[1]))\nfor _ in range(8):\n    for index in range(10):\n       "
        " for act in (lambda n: trash.discard(trash.runs_to_remove([n], place), place),\n          "
        "          lambda n: trash.restore(n, place)):\n            try: act(f'run_{index}')\n     "
        "       except QexpError: pass\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script, str(workspace)]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0] * 3
    here = {path.parent.name for path in (workspace / "runs").glob("run_*/run.json")}
    away = [
        entry.name
        for entry in trash.entries(Workspace(workspace))
        if (entry.data / "run.json").is_file()
    ]
    assert sorted([*here, *away]) == [f"run_{index}" for index in range(10)]


def test_a_purge_does_not_call_deleted_what_was_restored_meanwhile(make, workspace, qexp):
    run = make("one")
    assert qexp("rm", "one").code == 0
    condemned = trash.doomed(Workspace(workspace))
    assert qexp("restore", "one").code == 0
    done = trash.purge_runs(condemned, Workspace(workspace))
    assert (done.names, done.freed, done.problems, done.gone) == ([], 0, [], ["one"])
    assert (run / "run.json").is_file()


ACT_ON_EACH = """
import json, sys
from pathlib import Path
from qexp.errors import QexpError
from qexp.upkeep import trash
from qexp.base.workspace import Workspace

place, acts = Workspace(Path(sys.argv[1])), {"purge": {}, "restore": {}}
for index in range(40):
    try:
        if sys.argv[2] == "restore":
            acts["restore"][f"run_{index}"] = trash.restore(f"run_{index}", place).name
        else:
            condemned = [entry for entry in trash.doomed(place) if entry.name == f"run_{index}"]
            acts["purge"][f"run_{index}"] = trash.purge_runs(condemned, place).names
    except QexpError as error:
        acts[sys.argv[2]][f"run_{index}"] = str(error)
print(json.dumps(acts[sys.argv[2]]))
"""


@pytest.mark.heavy
def test_of_a_purge_and_a_restore_at_once_one_wins_and_both_tell_the_truth(
    make, workspace, tmp_path, qexp
):
    names = [f"run_{index}" for index in range(40)]
    for index, name in enumerate(names):
        make(name, place=tmp_path / "disk" if index % 2 else None)
    assert qexp("rm", "run_*").code == 0
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ACT_ON_EACH, str(workspace), act],
            stdout=subprocess.PIPE,
            text=True,
        )
        for act in ("purge", "restore")
    ]
    purged, restored = (json.loads(process.communicate()[0]) for process in processes)
    for name in names:
        is_back = restored[name] == name
        assert is_back == (workspace / "runs" / name / "run.json").is_file()
        assert purged[name] == ([] if is_back else [name])
        assert is_back or "in the trash" in restored[name]
    assert in_trash(workspace) == []
