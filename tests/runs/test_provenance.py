"""What is kept of the code, the parents and the machine that made a run."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qexp.store import provenance
from qexp.store.record import CodeState


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    command = ["git", *who, "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def repository(tmp_path) -> Path:
    """A workspace under version control, with a commit."""
    root = tmp_path / "repository"
    (root / "specs").mkdir(parents=True)
    (root / "specs/a.json").write_text('{"a": 1}\n')
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    return root


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "code").mkdir()
    return tmp_path / "code"


def test_of_a_clean_checkout_the_commit_says_all(repository, folder):
    state = provenance.keep_code_state(repository, folder)
    commit = git(repository, "rev-parse", "HEAD").strip()
    assert state == CodeState(commit=commit, dirty=False, untracked=(), untracked_left_out=())
    assert not (folder / "changes.diff").exists()


def test_commit_diff_and_small_files_bring_the_code_back(repository, folder, tmp_path):
    (repository / "specs/a.json").write_text('{"a": "größer als 1"}\n')
    (repository / "specs/b.json").write_text('{"b": 2}\n')
    state = provenance.keep_code_state(repository, folder)
    assert state.dirty is True
    assert state.diff == hashlib.sha256((folder / "changes.diff").read_bytes()).hexdigest()

    again = tmp_path / "again"
    git(tmp_path, "clone", "-q", str(repository), str(again))
    git(again, "checkout", "-q", state.commit)
    git(again, "apply", str(folder / "changes.diff"))
    shutil.copytree(folder / "untracked", again, dirs_exist_ok=True)
    for name in ("a.json", "b.json"):
        assert (again / "specs" / name).read_bytes() == (repository / "specs" / name).read_bytes()


def test_a_diff_is_the_same_whatever_the_users_git_is_set_to(repository, folder, tmp_path):
    (repository / "specs/a.json").write_text("{}\n")
    plain = provenance.keep_code_state(repository, folder).diff
    for key, value in [
        ("color.diff", "always"),
        ("diff.noprefix", "true"),
        ("diff.external", "echo"),
    ]:
        git(repository, "config", key, value)
    (tmp_path / "other").mkdir()
    assert provenance.keep_code_state(repository, tmp_path / "other").diff == plain


def test_what_is_too_large_to_copy_is_listed_with_its_size(repository, folder, monkeypatch):
    monkeypatch.setattr(provenance, "LARGEST_COPIES", 250)
    monkeypatch.setattr(provenance, "LARGEST_COPY", 100)
    for name, size in {"a": 100, "b": 101, "c": 100, "d": 60, "e": 50}.items():
        (repository / name).write_bytes(b"x" * size)
    (repository / "link").symlink_to("a")
    (repository / "nested").mkdir()
    git(repository / "nested", "init", "-q")
    state = provenance.keep_code_state(repository, folder)
    assert state.untracked == ("a", "c", "e")
    left_out = {file.name: file.bytes for file in state.untracked_left_out}
    assert {"b": 101, "d": 60, "link": None}.items() <= left_out.items()
    assert sorted(path.name for path in (folder / "untracked").iterdir()) == ["a", "c", "e"]


def test_of_hundreds_of_files_the_rest_is_counted_and_changes_of_a_submodule_are_kept(
    repository, folder, tmp_path
):
    git(tmp_path, "clone", "-q", str(repository), "other")
    git(
        repository,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "add",
        "-q",
        str(tmp_path / "other"),
        "sub",
    )
    git(repository, "commit", "-qm", "with a submodule")
    (repository / "sub/specs/a.json").write_text('{"a": "elsewhere"}\n')
    for number in range(provenance.MOST_LISTED + 30):
        (repository / f"file_{number:03d}").write_text("")
    state = provenance.keep_code_state(repository, folder)
    assert (len(state.untracked), [file.name for file in state.untracked_left_out]) == (
        200,
        ["30 more files"],
    )
    git(repository / "sub", "checkout", "-q", ".")
    git(repository, "apply", str(folder / "changes.diff"))
    assert "elsewhere" in (repository / "sub/specs/a.json").read_text()


def test_names_that_are_no_text_or_hold_odd_characters_are_kept(repository, folder):
    from qexp.base.formats import json_bytes

    names = [b"line\nbreak", b"\xff\xfe", "größe 'x' $y".encode(), b"-rf"]
    for name in names:
        (repository / os.fsdecode(name)).write_bytes(name)
    state = provenance.keep_code_state(repository, folder)
    assert len(state.untracked) == len(names)
    assert {path.read_bytes() for path in (folder / "untracked").iterdir()} == set(names)
    json_bytes(state)


def test_what_runs_produce_and_what_git_ignores_is_no_code(repository, folder):
    (repository / ".gitignore").write_text("secret\n")
    for name in ("runs/one/run.json", "comparisons/a.png", "data/table.csv", "secret"):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text("x")
    assert provenance.keep_code_state(repository, folder).untracked == (".gitignore",)


def test_outside_of_a_repository_and_before_its_first_commit_there_is_no_commit(tmp_path, folder):
    assert provenance.keep_code_state(tmp_path, folder) == CodeState()
    git(tmp_path, "init", "-q")
    assert provenance.keep_code_state(tmp_path, folder) == CodeState()


OWN_CODE = "import json; from qexp.store.provenance import own_code; print(json.dumps(own_code()))"


@pytest.mark.heavy
def test_the_source_of_qexp_has_a_digest_that_any_change_of_it_changes(tmp_path):
    shutil.copytree(
        provenance.PACKAGE, tmp_path / "qexp", ignore=shutil.ignore_patterns("__pycache__")
    )

    def own_code() -> dict[str, str | None]:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-c", OWN_CODE]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment
        )
        return json.loads(done.stdout)

    before = own_code()
    assert before["commit"] is None
    assert own_code() == before
    (tmp_path / "qexp/spec/schemas" / "another.json").write_text("{}")
    after = own_code()
    assert after["source"] != before["source"]
    # Inside somebody's repository, but no part of it, as in a virtual environment.
    (tmp_path / ".gitignore").write_text("qexp\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".gitignore")
    git(tmp_path, "commit", "-qm", "not qexp")
    assert own_code() == after
    git(tmp_path, "add", "-f", "qexp")
    git(tmp_path, "commit", "-qm", "qexp")
    assert own_code() == {**after, "commit": git(tmp_path, "rev-parse", "HEAD").strip()}


def test_variables_that_change_results_are_kept_and_no_others(monkeypatch):
    kept = {
        "OMP_NUM_THREADS": "3",
        "MKL_CBWR": "AVX2",
        "CUDA_VISIBLE_DEVICES": "",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "PYTHONHASHSEED": "0",
        "QEXP_WORKSPACE": "/x",
    }
    for name, value in {
        **kept,
        "AWS_SECRET_ACCESS_KEY": "secret",
        "MY_OMP_X": "1",
        "HOME_OMP": "2",
    }.items():
        monkeypatch.setenv(name, value)
    found = provenance.variables()
    assert kept.items() <= found.items()
    assert not {"AWS_SECRET_ACCESS_KEY", "MY_OMP_X", "HOME_OMP"} & found.keys()


def test_a_run_keeps_its_machine_packages_and_the_command_of_every_attempt_and_show_tells_them(
    finished, qexp
):
    run = finished / "runs/sound_0"
    environment = json.loads((run / "environment.json").read_text())
    assert environment["packages"].keys() >= {"torch", "numpy", "qexp"}
    assert environment["python"] == sys.version
    assert environment["usable_cores"] <= environment["cores"]
    others = {
        "host",
        "platform",
        "processor",
        "instructions",
        "device",
        "threads",
        "variables",
        "accelerator",
    }
    assert environment.keys() >= others
    assert environment["qexp"].keys() == provenance.own_code().keys()
    assert json.loads((run / "attempts/01/command.json").read_text()).keys() == {
        "argv",
        "directory",
        "process",
    }
    shown = qexp("show", "sound_0", "--workspace", finished).done()
    assert "torch" in shown
    assert "1 thread" in shown


def test_show_does_without_an_environment_that_is_gone_or_damaged(finished, tmp_path, qexp):
    run = tmp_path / "sound_0"
    shutil.copytree(finished / "runs/sound_0", run)
    for text in ("{", "[]", "{}", None):
        (
            (run / "environment.json").unlink()
            if text is None
            else (run / "environment.json").write_text(text)
        )
        assert qexp("show", run, "--workspace", finished).code == 0
