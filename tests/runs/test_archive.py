"""An archive holds a run, whole and checked; one that is not is refused before anything is
written.
"""

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import qexp as package
from qexp.spec.reading import digest
from qexp.upkeep import archive
from tests.conftest import RESOLVED
from tests.runs.conftest import contents, running, until

RECORD = {"name": "one", "state": "done", "seed": 0, "digest": digest(RESOLVED)}


@pytest.fixture
def there(here: Path, tmp_path: Path) -> Path:
    """Another workspace, with specs and without runs."""
    root = tmp_path / "there"
    shutil.copytree(here / "specs", root / "specs")
    return root


def as_made(folder: Path) -> dict[str, object]:
    """The files of a run without what its record says of an import."""
    members: dict[str, object] = {**contents(folder)}
    members["run.json"] = {**json.loads((folder / "run.json").read_text()), "imported": None}
    return members


Member = tuple[str | zipfile.ZipInfo, bytes]


def write_archive(path: Path, *members: Member, manifest: bool | dict[str, object] = True) -> Path:
    """An archive of members of whatever kind, with a manifest that agrees with them unless another
    is given.
    """
    hashes = {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that occur twice
        for name, data in members:
            archive.writestr(name, data)
            hashes[name] = hashlib.sha256(data).hexdigest()
        hashes = {
            str(name): digest
            for name, digest in hashes.items()
            if isinstance(name, str) and name[-1] != "/"
        }
        if manifest:
            document = {
                "format": "qexp run",
                "version": 1,
                "qexp": "0",
                "run": "one",
                "sha256": hashes,
            }
            archive.writestr(
                "manifest.json",
                json.dumps(document | (manifest if isinstance(manifest, dict) else {})),
            )
    return path


def run_of(name: str = "one", record: object = RECORD, spec: object = RESOLVED) -> list[Member]:
    return [
        (f"{name}/run.json", json.dumps(record).encode()),
        (f"{name}/spec.json", json.dumps(spec).encode()),
    ]


def special(name: str, kind: int, leads_to: str = "") -> Member:
    member = zipfile.ZipInfo(name)
    member.external_attr = (kind | 0o644) << 16
    return member, leads_to.encode()


@pytest.fixture
def exported(here: Path, tmp_path: Path, qexp: Callable) -> Path:
    """An archive of sound_0."""
    assert qexp("export", "sound_0", "--to", tmp_path / "sound.zip").code == 0
    return tmp_path / "sound.zip"


@pytest.mark.parametrize("linked", [False, True])
def test_a_run_arrives_as_it_was_whatever_its_files_are_called_and_wherever_it_is_kept(
    here, there, tmp_path, qexp, linked
):
    run, arrived = here / "runs/sound_0", there / "runs/sound_0"
    (run / "my notes\n– über «x».txt").write_text("α")
    (run / "empty folder").mkdir()
    (run / "best").symlink_to("checkpoints/best.safetensors")
    os.link(run / "spec.json", run / "hard link")
    if linked:
        run.rename(tmp_path / "elsewhere")
        run.symlink_to(tmp_path / "elsewhere")
    qexp("export", "sound_0", "--to", tmp_path / "sound.zip").done()
    assert qexp("import", tmp_path / "sound.zip", "--workspace", there).done() == ""
    assert as_made(arrived) == as_made(run)
    assert (arrived / "empty folder").is_dir()
    assert not arrived.is_symlink()
    assert not (arrived / "best").is_symlink()
    assert {path.name for path in arrived.parent.iterdir()} <= {
        "sound_0",
        "catalog.json",
        "catalog.json.lock",
    }


@pytest.mark.heavy
def test_an_imported_run_lists_shows_predicts_and_makes_matrices_under_its_new_name(
    here, there, exported, qexp
):
    assert qexp("import", exported, "--name", "guest", "--workspace", there).code == 0
    assert qexp("ls", "-q", "--workspace", there).stdout == "guest\n"
    assert (
        json.loads(qexp("show", "guest", "--json", "--workspace", there).stdout)["name"] == "guest"
    )
    original = package.open_run("sound_0", workspace=here)
    guest = package.open_run("guest", workspace=there)
    assert guest.results == original.results
    images = np.random.default_rng(0).normal(0, 0.01, (4, 16, 16))
    ours, theirs = original.predict(displacement=images), guest.predict(displacement=images)
    for output in ("depth", "delta_volume"):
        np.testing.assert_array_equal(ours[output], theirs[output])
    axes = ["--axis", "depth=0.5:3:3", "--axis", "delta_volume=0.5:3:3"]
    qexp("matrix", "guest", "--dataset", "sound", *axes, "--workspace", there).done()
    assert qexp("doctor", "--workspace", there).code == 0


def test_the_manifest_names_every_file_with_its_hash_and_no_user(here, exported):
    with zipfile.ZipFile(exported) as archive:
        members = archive.infolist()
        manifest = json.loads(archive.read(members[-1]))
    assert members[-1].filename == "manifest.json"
    assert manifest["qexp"] == package.__version__
    assert manifest["sha256"] == {
        f"sound_0/{name}": hashlib.sha256(data).hexdigest()
        for name, data in contents(here / "runs/sound_0").items()
        if not name.endswith(".lock")
    }


def test_what_no_archive_can_hold_is_refused_by_name(here, tmp_path, qexp):
    run = here / "runs/sound_0"
    for make in (
        lambda path: os.mkfifo(path),
        lambda path: path.symlink_to("nowhere"),
        lambda path: path.symlink_to("results", target_is_directory=True),
    ):
        make(run / "odd")
        assert (
            f"{run / 'odd'} is "
            in qexp("export", "sound_0", "--to", tmp_path / "sound.zip").failed()
        )
        (run / "odd").unlink()
    for name in (os.fsdecode(b"caf\xe9"), "a\\b", "/".join("d" * 200)):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).touch()
        stderr = qexp("export", "sound_0", "--to", tmp_path / "sound.zip").failed()
        assert "sound_0 cannot be packed: its member 'sound_0/" in stderr
        (run / name).unlink()
    assert list(tmp_path.glob("*sound.zip*")) == []


@pytest.mark.heavy
def test_where_the_disk_refuses_midway_nothing_half_is_left(here, there, tmp_path, qexp):
    def refused_by_the_disk(*arguments: str | Path) -> str:
        """What a process says that may write no file larger than 8 kB."""
        done = subprocess.run(
            [sys.executable, "-m", "qexp", *arguments], capture_output=True, text=True, check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, 8_000)),
        )  # fmt: skip
        assert done.returncode == 2
        return done.stderr

    target = tmp_path / "sound.zip"
    assert f"cannot write {target}: " in refused_by_the_disk("export", "sound_0", "--to", target)
    assert list(tmp_path.glob("*sound*")) == []
    qexp("export", "sound_0", "--to", target)
    assert f"cannot import {target}: File too large" in refused_by_the_disk(
        "import", target, "--workspace", there
    )
    assert list((there / "runs").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["sound.tar", "sound.tar.zst", ".zip", "", "nowhere/sound.zip", ".", "mine.zip"]
)
def test_a_target_that_cannot_be_or_is_there_is_refused(here, qexp, name):
    Path("mine.zip").write_text("mine")
    stderr = qexp("export", "sound_0", "--to", name).failed()
    assert ("exists already" in stderr) == (name == "mine.zip")
    assert Path("mine.zip").read_text() == "mine"


def test_a_run_at_work_is_not_exported(here, tmp_path, qexp):
    file = here / "runs/sound_0/run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **running()}))
    assert (
        "sound_0 is running" in qexp("export", "sound_0", "--to", tmp_path / "sound.zip").failed()
    )
    assert qexp("export", "nosuch", "--to", tmp_path / "sound.zip").code == 3
    file.write_text("{")
    assert qexp("export", "sound_0", "--to", tmp_path / "sound.zip").code == 5
    assert not (tmp_path / "sound.zip").exists()


def test_a_name_that_is_taken_is_refused_with_a_way_out(here, exported, qexp):
    before = contents(here / "runs")
    assert "choose another name with --name" in qexp("import", exported).failed()
    (here / "runs/dangling").symlink_to("nowhere")
    for name in ("../x", "dangling"):
        assert qexp("import", exported, "--name", name).code == 2
    assert contents(here / "runs") == before
    assert qexp("import", exported, "--name", "twin").code == 0


# Archives that are not what they should be


@pytest.fixture
def refused(there: Path, qexp: Callable) -> Callable[[Path], tuple[int, str]]:
    """`code, complaint = refused(archive)`: nothing may have been written anywhere below the
    workspace or beside it.
    """

    def tried(archive: Path) -> tuple[int, str]:
        before = sorted(there.parent.rglob("*"))
        code, stdout, stderr = qexp("import", archive, "--workspace", there)
        assert stdout == ""
        assert [path for path in sorted(there.parent.rglob("*")) if path not in before] in (
            [],
            [there / "runs"],
        )
        return code, stderr

    return tried


def test_a_sound_archive_of_ours_is_taken_in(there, tmp_path, qexp):
    assert (
        qexp("import", write_archive(tmp_path / "x.zip", *run_of()), "--workspace", there).code == 0
    )
    assert (there / "runs/one/run.json").is_file()


@pytest.mark.parametrize(
    "member",
    [
        ("/etc/evil", b"x"),
        ("../evil", b"x"),
        ("one/../../evil", b"x"),
        ("one/../evil", b"x"),
        ("./one/evil", b"x"),
        ("one//evil", b"x"),
        ("one/a\\..\\evil", b"x"),
        ("evil", b"x"),
        ("two/run.json", b"{}"),
        ("one/run.json", b"{}"),
        ("one/run.json/below", b"x"),
        special("one/link", stat.S_IFLNK, "/etc/passwd"),
        special("one/link", stat.S_IFLNK, "run.json"),
        special("one/device", stat.S_IFCHR),
        special("one/device", stat.S_IFBLK),
        special("one/pipe", stat.S_IFIFO),
        ("../evil/", b""),
        ("two/", b""),
        ("/evil/", b""),
        ("one/run.json/", b""),
    ],
    ids=lambda member: str(getattr(member[0], "filename", member[0])),
)
def test_members_that_have_no_business_in_a_run_are_refused(refused, tmp_path, member):
    code, complaint = refused(write_archive(tmp_path / "x.zip", *run_of(), member))
    assert code == 2
    assert "x.zip is refused: " in complaint


@pytest.mark.parametrize(
    ("members", "manifest", "code"),
    [
        ([], True, 2),
        (run_of(), False, 5),
        (run_of(), {"run": "two"}, 2),
        (run_of(), {"run": 3}, 5),
        (run_of(), {"sha256": {}}, 5),
        (run_of(), {"sha256": None}, 5),
        (run_of(), {"format": "other"}, 5),
        (run_of(), {"version": 2}, 2),
        (run_of()[:1], True, 5),
        (run_of()[1:], True, 5),
        (run_of(record={"name": "one"}), True, 5),
        (run_of(record=[1]), True, 5),
        (run_of(record={**RECORD, "results": 5}), True, 5),
        (run_of(spec={}), True, 5),
        (run_of(".hidden"), {"run": ".hidden"}, 2),
        (run_of("catalog.json"), {"run": "catalog.json"}, 2),
        ([("one/run.json", b"{"), run_of()[1]], True, 5),
    ],
)
def test_an_archive_whose_run_or_manifest_is_not_right_is_refused(
    refused, tmp_path, members, manifest, code
):
    assert refused(write_archive(tmp_path / "x.zip", *members, manifest=manifest))[0] == code


def test_what_is_no_archive_is_refused_and_a_file_that_is_not_what_was_exported_is_named(
    refused, tmp_path
):
    assert refused(tmp_path / "nosuch.zip")[0] == 3
    assert refused(tmp_path)[0] == 2
    for data in (
        b"",
        b"nonsense",
        b"\0" * 10240,
        b"PK\x03\x04nonsense",
        b"PK\x05\x06" + b"\xff" * 18,
    ):
        (tmp_path / "x.zip").write_bytes(data)
        code, complaint = refused(tmp_path / "x.zip")
        assert (code, "x.zip" in complaint) == (5, True), data
    manifest = {"sha256": dict.fromkeys(("one/run.json", "one/spec.json"), "0")}
    code, complaint = refused(write_archive(tmp_path / "x.zip", *run_of(), manifest=manifest))
    assert (code, "'one/run.json' differs from the exported file" in complaint) == (5, True)


@pytest.mark.heavy
def test_an_archive_that_is_cut_or_changed_anywhere_is_refused_or_still_says_the_same(
    here, there, refused, exported, qexp
):
    intact, torn = exported.read_bytes(), exported.with_name("torn")
    chance = random.Random(0)
    for _ in range(24):
        torn.write_bytes(intact[: chance.randrange(len(intact))])
        assert refused(torn)[0] == 5
    for offset in [chance.randrange(len(intact)) for _ in range(24)] + [
        len(intact) - back for back in range(1, 60)
    ]:
        torn.write_bytes(intact[:offset] + bytes([intact[offset] ^ 0xFF]) + intact[offset + 1 :])
        code, _, _ = qexp("import", torn, "--workspace", there)
        if code == 0:  # a changed byte of a time, or of what zip files say twice
            assert as_made(there / "runs/sound_0") == as_made(here / "runs/sound_0")
            shutil.rmtree(there / "runs/sound_0")
        assert code in (0, 2, 5)
        assert list((there / "runs").glob("[!c]*") if (there / "runs").exists() else []) == []


# What is exported, and what is left of exports that were killed


def test_files_of_the_user_are_exported_whatever_their_names_and_temporary_ones_of_qexp_are_not(
    here, there, tmp_path, qexp
):
    run = here / "runs/sound_0"
    copies = ("poetry.lock", "x.tmp", "a/.run.json.a1b2c3d4")
    users = [*(f"code/untracked/{name}" for name in copies), "mine.lock"]
    left_out = {
        "checkpoints/.last.safetensors.a1b2c3d4",
        "attempts/01/lease-a1b2c3d4/last.safetensors",
    }
    for name in (*users, *left_out):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("x")
    (run / "code/untracked/empty.lock").touch()
    (run / "annotations.json.lock").touch()
    assert qexp("export", "sound_0", "--to", tmp_path / "sound.zip").code == 0
    assert qexp("import", tmp_path / "sound.zip", "--workspace", there).code == 0
    lost = as_made(run).keys() - as_made(there / "runs/sound_0").keys()
    assert lost == {*left_out, "annotations.json.lock"}


@pytest.mark.heavy
def test_what_a_killed_export_left_goes_with_the_next_export_to_the_same_file(here, tmp_path):
    (here / "runs/sound_0/large").write_bytes(os.urandom(30_000_000))
    process = subprocess.Popen(
        [sys.executable, "-m", "qexp", "export", "sound_0", "--to", str(tmp_path / "a.zip")]
    )
    until(
        lambda: any(path.stat().st_size for path in tmp_path.glob(".a.zip.*/*")),
        "a draft with content",
    )
    process.send_signal(signal.SIGSTOP)
    (draft,) = tmp_path.glob(".a.zip.*")
    try:
        assert package.open_run("sound_0").export(tmp_path / "a.zip").exists()
        assert draft.exists()  # of a process at work
        (tmp_path / "a.zip").unlink()
        assert package.open_run("sound_0").export(tmp_path / "b.zip").exists()
    finally:
        process.kill()
        process.wait()
    assert draft.exists()
    assert package.open_run("sound_0").export(tmp_path / "a.zip").exists()
    assert sorted(path.name for path in tmp_path.iterdir() if "zip" in path.name) == [
        "a.zip",
        "b.zip",
    ]


# Archives that ask for more memory, depth or room than a run can need


def claiming(member: str, size: int) -> Callable[[Path], None]:
    """An archive whose list of contents says that a member has that size."""

    def write(path: Path) -> None:
        write_archive(path, *run_of(), (member, b"x"))
        with zipfile.ZipFile(path, "a") as archive:
            archive.getinfo(member).file_size = size
            archive.comment = b"written again"

    return write


def holding(*members: Member, packed: int = zipfile.ZIP_DEFLATED) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", packed) as archive:
            for name, data in members:
                archive.writestr(name, data)

    return write


def encrypted(path: Path) -> None:
    write_archive(path, *run_of())
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "a file of 4 exabytes": (claiming("one/x", 1 << 62), "larger than the free space"),
    "a file of 20 GB": (claiming("one/x", 20 << 30), "times its own size"),
    "a record of 100 MB": (
        holding(("one/run.json", b" " * (100 << 20))),
        "more than any such file",
    ),
    "a manifest of 200 MB": (
        holding(("manifest.json", b" " * (200 << 20)), ("one/x", b"")),
        "its manifest of",
    ),
    "a path 3,000 folders deep": (holding(("/".join("d" * 3000), b"")), "3,000 folders deep"),
    "a name of 60,000 bytes": (holding(("one/" + "d" * 60_000, b"")), "60,004 bytes"),
    "a file packed in another way": (
        holding(("one/x", b"x"), packed=zipfile.ZIP_LZMA),
        "in a way that `qexp export`",
    ),
    "an encrypted file": (encrypted, "in a way that `qexp export`"),
}
"""What writes such an archive, and what is said of it."""

IMPORT_ALL = """
import json, resource, sys
from tests.conftest import call
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
print(json.dumps([call("import", path, "--workspace", sys.argv[1]) for path in sys.argv[2:]]))
"""


@pytest.mark.heavy
def test_archives_that_ask_for_much_are_refused_in_words_and_in_little_memory(there, tmp_path):
    paths = [tmp_path / f"{number}.zip" for number in range(len(HOSTILE))]
    for path, (write, _) in zip(paths, HOSTILE.values(), strict=True):
        write(path)
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, str(there), *map(str, paths)],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    for what, (code, stdout, stderr) in zip(HOSTILE, json.loads(done.stdout), strict=True):
        assert (code in (2, 5), stdout) == (True, ""), what
        assert HOSTILE[what][1] in stderr, (what, stderr)
        assert len(stderr) < 1000
    assert not (there / "runs").exists()


def test_more_files_than_an_archive_can_hold_are_neither_written_nor_read(
    refused, exported, tmp_path, qexp, monkeypatch
):
    monkeypatch.setattr(archive, "MOST_MEMBERS", 5)
    code, complaint = refused(exported)
    assert (code, "it has more than 5 files and folders" in complaint) == (2, True)
    assert (
        "has more than 5 files and folders"
        in qexp("export", "sound_0", "--to", tmp_path / "again.zip").failed()
    )


# The system's own interpreter

SYSTEMS_PYTHON = Path("/usr/bin/python3")


def of_the_system(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`qexp ARGUMENTS` with the system's Python and the packages of this one; skips where those do
    not fit together.
    """
    ask = [SYSTEMS_PYTHON, "-c", "import sys; print(*sys.version_info[:2])"]
    version = (
        subprocess.run(ask, capture_output=True, text=True, check=True)
        if SYSTEMS_PYTHON.exists()
        else None
    )
    if version is None or version.stdout.split() != ["3", "11"] or sys.version_info[:2] != (3, 11):
        pytest.skip(
            f"the packages of Python {sys.version.split()[0]} need a {SYSTEMS_PYTHON} of 3.11"
        )
    paths = [
        str(Path(package.__file__).parents[1]),
        sysconfig.get_path("purelib"),
        sysconfig.get_path("platlib"),
    ]
    return subprocess.run(
        [SYSTEMS_PYTHON, "-m", "qexp", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )


@pytest.mark.heavy
def test_the_python_of_debian_12_exports_and_imports(here, there, tmp_path):
    done = of_the_system("export", "sound_0", "--to", tmp_path / "sound.zip")
    assert done.returncode == 0, done.stderr
    done = of_the_system("import", tmp_path / "sound.zip", "--name", "x", "--workspace", there)
    assert done.returncode == 0, done.stderr
    arrived = as_made(there / "runs/x")
    # which has another name
    assert arrived.pop("run.json") != as_made(here / "runs/sound_0")["run.json"]
    assert arrived == {
        name: data for name, data in as_made(here / "runs/sound_0").items() if name != "run.json"
    }
