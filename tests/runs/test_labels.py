"""Tags and notes can be changed at any time, by anybody, and are never lost to the process that
writes the record.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import qexp as qexp_package
from qexp.base.workspace import Workspace
from qexp.errors import QexpError
from qexp.runs.launch import check_order, open_launch
from qexp.store import directory
from qexp.store.directory import RunDirectory
from qexp.store.record import State
from tests.conftest import mounted
from tests.runs.test_catalog import write_record


def tags(directory) -> list[str]:
    return list(RunDirectory(directory).record().tags)


def test_tags_are_added_removed_and_listed(workspace, qexp):
    for name in ("a", "b"):
        write_record(workspace, name)
    assert qexp("tag", "a", "b", "--add", "good", "--add", "paper_1.0-x") == (0, "", "")
    assert qexp("tag", "b", "--remove", "good", "--add", "final") == (0, "", "")
    assert qexp("tag", "b", "--remove", "finale") == (
        0,
        "",
        "b has no tag 'finale'; did you mean 'final'?\n",
    )
    stdout = qexp("tag", "a", "b").quiet()
    assert [line.split() for line in stdout.splitlines()] == [
        ["name", "tags"],
        ["a", "good", "paper_1.0-x"],
        ["b", "paper_1.0-x", "final"],
    ]


def test_a_tag_is_there_once_and_one_that_is_not_there_may_be_taken_away_but_none_added_and_removed(
    workspace, qexp
):
    run = write_record(workspace, "a")
    directory.retag(run, add=["x", "x"])
    directory.retag(run, add=["x"], remove=["y"])
    assert "at once" in qexp("tag", "a", "--add", "x", "--remove", "x").failed()
    assert tags(run) == ["x"]


@pytest.mark.parametrize("word", ["two words", "a,b", "a/b", "ü", "a\n", "a'b", "[x]"])
def test_a_word_that_cannot_be_a_tag_is_refused_and_nothing_changed(workspace, qexp, word):
    run = write_record(workspace, "a")
    stderr = qexp("tag", "a", "--add", "fine", f"--add={word}").failed()
    assert f"{word!r} is not a valid tag; use letters, digits" in stderr
    assert tags(run) == []


def test_runs_are_chosen_by_their_tags_from_the_next_listing_on(workspace, qexp):
    for name in ("a", "b", "c"):
        write_record(workspace, name)
    assert qexp("ls", "-q", "--tag", "good").stdout == ""
    qexp("tag", "a", "b", "--add", "good")
    qexp("tag", "b", "c", "--add", "paper")
    assert qexp("ls", "-q", "--tag", "good").stdout.split() == ["a", "b"]
    assert qexp("ls", "-q", "--tag", "good", "--tag", "paper").stdout.split() == ["b"]
    assert qexp("ls", "-q", "--where", "'paper' in tags").stdout.split() == ["b", "c"]
    assert "good paper" in qexp("ls").stdout


@pytest.fixture(params=["here", "on a disk that keeps whole seconds"])
def on_a_disk(request: pytest.FixtureRequest, workspace: Path, tmp_path: Path) -> Iterator[Path]:
    """The workspace, maybe with its runs on a disk as old ones are."""
    if request.param == "here":
        yield workspace
        return
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not installed")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(8_000_000)
    subprocess.run(["mkfs.ext4", "-q", "-I", "128", image], check=True, capture_output=True)
    (workspace / "runs").mkdir()
    with mounted("-o", "loop", str(image), str(workspace / "runs")):
        yield workspace


def test_every_single_change_is_seen_however_fast_they_follow(on_a_disk, qexp):
    """Two changes within one tick of the file system's clock may give files of one size and one
    inode.
    """
    run = write_record(on_a_disk, "a")
    for index in range(12):
        directory.retag(
            run, add=["even" if index % 2 else "odds"], remove=["odds" if index % 2 else "even"]
        )
        if index % 3:
            assert qexp("ls", "-q", "--tag", "even").stdout == ("a\n" if index % 2 else "")


def test_a_note_is_written_printed_replaced_and_taken_away(workspace, qexp):
    write_record(workspace, "a")
    assert qexp("note", "a") == (0, "", "")
    for text in ("a fine run", "two\nlines, ünïcode ν 🙂", "-5 dB"):
        assert qexp("note", "a", "--", text) == (0, "", "")
        assert qexp("note", "a") == (0, f"{text}\n", "")
        assert json.loads(qexp("ls", "--json").stdout)[0]["note"] == text
    assert qexp("note", "a", "") == (0, "", "")
    assert qexp("note", "a") == (0, "", "")
    assert "a note must be text" in qexp("note", "a", "broken \udcff byte").failed()


def test_what_is_shown_of_a_run_holds_its_tags_and_its_note(finished, tmp_path, qexp):
    here = ("--workspace", shutil.copytree(finished, tmp_path / "copy"))
    qexp("tag", "sound_0", "--add", "good", "--add", "paper", *here)
    qexp("note", "sound_0", "looks well", *here)
    lines = [line.split(maxsplit=1) for line in qexp("show", "sound_0", *here).stdout.splitlines()]
    assert ["tags", "good, paper"] in lines
    assert ["note", "looks well"] in lines


def test_the_process_that_writes_the_record_neither_undoes_labels_nor_is_written_over(workspace):
    run = RunDirectory(
        write_record(
            workspace, "a", state="running", seconds=0.0, tags=["old", "kept"], note="a start"
        )
    )
    held_by_the_process = run.record()
    directory.retag(run.path, add=["good"], remove=["old"])
    assert run.record().note == "a start"
    directory.annotate(run.path, "looks well")
    run.write(replace(held_by_the_process, state=State.DONE, seconds=7.0))
    record = run.record()
    assert (record.state, record.seconds, record.tags, record.note) == (
        State.DONE,
        7.0,
        ("kept", "good"),
        "looks well",
    )


@pytest.mark.heavy
def test_of_many_who_tag_at_once_nobody_undoes_anothers_change(workspace):
    run = write_record(workspace, "a")
    script = (
        "import sys; from pathlib import Path; from qexp.store.directory import retag\n"
        "for index in range(10): retag(Path(sys.argv[1]), add=[f't{sys.argv[2]}_{index}'])\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(run), str(number)])
        for number in range(5)
    ]
    assert [process.wait() for process in processes] == [0] * 5
    assert sorted(tags(run)) == sorted(
        f"t{number}_{index}" for number in range(5) for index in range(10)
    )


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"tags": "good"}', '{"tags": [1]}', '{"state": "done"}']
)
def test_damaged_labels_are_named_and_hide_no_other_run(workspace, qexp, content):
    for name in ("a", "b"):
        write_record(workspace, name)
    (workspace / "runs/b/labels.json").write_text(content)
    code, stdout, stderr = qexp("ls", "-q")
    assert (code, stdout) == (0, "a\nb\n")
    assert qexp("ls", "-q", "--status", "damaged").stdout == "b\n"
    assert "runs/b/labels.json" in stderr
    assert "runs/b/labels.json" in qexp("tag", "b", "--add", "x").failed(5)


def test_labels_of_a_run_that_is_gone_leave_nothing_behind(workspace):
    with pytest.raises(QexpError, match="is not a run"):
        directory.retag(workspace / "runs/none", add=["x"])
    assert not (workspace / "runs/none").exists()


def test_labels_go_with_a_run_that_is_stored_elsewhere(workspace, tmp_path, qexp):
    elsewhere = write_record(tmp_path / "large disk", "a")
    (workspace / "runs").mkdir()
    (workspace / "runs/a").symlink_to(elsewhere)
    assert qexp("tag", "a", "--add", "far").code == 0
    assert tags(elsewhere) == ["far"]
    assert qexp("ls", "-q", "--tag", "far").stdout == "a\n"
    assert qexp("where", "a") == (0, f"{elsewhere.resolve()}\n", "")


@pytest.mark.heavy
def test_a_run_gets_its_tags_and_note_when_it_is_started_and_more_when_it_is_started_again(
    specs, qexp
):
    for word in ("--tag=a b", "--tag="):
        assert qexp("run", "sound", "--device", "cpu", word).code == 2
    assert not (specs.root / "runs").exists()
    assert (
        qexp(
            "run",
            "sound",
            "--device",
            "cpu",
            "--tag",
            "good",
            "--tag",
            "first",
            "--note",
            "the first",
        ).code
        == 0
    )
    record = RunDirectory(specs.root / "runs/sound_0").record()
    assert (record.tags, record.note) == (("good", "first"), "the first")
    assert qexp("ls", "--tag", "first", "-q").stdout == "sound_0\n"
    sweep = ("run", "sound", "--seeds", "0:2", "--device", "cpu", "--tag", "all")
    assert qexp(*sweep).code == 0
    assert tags(specs.root / "runs/sound_0") == ["good", "first"], "it was done before"
    assert tags(specs.root / "runs/sound_1") == ["all"]


def test_a_run_that_was_prepared_before_gets_the_tags_of_the_order_that_starts_it(specs):
    order = qexp_package.Order("sound", seeds=range(2), device="cpu", tags=["late"], note="again")
    checked_order = check_order(replace(order, tags=["early"], note=""), Workspace(specs.root))
    open_launch(checked_order, Workspace(specs.root))
    for run in specs.root.glob("runs/sound_*"):
        RunDirectory(run).write(
            replace(RunDirectory(run).record(), state=State.CREATED, launch=None)
        )
    open_launch(check_order(order, Workspace(specs.root)), Workspace(specs.root))
    for run in specs.root.glob("runs/sound_*"):
        assert tags(run) == ["early", "late"]
        assert RunDirectory(run).record().note == "again"
