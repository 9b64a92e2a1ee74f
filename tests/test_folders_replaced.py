"""A folder is replaced as a whole or not at all, whenever the process that replaces it is
killed.
"""

import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import Process, get_context

import pytest

from qexp.base import folders
from qexp.errors import QexpError

WATCHED = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "open")
"""What may be the last thing that a process does."""


@pytest.fixture(params=["exchanged", "renamed"])
def system(request, monkeypatch):
    """With the system call that exchanges two names, and as on file systems and systems without
    it.
    """
    if request.param == "renamed":
        monkeypatch.setattr(folders, "_renameat2", lambda: None)
    elif folders._renameat2() is None:
        pytest.skip("this system cannot exchange two names")


def folder(path, text):
    path.mkdir(exist_ok=True)
    for name in ("file", "other"):
        (path / name).write_text(text)
    return path


def replace(target):
    with folders.drafted(target) as draft:
        folders.put(folder(draft, "new"), target)


def killed_before(step: int, work: Callable[[], None]) -> bool:
    """Do something in a process that is killed before its step of that number; False if it has
    ended before.
    """

    def until_killed():
        count = 0

        def count_down(event, _):
            nonlocal count
            if event in WATCHED:
                count += 1
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count_down)
        work()
        os._exit(0)

    process: Process = get_context("fork").Process(target=until_killed)
    process.start()
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def contents(target):
    return {path.name: path.read_text() for path in target.iterdir()}


def test_a_folder_gets_its_name_and_the_old_one_is_gone(tmp_path, system):
    for there_is_one in (False, True):
        if there_is_one:
            folder(tmp_path / "place", "old")
        replace(tmp_path / "place")
        assert contents(tmp_path / "place") == {"file": "new", "other": "new"}
        assert [path.name for path in tmp_path.iterdir()] == ["place"]


@pytest.mark.heavy
def test_killed_at_any_moment_the_old_or_the_new_folder_is_there_after_the_next_command(
    tmp_path, system
):
    ended, step = set(), 1
    while True:
        here = tmp_path / str(step)
        here.mkdir()
        target = folder(here / "place", "old")
        if not killed_before(step, lambda target=target: replace(target)):
            break
        lost = not target.exists()
        leftovers = [path for path in here.iterdir() if folders.is_leftover(path)]
        assert not lost or any(folders.is_lost(path) for path in leftovers)
        folders.clear(target)
        assert contents(target) in [{"file": text, "other": text} for text in ("old", "new")]
        assert [path.name for path in here.iterdir()] == ["place"]
        ended.add((lost, (target / "file").read_text()))
        step += 1
    assert {(False, "old"), (False, "new")} <= ended
    assert step > 8
    if folders._renameat2() is None:
        assert (True, "old") in ended, "it was never killed between the two renames"


@pytest.mark.heavy
def test_killed_while_it_clears_a_process_loses_nothing(tmp_path, system):
    for step in range(1, 30):
        here = tmp_path / str(step)
        here.mkdir()
        folder(here / ".place.0123abcd.former", "old")
        folder(here / ".place.4567abcd.draft", "new")
        there = killed_before(step, lambda here=here: folders.clear(here / "place"))
        folders.clear(here / "place")
        assert contents(here / "place") == {"file": "old", "other": "old"}
        assert [path.name for path in here.iterdir()] == ["place"]
        if not there:
            break
    assert step > 3


def test_the_old_folder_is_back_if_the_draft_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "_renameat2", lambda: None)
    folder(tmp_path / "place", "old")
    with pytest.raises(FileNotFoundError):
        folders.put(tmp_path / "draft", tmp_path / "place")
    assert contents(tmp_path / "place") == {"file": "old", "other": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_a_file_is_not_replaced_by_a_folder(tmp_path, system):
    (tmp_path / "place").write_text("a file")
    with pytest.raises(NotADirectoryError):
        replace(tmp_path / "place")
    assert (tmp_path / "place").read_text() == "a file"
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_a_draft_at_work_is_left_and_a_former_folder_that_is_all_there_is_is_not_deleted(tmp_path):
    former = folder(tmp_path / ".place.0123abcd.former", "old")
    with pytest.raises(QexpError, match="all that there is"):
        folders.delete(former)
    with folders.drafted(tmp_path / "place") as draft:
        assert not folders.is_leftover(draft)
        with pytest.raises(QexpError, match="at work"):
            folders.delete(draft)
        folders.clear(tmp_path / "place")
        assert draft.exists()
    assert contents(tmp_path / "place") == {"file": "old", "other": "old"}


@pytest.mark.heavy
def test_many_who_replace_a_folder_at_once_leave_one_whole_folder(tmp_path, system):
    target = tmp_path / "place"

    def again():
        for _ in range(30):
            replace(target)

    several = [get_context("fork").Process(target=again) for _ in range(4)]
    for process in several:
        process.start()
    for process in several:
        process.join(120)
    assert [process.exitcode for process in several] == [0] * 4
    assert contents(target) == {"file": "new", "other": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_half_written_files_are_deleted_after_an_hour_and_no_others(tmp_path, monkeypatch):
    kept = {"a.nc", ".b.nc.0123abcd.nc", ".a.nc.notes"}
    left = {".a.nc.0123abcd.nc", ".a.nc.89ab4567"}
    for name in kept | left:
        (tmp_path / name).touch()
    folders.clear(tmp_path / "a.nc")
    assert folders.names_in(tmp_path) == kept | left  # a process may be at work on them
    monkeypatch.setattr(folders, "STALE_SECONDS", -1.0)
    folders.clear(tmp_path / "a.nc")
    assert folders.names_in(tmp_path) == kept
