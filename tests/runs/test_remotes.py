"""Runs go to a remote and come back whole, or not at all; what is there is never replaced by
something else.
"""

import errno
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import qexp as package
from qexp.base.workspace import Workspace
from qexp.errors import DamagedError
from qexp.remotes import transfer
from qexp.remotes.place import open_remote, place_of, without_secrets
from tests.conftest import mounted, prepare_with, started
from tests.runs import servers
from tests.runs.conftest import contents, running

pytestmark = pytest.mark.slow


@pytest.fixture
def there(here: Path, tmp_path: Path) -> Path:
    """Another workspace, with specs and without runs."""
    shutil.copytree(here / "specs", tmp_path / "there/specs")
    return tmp_path / "there"


@pytest.fixture(params=["folder", "s3", "ssh"])
def lab(
    request: pytest.FixtureRequest,
    here: Path,
    there: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[servers.Cut | None]:
    """A remote that both workspaces call `lab`: what cuts the connections to it, None for a
    folder.
    """
    cut = None
    with ExitStack() as stack:
        if request.param == "folder":
            settings = f'url = "{tmp_path}/remote"'
        elif request.param == "s3":
            for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "DEFAULT_REGION"):
                monkeypatch.setenv(f"AWS_{name}", "us-east-1")
            cut = servers.Cut(stack.enter_context(servers.s3(tmp_path)))
            settings = (
                f'url = "s3://lab/of_us"\noptions.endpoint_url = "http://127.0.0.1:{cut.port}"'
            )
        else:
            port, let_in = stack.enter_context(servers.ssh(tmp_path))
            cut, known = servers.Cut(port), tmp_path / "known_hosts"
            known.write_text(known.read_text().replace(f":{port} ", f":{cut.port} "))
            options = "".join(
                f"\noptions.{key} = {json.dumps(value)}" for key, value in let_in.items()
            )
            settings = f'url = "ssh://127.0.0.1:{cut.port}{tmp_path}/remote"{options}'
        for workspace in (here, there):
            (workspace / "qexp.toml").write_text(f"[remotes.lab]\n{settings}\n")
        yield cut


def add_run(workspace: Path, name: str, size: int = 0) -> Path:
    """A copy of sound_0 that was prepared at another time, and has a file of random bytes."""
    run = workspace / "runs" / name
    shutil.copytree(workspace / "runs/sound_0", run)
    change_record(run, name=name, created=f"2026-01-01T00:00:{random.randrange(10**6) / 1e4:09.6f}")
    (run / "more.bin").write_bytes(random.randbytes(size))
    return run


def change_record(run: Path, **changes: object) -> None:
    (run / "run.json").write_text(
        json.dumps({**json.loads((run / "run.json").read_text()), **changes})
    )


def but_for_import(run: Path) -> dict[str, object]:
    record = json.loads((run / "run.json").read_text())
    return {**contents(run), "run.json": {**record, "imported": None, "launch": None, "name": ""}}


def test_more_than_a_version_says_is_never_written_and_what_is_no_file_is_not_waited_for(
    lab, here, there, tmp_path, qexp
):
    qexp("push", "lab").done()
    remote = open_remote("lab", Workspace(here))
    sha256 = "ab" + 62 * "0"
    target = tmp_path / "content"
    remote.write(place_of(sha256), random.randbytes(3_000_000))
    with pytest.raises(DamagedError, match="is damaged or gone"):
        remote.fetch({target: (sha256, 10)}, lambda: None)
    assert not target.exists() or target.stat().st_size <= 10
    if lab is None:
        for name in ("runs/sound_0~2.json", "qexp-remote.json"):
            (tmp_path / "remote" / name).unlink(missing_ok=True)
            os.mkfifo(tmp_path / "remote" / name)
            assert f"{name} is no regular file" in qexp("pull", "lab", "--workspace", there).failed(
                5
            )


@pytest.mark.heavy
def test_runs_arrive_as_they_were_are_sent_once_and_are_listed_with_their_results(
    lab, here, there, qexp
):
    add_run(here, "other", 3000)
    (here / "runs/other/empty").mkdir()
    assert "2 runs pushed" in qexp("push", "lab").messages()
    assert qexp("push", "lab").messages() == "0 runs pushed, 2 there already\n"
    listed = json.loads(qexp("ls", "--remote", "lab", "--json", "--workspace", there).done())
    ours = json.loads(qexp("ls", "--json").done())
    assert [{**run, "path": ""} for run in listed] == [{**run, "path": ""} for run in ours]
    assert (
        qexp(
            "ls", "-q", "--remote", "lab", "--where", "test.depth.mae < 0", "--workspace", there
        ).done()
        == ""
    )
    assert "2 runs pulled" in qexp("pull", "lab", "--workspace", there).messages()
    for name in ("sound_0", "other"):
        assert but_for_import(there / "runs" / name) == but_for_import(here / "runs" / name)
    assert (there / "runs/other/empty").is_dir()
    assert (
        qexp("pull", "lab", "--workspace", there).messages() == "0 runs pulled, 2 there already\n"
    )
    assert (
        qexp("push", "lab", "--workspace", there).messages() == "0 runs pushed, 2 there already\n"
    )
    assert qexp("doctor", "--workspace", there).done() == ""
    if lab:
        lab.after(0)
        assert (
            "lab" in (said := qexp("pull", "lab", "--workspace", there).refused())
            or "127.0.0.1" in said
        )
        assert "cannot be reached" in said


def test_a_bar_begins_with_the_first_run_and_not_behind_it(here, there, tmp_path):
    counts: list[tuple[int, int]] = []
    package.push(
        str(tmp_path / "remote"), workspace=here, count=lambda done, of: counts.append((done, of))
    )
    package.pull(
        str(tmp_path / "remote"), workspace=there, count=lambda done, of: counts.append((done, of))
    )
    assert counts == [(0, 1), (1, 1)] * 2


def test_it_is_said_that_a_run_of_very_many_files_takes_long(
    here, there, tmp_path, monkeypatch, qexp
):
    monkeypatch.setattr(transfer, "MANY_FILES", 3)
    for workspace in (here, there):
        (workspace / "qexp.toml").write_text(f'[remotes.lab]\nurl = "{tmp_path}/remote"\n')
    qexp("push", "lab").done()
    with pytest.warns(UserWarning, match="sound_0 has 1. files, which may take minutes"):
        qexp("pull", "lab", "--workspace", there).done()


def test_what_went_on_is_updated_and_changes_on_both_sides_and_other_runs_are_refused(
    here, there, tmp_path, qexp
):
    remote = str(tmp_path / "remote")
    qexp("push", remote).done()
    qexp("pull", remote, "--workspace", there).done()
    qexp("tag", "sound_0", "--add", "good").done()
    assert "1 run pushed (1 file" in qexp("push", remote, "sound_0").messages()
    assert "1 run pulled" in qexp("pull", remote, "--workspace", there).messages()
    assert package.open_run("sound_0", workspace=there).record["tags"] == ["good"]
    qexp("note", "sound_0", "of ours").done()
    qexp("note", "sound_0", "of theirs", "--workspace", there).done()
    assert "1 run pushed" in qexp("push", remote, "--workspace", there).messages()
    assert "was changed in" in qexp("push", remote).failed()
    assert "differs from what is here" in qexp("pull", remote).failed()
    assert "1 run pulled" in qexp("pull", remote, "sound_0", "--name", "theirs").messages()
    assert "1 run pushed" in qexp("push", remote, "sound_0", "--name", "ours").messages()
    assert [package.open_run(name).record["note"] for name in ("sound_0", "theirs")] == [
        "of ours",
        "of theirs",
    ]

    before = contents(tmp_path / "remote")
    change_record(there / "runs/sound_0", created="2020-01-01")
    said = qexp("push", remote, "--workspace", there).failed()
    assert "has another run sound_0, prepared at" in said
    assert "--name" in said
    assert (
        "is another run than sound_0 here"
        in qexp("pull", remote, "sound_0", "--workspace", there).failed()
    )
    assert contents(tmp_path / "remote") == before


def test_a_version_of_another_run_replaces_none_and_what_a_newer_version_replaces_is_in_the_trash(
    here, there, tmp_path, qexp
):
    remote = tmp_path / "remote"
    add_run(here, "other")
    qexp("push", remote).done()
    qexp("pull", remote, "sound_0", "--workspace", there).done()
    qexp("tag", "sound_0", "--add", "good").done()
    qexp("push", remote, "sound_0").done()
    was = contents(there / "runs/sound_0")
    qexp("pull", remote, "sound_0", "--workspace", there).done()
    (trashed,) = (there / "runs/.trash").glob("sound_0--*")
    assert contents(trashed) == was

    was = contents(there / "runs/sound_0")
    shutil.copy(remote / "runs/other~1.json", remote / "runs/sound_0~3.json")
    said = qexp("pull", remote, "sound_0", "--workspace", there).failed()
    assert "is another run than sound_0 here; pull it under another name with --name" in said
    assert contents(there / "runs/sound_0") == was


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ssh://user:p@ssSECRET@lab:22/home/r", "ssh://lab:22/home/r"),
        ("ssh://u:pa/ssSECRET@lab/home/r", "ssh://lab/home/r"),
        ("s3://KEY:SECRET/cd@bucket/of@us", "s3://us"),
        ("https://lab/r?token=SECRET", "https://lab/r"),
        ("ssh://u:1234/SECRET@host/r", "ssh://host/r"),
        ("ssh://u:pa?SECRET@host/r", "ssh://host/r"),
        ("ssh://u:12?SECRET@host/r", "ssh://host/r"),
        ("sftp://u:SECRET#1@host/r", "sftp://host/r"),
        ("https://lab/r;token=SECRET", "https://lab/r"),
        ("https://lab:80/r#SECRET@x", "https://lab:80/r"),
        ("ssh://lab:2299/home/me@work/r", "ssh://lab:2299/home/me@work/r"),
        ("s3://bucket/of@us", "s3://bucket/of@us"),
        ("/home/a@b/r", "/home/a@b/r"),
    ],
)
def test_no_part_of_a_password_is_shown(url, shown):
    assert without_secrets(url) == shown


def test_no_error_of_an_address_shows_its_password(here, qexp):
    for url in (
        "sftp://u:SECRET#1@host/r",
        "ssh://u:pa?SECRET@host:x/r",
        "no://u:SECRET@host/r?SECRET",
    ):
        said = qexp("push", url, "sound_0").failed(2)
        assert "cannot be used" in said
        assert "SECRET" not in said


def test_a_launch_comes_with_its_runs_and_their_code_which_is_not_executed(
    here, there, tmp_path, qexp
):
    launch = here / "runs/.launches/20260101-000000/launch.json"
    launch.parent.mkdir(parents=True)
    record = {
        "id": launch.parent.name,
        "launcher": "slurm",
        "runs": ["sound_0"],
        "settings": {"partition": "big"},
    }
    launch.write_text(json.dumps({**record, "created": "2026-01-01", "argv": ["qexp", "run"]}))
    (here / "runs/sound_0/code").mkdir(exist_ok=True)
    (here / "runs/sound_0/code/extensions.py").write_text("raise SystemExit(99)")
    prepare_with(here / "runs/sound_0", lambda spec: None)
    change_record(add_run(here, "busy"), **running())
    remote = str(tmp_path / "remote")
    assert "1 run pushed" in qexp("push", remote, "--launch", "last").messages()
    assert "busy is running; it can be pushed when it has ended" in qexp("push", remote).failed(4)
    assert (
        "1 run pulled" in qexp("pull", remote, "--launch", "2026", "--workspace", there).messages()
    )
    assert qexp("ls", "-q", "--launch", "last", "--workspace", there).done() == "sound_0\n"
    pulled = json.loads((there / "runs/.launches/20260101-000000/launch.json").read_text())
    assert (pulled["launcher"], pulled["settings"]) == ("local", {})
    assert package.open_run("sound_0", workspace=there).record["imported"]["code_trusted"] is False


def test_a_damaged_file_is_named_never_pulled_and_repaired_by_a_push_with_check(
    here, there, tmp_path, qexp
):
    remote = tmp_path / "remote"
    qexp("push", remote).done()
    weights = max((remote / "objects").rglob("*/*"), key=lambda path: path.stat().st_size)
    sound = weights.read_bytes()
    for damage in (sound[:-1], sound + sound, bytes([sound[0] ^ 1]) + sound[1:], None):
        weights.unlink() if damage is None else weights.write_bytes(damage)
        assert f"{weights.name} is damaged or gone" in qexp(
            "pull", str(remote), "--workspace", there
        ).failed(5)
        assert not (there / "runs/sound_0").exists()
        assert "(1 file" in qexp("push", str(remote), "--check").messages()
        assert weights.read_bytes() == sound
    assert "1 run pulled" in qexp("pull", str(remote), "--workspace", there).messages()


def test_a_content_that_was_cut_off_in_a_remote_is_sent_again_with_the_next_version_that_has_it(
    here, tmp_path, qexp
):
    remote = tmp_path / "remote"
    qexp("push", str(remote)).done()
    weights = max((remote / "objects").rglob("*/*"), key=lambda path: path.stat().st_size)
    sound = weights.read_bytes()
    weights.write_bytes(sound[:-1])
    assert (
        "1 run pushed (1 file"
        in qexp("push", str(remote), "sound_0", "--name", "once_more").messages()
    )
    assert weights.read_bytes() == sound


HOSTILE = {
    "outside": (
        lambda run: {"files": {"../x": run["files"]["run.json"]}},
        2,
        "outside the run's folder",
    ),
    "both": (lambda run: {"folders": ["run.json/x"]}, 2, "both a file and a folder"),
    "newer": (lambda run: {"version": 2, "qexp": "9.0"}, 2, "9.0', in a form unknown to this one"),
    "no hash": (
        lambda run: {"files": {"run.json": ["../../secret", 1, 0o644, 0]}},
        5,
        "has no hash",
    ),
    "no file": (lambda run: {"files": 3}, 5, "is damaged"),
    "another record": (
        lambda run: {"record": {**run["record"], "seed": 9}},
        5,
        "those of another run",
    ),
}


@pytest.mark.parametrize(("change", "code", "complaint"), HOSTILE.values(), ids=HOSTILE)
def test_what_a_remote_says_is_checked_before_anything_is_written(
    change, code, complaint, here, there, tmp_path, qexp
):
    remote = tmp_path / "remote"
    qexp("push", remote).done()
    run = remote / "runs/sound_0~1.json"
    document = json.loads(run.read_text())
    run.write_text(json.dumps({**document, **change(document)}))
    assert complaint in qexp("pull", str(remote), "--workspace", there).failed(code)
    assert [path.name for path in (there / "runs").iterdir() if not path.name.startswith(".")] == []
    assert not (tmp_path / "x").exists()


def test_places_that_are_no_remote_are_named(here, tmp_path, qexp):
    other, newer = tmp_path / "bucket", tmp_path / "newer"
    other.mkdir()
    (other / "theirs.txt").touch()
    assert "is no remote of qexp, and holds theirs.txt" in qexp("push", str(other)).refused()
    assert "is no remote of qexp" in qexp("pull", str(tmp_path / "nothing")).refused(3)
    assert not (tmp_path / "nothing").exists()
    qexp("push", str(newer)).done()
    marker = json.loads((newer / "qexp-remote.json").read_text())
    changes = [
        ({"version": 2, "qexp": "9.0"}, 2, "'9.0', in a form"),
        ({"format": "x"}, 5, "did not write"),
    ]
    for change, code, complaint in (*changes, ({"id": "../../x"}, 5, "has no id")):
        (newer / "qexp-remote.json").write_text(json.dumps({**marker, **change}))
        assert complaint in qexp("pull", str(newer)).refused(code)
    for named in (
        "lab",
        "nowhere://x/y",
        "ssh://127.0.0.1:9/x",
        "http://127.0.0.1:9/x",
        "s3://no-bucket-of-ours/x",
    ):
        assert qexp("ls", "--remote", named).code in (2, 3)
    (here / "qexp.toml").write_text("[remotes]\nlab = 3\n")
    assert "remotes.lab: write url" in qexp("pull", "lab").refused()


def test_a_web_server_s_folder_can_be_pulled_from_and_not_pushed_to(here, there, tmp_path, qexp):
    qexp("push", str(tmp_path / "remote")).done()
    command = [
        sys.executable,
        "-m",
        "http.server",
        "--bind",
        "127.0.0.1",
        "-d",
        str(tmp_path / "remote"),
    ]
    with servers.served(port := servers.free_port(), *command, str(port), log=tmp_path / "web.log"):
        assert (
            "1 run pulled"
            in qexp("pull", f"http://127.0.0.1:{port}", "--workspace", there).messages()
        )
        add_run(here, "then")
        assert "is for reading only" in qexp("push", f"http://127.0.0.1:{port}").failed(4)


@pytest.mark.heavy
@pytest.mark.parametrize("lab", ["s3", "ssh"], indirect=True)
def test_wrong_credentials_and_unknown_hosts_are_refused_in_words(
    lab, here, tmp_path, monkeypatch, qexp
):
    qexp("push", "lab").done()
    if "s3" in (settings := (here / "qexp.toml").read_text()):
        servers.demand_credentials(lab.to)
        assert "refuses access" in qexp("pull", "lab").refused()
        for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
            monkeypatch.delenv(f"AWS_{name}")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        assert "refuses access" in qexp("push", "lab").refused()
    else:
        (here / "qexp.toml").write_text(settings.replace('/user"', '/stranger"'))
        assert "refuses access" in qexp("pull", "lab").refused()
        (tmp_path / "known_hosts").write_text("")
        assert "Host key is not trusted" in qexp("pull", "lab").refused()


def test_a_remote_that_is_full_or_read_only_says_so_and_holds_nothing_by_halves(
    here, there, tmp_path, qexp
):
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted("-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)):
        qexp("push", str(disk)).done()
        add_run(here, "too_large", 6_000_000)
        assert "is full" in qexp("push", str(disk)).failed(4)
        assert not (disk / "runs/too_large~1.json").exists()
        assert not [*disk.rglob("incoming-*")]
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert "is for reading only" in qexp("push", str(disk)).failed(4)
        assert "1 run pulled" in qexp("pull", str(disk), "--workspace", there).messages()
    with mounted("-t", "tmpfs", "-o", "size=4m", "tmpfs", str(there / "runs")):
        qexp("push", str(tmp_path / "remote")).done()
        assert "free space" in qexp("pull", str(tmp_path / "remote"), "--workspace", there).failed(
            4
        )


def test_a_folder_in_a_file_system_without_links_is_a_remote_too(
    here, there, tmp_path, monkeypatch, qexp
):
    def link(source: str, target: str) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), source)

    monkeypatch.setattr(os, "link", link)  # as on a USB stick
    remote = tmp_path / "remote"
    qexp("push", str(remote)).done()
    assert "1 run pulled" in qexp("pull", str(remote), "--workspace", there).messages()
    with pytest.raises(FileExistsError):
        open_remote(str(remote), Workspace(here)).write("runs/sound_0~1.json", b"of another lab")
    assert [file.name for file in remote.rglob("incoming-*")] == ["incoming-.lock"]
    assert [file.name for file in (remote / "runs").iterdir()] == ["sound_0~1.json"]


def test_a_version_in_a_folder_is_written_when_all_that_it_names_is_on_the_disk(
    here, tmp_path, monkeypatch, qexp
):
    on_the_disk, sync = list[int](), os.fsync

    def fsync(handle: int) -> None:
        sync(handle)
        on_the_disk.append(os.fstat(handle).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    remote = tmp_path / "remote"
    qexp("push", str(remote)).done()
    version = on_the_disk.index((remote / "runs/sound_0~1.json").stat().st_ino)
    named = [*(remote / "objects").rglob("*/*")]
    assert {path.stat().st_ino for file in named for path in (file, file.parent)} <= {
        *on_the_disk[:version]
    }
    assert (remote / "runs").stat().st_ino in on_the_disk[version:]


@pytest.mark.heavy
def test_two_labs_that_push_at_once_lose_nothing(lab, here, there, qexp):
    shutil.copytree(here / "runs", there / "runs")
    names = [f"run_{number}" for number in range(6)]
    for name in names:  # other runs of the same names
        add_run(here, name, 20_000)
        add_run(there, name, 20_000)
    pushing = [started(workspace, "push", "lab") for workspace in (here, there)]
    said = [process.communicate(timeout=servers.PATIENCE)[1] for process in pushing]
    refused = [text.count("has another run run_") for text in said]
    assert sum(refused) == len(names), said
    assert {process.returncode for process in pushing} <= {0, 4}, said
    won, ours = (
        {run["name"]: run["created"] for run in package.runs(remote=name)} for name in ("lab", None)
    )
    assert sum(won[name] == ours[name] for name in names) == len(names) - refused[0]


@pytest.mark.heavy
def test_transfers_that_are_cut_or_killed_go_on_and_lose_nothing(lab, here, there, qexp):
    for number in range(5):
        add_run(here, f"run_{number}", 60_000)
    cuts = int(os.environ.get("QEXP_CUTS", 3))  # on the way there, and as many on the way back
    chance = random.Random(cuts)
    for workspace, command in ((here, "push"), (there, "pull")):
        for _ in range(cuts):
            if lab:
                lab.after(chance.randrange(2_000, 300_000))
            process = started(workspace, command, "lab")
            if not lab or chance.random() < 0.3:
                time.sleep(chance.uniform(0.4, 1.6))
                process.send_signal(chance.choice([signal.SIGKILL, signal.SIGTERM]))
            assert "Traceback" not in process.communicate(timeout=servers.PATIENCE)[1]
            if lab:
                lab.after(math.inf)
            for run in (there / "runs").glob("[!.]*/"):
                assert but_for_import(run) == but_for_import(here / "runs" / run.name)
        qexp(command, "lab", "--workspace", workspace).done()
    for run in (here / "runs").glob("[!.]*/"):
        assert but_for_import(there / "runs" / run.name) == but_for_import(run)
    assert qexp("doctor", "--workspace", there).done() == ""
