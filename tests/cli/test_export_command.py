"""`qexp export` to a folder: what is said, what is refused, and that nothing half-written stays."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import qexp as package
from tests.conftest import Outcome

EXTENSIONS = """
import torch
from qexp.extend import Entry

class ByColumn(torch.nn.Module):
    def forward(self, x):
        return torch.linalg.eigvals(x).real.flatten(1)

MODULES = {
    "by_column": Entry(
        build=lambda shape, /: ByColumn(), parameters={}, help="Eigenvalues.", example={"module": "by_column"}
    )
}
"""

SOONER = ("--format", "torchscript")
"""The format that is written faster, where either would do."""


@pytest.fixture
def export(here: Path, qexp: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """`export("--to", folder)`: of sound_0."""
    return lambda *arguments: qexp("export", "sound_0", *arguments)


@pytest.fixture
def refused(export: Callable[..., Outcome], here: Path) -> Callable[..., str]:
    """What is said of an export that must not be, and leaves everything as it was."""

    def said(*arguments: str | Path) -> str:
        before = below(here.parent)
        stderr = export(*arguments).refused()
        assert below(here.parent) == before
        return stderr

    return said


def below(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns) if path.is_file() else (b"", 0)
        for path in sorted(folder.rglob("*"))
        if path.name not in ("catalog.json", ".catalog.json.lock")
    }


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.heavy
def test_a_folder_gets_the_network_as_onnx_unless_told_otherwise(export, tmp_path):
    code, stdout, stderr = export("--to", tmp_path / "a" / "b")
    assert (code, stdout) == (0, "")
    assert f"{tmp_path}/a/b holds the network of sound_0: model.onnx " in stderr
    assert names(tmp_path / "a" / "b") == {"model.onnx", "network.json", "README.md"}
    assert names(tmp_path / "a") == {"b"}
    assert export("--to", tmp_path / "script", "--format", "torchscript").code == 0
    assert names(tmp_path / "script") == {"model.pt", "network.json", "README.md"}


@pytest.mark.heavy
def test_python_does_the_same_as_the_command(export, tmp_path):
    export("--to", tmp_path / "by_command", "--physical")
    folder = package.export_network("sound_0", tmp_path / "by_python", physical=True).folder
    for file in (tmp_path / "by_command").iterdir():
        assert (folder / file.name).read_bytes() == file.read_bytes()


def test_a_name_of_an_archive_is_the_run_and_not_its_network(export, refused, tmp_path):
    for option in (["--format", "onnx"], ["--physical"], ["--overwrite"]):
        complaint = refused("--to", tmp_path / "sound.zip", *option)
        assert f"{option[0]} is for networks" in complaint
        assert "give a folder's name" in complaint
    assert export("--to", tmp_path / "sound.zip").code == 0
    assert (tmp_path / "sound.zip").is_file()


FOLDER = "a network is written to a folder"


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        *((f"sound.{suffix}", [], FOLDER) for suffix in ("onnx", "pt", "tar", "tar.zst", "json")),
        ("out", ["--format", "torch_script"], "no such format; did you mean 'torchscript'?"),
        ("out", ["--format", "tflite"], "known: keras, onnx, torchscript"),
    ],
)
def test_a_name_of_a_file_is_no_folder_and_an_unknown_format_none(
    refused, tmp_path, name, options, complaint
):
    assert complaint in refused("--to", tmp_path / name, *options)


def test_a_run_that_is_not_done_does_not_leave(here, refused, qexp, tmp_path):
    file = here / "runs/sound_0/run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "state": "failed"}))
    assert "sound_0 is failed, not done" in refused("--to", tmp_path / "out")
    assert qexp("export", "nosuch", "--to", tmp_path / "out").code == 3


@pytest.mark.heavy
def test_what_is_there_is_replaced_only_when_it_is_an_earlier_export_and_a_link_stays_one(
    export, refused, tmp_path
):
    target = tmp_path / "out"
    target.mkdir()
    assert export("--to", target, *SOONER).code == 0, "an empty folder is in nobody's way"
    before = (target / "network.json").read_bytes()
    assert "is not empty" in refused("--to", target, "--physical")
    assert export("--to", target, "--physical", "--format", "torchscript", "--overwrite").code == 0
    assert names(target) == {"model.pt", "network.json", "README.md"}
    assert (target / "network.json").read_bytes() != before
    (target / "thesis.tex").write_text("years of work")
    assert "this has thesis.tex" in refused("--to", target, "--overwrite")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "README.md").write_text("mine")
    assert "this has no network.json" in refused("--to", mine, "--overwrite")
    (tmp_path / "file").write_text("mine")
    for option in ([], ["--overwrite"]):
        assert "there is a file of that name" in refused("--to", tmp_path / "file", *option)
    assert "cannot write" in refused("--to", tmp_path / "file" / "out")
    assert "is not empty" in refused("--to", ".")
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    for option in ([], ["--overwrite"]):
        assert export("--to", tmp_path / "link", *SOONER, *option).code == 0
        assert (tmp_path / "link").is_symlink()
        assert "model.pt" in names(tmp_path / "there")


@pytest.mark.heavy
@pytest.mark.parametrize("has_earlier", [False, True])
def test_where_the_disk_refuses_midway_nothing_half_is_left_and_an_earlier_export_stays(
    here, tmp_path, has_earlier
):
    """A process that may write no file larger than 4 kB, which the network's is."""
    target = tmp_path / "deep" / "out"
    if has_earlier:
        package.export_network("sound_0", target, "torchscript")
    before = below(tmp_path / "deep")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "qexp",
            "export",
            "sound_0",
            "--to",
            str(target),
            *SOONER,
            "--overwrite",
        ],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, 4_000)),
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "cannot write" in done.stderr
    assert "File too large" in done.stderr
    assert below(tmp_path / "deep") == before


KILLED = """
import os, sys
from qexp.cli import app
def killed(_):
    os.kill(os.getpid(), int(sys.argv[1]))
os.fsync = killed
app(sys.argv[2:], prog_name="qexp")
"""


def killed(number: signal.Signals, *words: str) -> int:
    """The exit code of `qexp WORDS` that gets a signal when it has written the first file."""
    return subprocess.run(
        [sys.executable, "-c", KILLED, str(int(number)), *words], check=False
    ).returncode


@pytest.mark.heavy
def test_a_process_that_is_told_to_stop_leaves_nothing_and_what_a_killed_one_left_goes_with_the_next(
    export, tmp_path
):
    assert (
        killed(signal.SIGTERM, "export", "sound_0", *SOONER, "--to", str(tmp_path / "out" / "here"))
        == 130
    )
    assert names(tmp_path / "out") == set()
    target, mine = tmp_path / "out" / "v1.2", tmp_path / "out" / ".v1.2.mine_too"
    assert (
        killed(signal.SIGKILL, "export", "sound_0", *SOONER, "--to", str(target)) == -signal.SIGKILL
    )
    (mine / "new").mkdir(parents=True)
    (mine / "notes.txt").touch()
    os.utime(mine, (0, 0))
    assert export("--to", target, *SOONER).code == 0
    assert names(target.parent) == {target.name, mine.name}
    assert names(target) == {"model.pt", "network.json", "README.md"}


@pytest.mark.heavy
def test_a_network_with_an_operation_that_no_graph_has_is_named(specs, qexp, tmp_path):
    (specs.root / "specs" / "extensions.py").write_text(EXTENSIONS)
    strange = ("operations.strange", {"module": "by_column"})
    specs.spoil("model", strange, ("branches.1.operations", ["strange", "to_depth"]))
    qexp("run", "sound", "--device", "cpu").done()
    stderr = qexp("export", "sound_0", "--to", tmp_path / "out").failed()
    assert "sound_0: its network cannot be written as onnx: " in stderr
    assert "linalg_eig" in stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.heavy
def test_archives_do_not_wait_for_torch(here, tmp_path):
    script = """
import sys
from qexp.cli import app
try:
    app(sys.argv[1:], prog_name="qexp")
except SystemExit as ended:
    assert not ended.code
print([name for name in ("torch", "onnx", "onnxscript") if name in sys.modules])
"""
    words = ["export", "sound_0", "--to", str(tmp_path / "sound.zip")]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
