"""What Linux alone has is taken away, as on macOS: runs are trained, seen to be alive, and stopped
all the same.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import qexp
from qexp.runs import guard
from tests.runs.conftest import ENDLESS, has_lines, until

TAKEN_AWAY = """
import builtins, ctypes, errno, io, os, signal

for module, names in ((os, ("sched_getaffinity", "sched_setaffinity", "pidfd_open", "waitid", "posix_fadvise",
                            "copy_file_range", "memfd_create", "O_TMPFILE", "posix_fallocate")),
                      (signal, ("pidfd_send_signal",))):
    for name in names:
        vars(module).pop(name, None)

def without_proc(call):
    def refusing(path, *more, **named):
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(("/proc", "/sys/fs/cgroup")):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
        return call(path, *more, **named)
    return refusing

builtins.open = io.open = without_proc(io.open)
for name in ("open", "stat", "listdir", "scandir", "readlink"):
    setattr(os, name, without_proc(getattr(os, name)))

class Library(ctypes.CDLL):
    def __getattr__(self, name):
        if name in ("mallopt", "malloc_trim", "prctl", "renameat2"):
            raise AttributeError(name)
        return super().__getattr__(name)

ctypes.CDLL = Library
"""

MACHINE = """
import os
from qexp.base import machine
from qexp.store import process, provenance
with machine.freed_memory_kept():
    assert not os.path.exists("/proc/self") and not hasattr(os, "pidfd_open")
    assert provenance.usable_cores() == os.cpu_count() and machine.memory() > 2**20 and machine.memory_kills() == 0
    assert process.pid_namespace() == "" and process.process_start("self")
"""

GUARDED = (
    "import sys; from qexp.runs import guard; guard.main(int(sys.argv[1]), int(sys.argv[2]),"
    " sys.argv[3:])"
)

pytestmark = pytest.mark.skipif(
    shutil.which("ps") is None, reason="there is no ps: apt-get install procps"
)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python processes that start from here find nothing that Linux alone has."""
    (tmp_path / "away").mkdir()
    (tmp_path / "away/sitecustomize.py").write_text(TAKEN_AWAY)
    here = str(Path(qexp.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "away"), here]))


@pytest.mark.heavy
def test_what_is_asked_of_the_machine_has_an_answer(elsewhere):
    subprocess.run([sys.executable, "-c", MACHINE], check=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("request_", "words", "status"), [(b"", ["false"], 256), (guard.ASK, ["sleep", "60"], 15)]
)
def test_a_program_is_started_ended_and_its_status_told(elsewhere, request_, words, status):
    (control, ours), (theirs, report) = os.pipe(), os.pipe()
    command = [sys.executable, "-c", GUARDED, str(control), str(report), *words]
    with subprocess.Popen(command, pass_fds=(control, report)), os.fdopen(theirs) as lines:
        os.close(report)
        assert lines.readline().startswith("started ")
        os.write(ours, request_)
        assert lines.read() == f"ended {status}\n"
    os.close(ours)
    os.close(control)


@pytest.mark.heavy
def test_a_run_is_seen_at_work_and_stopped(elsewhere, workspace, start):
    start("run", "mogi_quick", *ENDLESS, "--name", "endless")
    until(has_lines(workspace / "runs/endless/metrics.jsonl", 1), "the first epoch")

    def told(*words: str) -> str:
        return subprocess.check_output([sys.executable, "-m", "qexp", *words], text=True)

    assert told("ls", "-q", "--status", "running") == "endless\n"
    told("stop", "endless")
    assert told("ls", "-q", "--status", "interrupted") == "endless\n"
