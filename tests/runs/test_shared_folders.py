"""Several users share a folder of runs: what another one's run allows works, and what it does not
is refused whole.
"""

import fcntl
import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from qexp.base import formats
from qexp.base.files import locked
from qexp.store.directory import RunDirectory
from tests.runs.conftest import until
from tests.runs.elsewhere import NOBODY, as_nobody
from tests.runs.test_catalog import write_record


@pytest.fixture
def shared_run(open_workspace: Path) -> RunDirectory:
    """A run of this user, in whose folder everybody may write, but not to the record."""
    run = RunDirectory(write_record(open_workspace, "one"))
    run.record_file.chmod(0o644)
    return run


@pytest.mark.heavy
def test_another_user_tags_and_notes_a_run_also_where_its_owner_did_before(shared_run, qexp):
    here = ("--workspace", shared_run.path.parent.parent)
    before = shared_run.record_file.read_bytes()
    lock = shared_run.path / "labels.json.lock"
    lock.touch()
    lock.chmod(0o644)  # as its owner's process made it
    assert as_nobody("tag", "one", "--add", "theirs", *here) == (0, "", "")
    assert qexp("tag", "one", "--add", "ours", *here) == (0, "", "")
    assert as_nobody("note", "one", "looks well", *here) == (0, "", "")
    record = shared_run.record()
    assert (record.tags, record.note) == (("theirs", "ours"), "looks well")
    assert shared_run.record_file.read_bytes() == before
    assert as_nobody("ls", "-q", "--tag", "theirs", *here) == (0, "one\n", "")
    assert qexp("ls", "-q", "--tag", "ours", *here) == (0, "one\n", "")
    assert as_nobody("tag", "one", "--remove", "ours", *here) == (0, "", "")
    assert as_nobody("ls", "-q", "--tag", "theirs", *here) == (0, "one\n", "")


@pytest.mark.heavy
def test_where_another_user_may_not_write_nothing_is_written(shared_run, qexp):
    here = ("--workspace", shared_run.path.parent.parent)
    shared_run.path.chmod(0o755)
    before = sorted(shared_run.path.iterdir())
    for command in (("tag", "one", "--add", "x"), ("note", "one", "x")):
        assert "labels.json: Permission denied" in as_nobody(*command, *here).refused()
    assert sorted(shared_run.path.iterdir()) == before


@pytest.mark.heavy
def test_another_user_makes_a_matrix_of_a_run_whose_record_he_may_not_touch(
    finished, open_workspace
):
    shutil.copytree(finished, open_workspace, dirs_exist_ok=True)
    run = RunDirectory(open_workspace / "runs/sound_0")
    run.path.chmod(0o777)
    place = ("--device", "cpu", "--workspace", open_workspace)
    as_nobody("matrix", "sound_0", "--dataset", "sound", *place).done()
    assert run.matrix_names() == ["sound"]


@pytest.mark.slow
def test_a_file_is_written_also_where_permissions_cannot_be_set(tmp_path):
    if shutil.which("strace") is None:
        pytest.skip("strace, which lets system calls fail, is not installed")
    script = (
        "import sys, pathlib; from qexp.base.formats import write_json;"
        " write_json(pathlib.Path(sys.argv[1]), [1])"
    )
    calls = "chmod,fchmodat,fchmod"
    command = [
        "strace",
        "-f",
        "-o",
        "/dev/null",
        "-e",
        f"trace={calls}",
        "-e",
        f"inject={calls}:error=EPERM",
    ]
    subprocess.run([*command, sys.executable, "-c", script, tmp_path / "file.json"], check=True)
    assert formats.read_json(tmp_path / "file.json") == [1]


# The lock itself

HOLD = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.heavy
def test_a_lock_that_another_user_made_is_replaced_when_nobody_holds_it_and_not_before(shared_run):
    file = shared_run.path / "labels.json"
    lock = file.with_name("labels.json.lock")
    lock.touch(mode=0o644)
    here = ("--workspace", shared_run.path.parent.parent)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLD, lock], text=True, **pipes) as holder:
        assert holder.stdout.readline() == "held\n"
        inode = lock.stat().st_ino
        with lock.open() as opened, pytest.raises(BlockingIOError):
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        script = (
            "import sys; from tests.runs.elsewhere import as_nobody;"
            " print(as_nobody(*sys.argv[1:]))"
        )
        command = [sys.executable, "-c", script, "tag", "one", "--add", "x", *map(str, here)]
        waiting = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )
        until(lambda: _waits_for(lock), "that somebody else looks at the lock")
        assert (lock.stat().st_ino, file.exists()) == (inode, False)
        holder.communicate("\n")
        assert "code=0" in waiting.communicate()[0]
    assert formats.read_json(file)["tags"] == ["x"]
    assert stat.S_IMODE(lock.stat().st_mode) == 0o666


def _waits_for(lock: Path) -> bool:
    """Whether a process of the user nobody has the lock's file open."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == NOBODY and lock in [
                path.readlink() for path in process.glob("fd/*")
            ]:
                return True
        except OSError:
            continue
    return False


@pytest.mark.parametrize("mode", [0o755, 0o775, 0o777])
def test_who_may_write_to_a_folder_may_lock_in_it(tmp_path, mode):
    tmp_path.chmod(mode)
    with locked(tmp_path / "file", 1.0):
        pass
    assert stat.S_IMODE((tmp_path / "file.lock").stat().st_mode) == mode & 0o666


@pytest.mark.heavy
def test_catalogs_are_brought_up_to_date_by_whoever_lists(open_workspace, qexp):
    here = ("--workspace", open_workspace)
    write_record(open_workspace, "a")
    assert qexp("ls", "-q", *here) == (0, "a\n", "")
    (open_workspace / "runs/catalog.json.lock").chmod(0o644)
    write_record(open_workspace, "b")
    assert as_nobody("ls", "-q", *here) == (0, "a\nb\n", "")
    rows = json.loads((open_workspace / "runs/catalog.json").read_text())["runs"].values()
    assert sorted(row["summary"]["name"] for row in rows) == ["a", "b"]
