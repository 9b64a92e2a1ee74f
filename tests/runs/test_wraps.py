"""A command around every run: it is recorded, signals reach the run inside it, and the run's own
end counts.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from qexp.api.handles import open_run
from qexp.base.workspace import Workspace
from qexp.errors import QexpError
from qexp.jobs import launchers
from qexp.jobs.launchers import options_of
from qexp.jobs.scheduler import Wrap, wrap_of
from qexp.store.directory import RunDirectory
from qexp.store.process import number_in_view, this_process
from tests.conftest import Specs
from tests.runs.conftest import Process, halt, has_been_told_to_end, has_lines, until
from tests.runs.test_catalog import write_record

NOTING = '#!/bin/bash\nprintf "%s\\n" "$@" > "$(dirname "$0")/called"\n'

PROGRAMS = {
    "replaced": f'{NOTING}exec "${{@:2}}"\n',
    "waiting": f'{NOTING}"${{@:2}}"\n',
    "deaf": (
        f'{NOTING}trap "" TERM INT\n"${{@:2}}" &\nwhile ! wait $!; do kill -0 $! 2> /dev/null ||'
        " exit 0; done\n"
    ),
    "leaving": (
        f'{NOTING}"${{@:2}}" &\nuntil [ -s "$1/metrics.jsonl" ]; do sleep 0.1; done\nexit 3\n'
    ),
    "broken": "#!/bin/bash\nexit 3\n",
}
"""Wraps that get a folder and then the command of the run."""

ENDLESS = ("sound", "--device", "cpu")


@pytest.fixture
def wrapped(specs) -> Callable[[str], Path]:
    """`wrapped("waiting")`: a workspace with that wrap; returns the file in which the wrap notes
    its arguments.
    """

    def write(name: str, key: str = "wrap") -> Path:
        program = specs.root / "tools of mine" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(PROGRAMS[name])
        program.chmod(0o755)
        (specs.root / "qexp.toml").write_text(f"{key} = \"'{program}' {{run}}\"\n")
        return program.parent / "called"

    return write


@pytest.fixture
def contained(specs) -> None:
    """A workspace whose runs have PID namespaces of their own, as in containers. Skips where that
    is not allowed.
    """
    wrap = "bwrap --dev-bind / / --unshare-pid --proc /proc --die-with-parent"
    if shutil.which("bwrap") is None:
        pytest.skip("there is no bwrap: apt-get install bubblewrap")
    done = subprocess.run([*wrap.split(), "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"bwrap is not permitted here: {done.stderr.strip()}")
    (specs.root / "qexp.toml").write_text(f'wrap = "{wrap}"\n')


def at_work(start: Callable[..., Process], *options: str) -> Process:
    """The endless run sound_0 in a process of its own, after its first epoch."""
    Specs(Path.cwd()).spoil("experience", ("epochs", 1_000_000))
    process = start("run", *ENDLESS, *options)
    until(has_lines(Path("runs/sound_0/metrics.jsonl"), 1), "the first epoch")
    assert open_run("sound_0").state == "running"
    return process


def processes_of(folder: Path) -> list[str]:
    """The commands of all processes that name a folder."""
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            commands.append(path.read_bytes().replace(b"\0", b" ").decode())
    return [command for command in commands if str(folder) in command]


@pytest.mark.heavy
def test_a_run_in_this_process_is_wrapped_says_so_and_is_the_same_to_the_last_bit(
    wrapped, finished, specs, qexp
):
    called = wrapped("replaced")
    assert "depth" in qexp("run", "sound", "--device", "cpu").done()
    directory = specs.root / "runs/sound_0"
    words = [
        str(directory),
        sys.executable,
        "-m",
        "qexp",
        "execute",
        str(directory),
        "--device",
        "cpu",
    ]
    assert called.read_text().splitlines()[: len(words)] == words
    wrap = shlex.join([str(called.with_name("replaced")), str(directory)])
    (attempt,) = open_run("sound_0").record["attempts"]
    assert (
        attempt["wrap"]
        == json.loads((directory / "attempts/01/command.json").read_text())["wrap"]
        == wrap
    )

    plain = open_run("sound_0", workspace=finished)
    assert open_run("sound_0").record["digest"] == plain.record["digest"]
    weights = "checkpoints/best.safetensors"
    assert (directory / weights).read_bytes() == (plain.path / weights).read_bytes()


@pytest.mark.heavy
@pytest.mark.parametrize("in_a_pool", [False, True])
def test_a_wrap_that_does_not_start_the_run_leaves_it_failed_with_the_reason(
    wrapped, specs, qexp, in_a_pool
):
    wrapped("broken")
    code, _, stderr = qexp(
        "run", "sound", "--device", "cpu", *(["--seeds", "0:1"] if in_a_pool else [])
    )
    record = open_run("sound_0").record
    assert (code, record["state"], record["attempts"]) == (1, "failed", [])
    assert record["error"].startswith("the wrap ended with exit code 3 before the run began: ")
    if in_a_pool:
        options = launchers.find_launch("last", Workspace(specs.root)).record().settings["options"]
        assert options["wrap"].endswith("/broken' {run}")
    else:
        assert record["error"] in stderr


def test_a_wrap_that_is_not_there_is_an_error_of_the_run(specs, qexp):
    (specs.root / "qexp.toml").write_text('wrap = "no-such-program --bind {data}"\n')
    stderr = qexp("run", "sound", "--device", "cpu").failed(1)
    assert "the wrap cannot be started: No such file or directory: no-such-program" in stderr
    assert open_run("sound_0").state == "failed"


@pytest.mark.heavy
def test_the_end_of_the_run_counts_and_not_that_of_the_wrap(wrapped, qexp):
    wrapped("leaving")
    code, _, stderr = qexp("run", "sound", "--device", "cpu")
    assert (code, open_run("sound_0").state) == (0, "done")
    assert "its wrap ended with exit code 3" in stderr


@pytest.mark.heavy
def test_ctrl_c_reaches_the_run_whatever_the_wrap_does_with_signals(wrapped, specs, start):
    wrapped("deaf")
    process = at_work(start)
    process.send(signal.SIGINT)
    code, _, stderr = process.end()
    assert (code, open_run("sound_0").state) == (130, "interrupted"), stderr
    assert (specs.root / "runs/sound_0/checkpoints/last.safetensors").is_file()
    assert processes_of(specs.root) == []


def test_a_run_in_a_container_is_seen_alive_stopped_and_seen_dead_at_once(
    contained, specs, start, qexp
):
    process = at_work(start)
    (attempt,) = open_run("sound_0").directory.record().attempts
    assert attempt.process.pid_namespace != this_process().pid_namespace
    assert qexp("run", *ENDLESS, "--resume").code == 2  # it is running

    number = number_in_view(attempt.process)
    assert number not in (None, attempt.process.pid)
    os.kill(number, signal.SIGKILL)
    code, _, stderr = process.end()
    assert (code, open_run("sound_0").state) == (1, "lost"), stderr
    assert number_in_view(attempt.process) is None

    process = start("run", *ENDLESS, "--resume")
    until(lambda: len(open_run("sound_0").record["attempts"]) == 2, "the second attempt")
    assert qexp("stop", "sound_0") == (0, "", "sound_0: interrupted\n")
    assert process.end()[0] == 130


@pytest.mark.heavy
def test_a_pool_that_is_interrupted_twice_leaves_nothing_of_a_wrap_running(wrapped, specs, start):
    wrapped("waiting")
    process = at_work(start, "--seeds", "0:1")
    (attempt,) = open_run("sound_0").directory.record().attempts
    halt(attempt.process.pid)  # it cannot write a checkpoint
    process.send(signal.SIGINT)
    until(lambda: has_been_told_to_end(attempt.process.pid), "the first signal")
    process.send(signal.SIGINT)
    assert process.end()[0] == 130
    assert open_run("sound_0").state == "lost"
    until(lambda: processes_of(specs.root) == [], "the end of all processes")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("run {image}", "wrap has no placeholder {image}; known: data, run, workspace"),
        ("run {wokspace}", "wrap has no placeholder {wokspace}; did you mean 'workspace'?"),
        ("run 'a", "wrap cannot be divided into words: no closing quotation"),
        ("run {data", "wrap has a single '{' in '{data'; write '{{' for a brace"),
        ("run {}", "wrap has no placeholder {}; known: data, run, workspace"),
        ("run {data:>9}", "wrap has no placeholder {data:>9}; did you mean 'data'?"),
        (3, "wrap cannot be '3'; give the command around each run"),
        (["run", "it"], "wrap cannot be \"['run', 'it']\"; give the command around each run"),
        ("run\nrm", "wrap cannot be 'run\\nrm'; give the command around each run"),
    ],
)
@pytest.mark.parametrize("launcher", ["local", "slurm"])
def test_a_wrap_that_cannot_be_filled_in_is_refused_before_anything_starts(
    launcher, text, complaint
):
    with pytest.raises(QexpError) as caught:
        options_of(launcher, {"wrap": text}, {})
    assert complaint in str(caught.value)


def test_values_stay_inside_their_words(tmp_path):
    folder = write_record(tmp_path / 'a run"; touch x {data} $(y)', "one")
    wrap = Wrap("a 'b c' --bind={run}:/in {{data}}", "python3")
    assert wrap.wrapped(RunDirectory(folder), "x") == [
        "a", "b c", f"--bind={folder}:/in", "{data}", "python3", "-m", "qexp", "x",
    ]  # fmt: skip


def test_a_wrap_is_that_of_the_command_line_the_profile_the_launcher_or_the_file_in_this_order():
    settings = {
        "wrap": "a",
        "python": "py",
        "slurm": {"wrap": "b", "big": {"wrap": "c"}, "bare": {"wrap": ""}},
    }

    def chosen(launcher: str, profile: str | None = None, **given: str) -> str:
        return wrap_of(options_of(launcher, settings, given, profile)).command

    assert [
        chosen("local"),
        chosen("slurm"),
        chosen("slurm", "big"),
        chosen("slurm", "big", wrap="d"),
    ] == [*"abcd"]
    assert not chosen("slurm", "bare")
    assert not chosen("local", wrap="")
    assert wrap_of(options_of("local", settings, {})).python == "py"
