"""What tests of more than one folder start from: workspaces, small sound specs, the command line
without a process.
"""

import copy
import csv
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from qexp.cli import ALLOCATIONS, app
from qexp.spec.reading import digest
from qexp.spec.resolution import FOLDERS
from tests.browsing import browser, findings, npm_packages

if TYPE_CHECKING:
    from tests.choice import Choice

# one browser for all folders: two cannot be open at a time
__all__ = ["browser", "findings", "npm_packages"]

ROOT = Path(__file__).parents[1]

MadeOnce = Callable[[str, Callable[[Path], object]], Path]


def _not_waited_for(handle: int) -> None:
    """In place of `os.fsync`, which took most of the time of some tests."""


@pytest.fixture(autouse=True, scope="session")
def _own_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is prepared of data is kept where it goes away with the tests; figures are drawn for
    tests that ask for them; no workspace is named from outside; a process that a test starts can be
    interrupted, also where the tests run in the background. Nothing waits for the disk, as no test
    cuts the power.
    """
    os.fsync = _not_waited_for
    os.environ["QEXP_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["QEXP_FIGURES"] = "no"
    os.environ.pop("QEXP_WORKSPACE", None)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def drawing() -> Iterator[None]:
    """Runs draw their figures, as they do for a user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("QEXP_FIGURES", raising=False)
        yield


@pytest.fixture
def drawn() -> Iterator[None]:
    """Runs draw their figures during the test."""
    with drawing():
        yield


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """`made_once(name, make)`: a folder that `make` fills, once for all of pytest's workers, which
    only read it.
    """
    folder = tmp_path_factory.getbasetemp()
    of_all = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder

    def made(name: str, make: Callable[[Path], object]) -> Path:
        root, finished = of_all / name / "workspace", of_all / name / "finished"
        root.parent.mkdir(exist_ok=True)
        with FileLock(of_all / f"{name}.lock"):
            if not finished.exists():
                root.mkdir()
                make(root)
                finished.touch()
        return root

    return made


def copied(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a workspace that is for reading only, which is the current directory."""
    root = tmp_path / "workspace"
    shutil.copytree(made, root)
    monkeypatch.chdir(root)
    return root


def read_estimates(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file of estimates, by column without its unit."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {without_unit(title): cell for title, cell in row.items()}
            for row in csv.DictReader(file)
        ]


def without_unit(title: str) -> str:
    """`depth_estimate` for `depth_estimate (km)`."""
    return title.partition(" (")[0]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--of-change",
        metavar="COMMIT",
        help="of the heavy tests those for the change since a commit",
    )
    parser.addoption(
        "--minutes", type=float, help="tests that have not begun by then are skipped, and counted"
    )


@cache
def _choice(base: str) -> "Choice":
    from tests.choice import Choice  # processes that tests start do not find what it imports

    return Choice.since(base)


BEGAN = pytest.StashKey[float]()
NO_TIME = "no time was left for it"


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[BEGAN] = time.monotonic()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    minutes = item.config.getoption("--minutes")
    if minutes is not None and time.monotonic() - item.config.stash[BEGAN] > 60 * minutes:
        pytest.skip(NO_TIME)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if base := config.getoption("--of-change"):
        from tests.choice import all_files

        for line in [
            *_choice(base).words(all_files()),
            f"the same again, at {_choice(base).commit}: --of-change {base}",
        ]:
            terminalreporter.write_line(line)
        late = [
            report.nodeid
            for report in terminalreporter.getreports("skipped")
            if NO_TIME in str(report.longrepr)
        ]
        if late:
            files = Counter(name.partition("::")[0] for name in late)
            left = ", ".join(f"{file} ({count})" for file, count in sorted(files.items()))
            terminalreporter.write_line(
                f"{len(late)} of them had not begun in time, make test-all runs them: {left}"
            )


OF_ALL_TESTS = ("_own_settings", "made_once", "_initialised")


def pytest_itemcollected(item: pytest.Item) -> None:
    """What needs something that is made once for several tests, most of it trained, is no quick
    test.
    """
    needed = [found[-1] for found in item._fixtureinfo.name2fixturedefs.values()]
    ours = [
        one for one in needed if one.baseid.startswith("tests") and one.argname not in OF_ALL_TESTS
    ]
    if any(one.scope != "function" for one in ours):
        item.add_marker(pytest.mark.slow)


def shared_folder(make: Callable[[Path], object]) -> Any:
    """A fixture of the function's name: a folder that it fills, once for all of pytest's workers;
    for reading only.
    """

    @pytest.fixture(scope="session", name=make.__name__)
    def folder(made_once: MadeOnce) -> Path:
        return made_once(f"{make.__module__}.{make.__name__}", make)

    return folder


@shared_folder
def _made_up_data(data: Path) -> None:
    from qexp.examples.ice import write as ice_folders_write
    from qexp.examples.options import IceOptions, XrfOptions
    from qexp.examples.xrf import write as xrf_folders_write  # loads torch, which few tests need

    ice_folders_write(IceOptions(data / "ice", glaciers=3, test=1, frames=2, size=40))
    shutil.copytree(data / "ice", data / "ice_coupled")
    for name, layout in (("xrf", "plain"), ("max", "max")):
        xrf_folders_write(
            XrfOptions(data / name, 3, test=1, validation=1, layout=layout, spectra=3, labelled=2)
        )


@pytest.fixture
def made_up_data(_made_up_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where data lie for all shipped specs whose data are made by a command, as small as
    can be.
    """
    monkeypatch.setenv(
        "QEXP_DATA", os.pathsep.join([str(_made_up_data), os.environ.get("QEXP_DATA", "")])
    )
    return _made_up_data


class Outcome(NamedTuple):
    code: int
    stdout: str
    stderr: str

    def done(self) -> str:
        """What a command that succeeded has printed."""
        assert self.code == 0, self.stderr
        return self.stdout

    def quiet(self) -> str:
        """The same of one that had no message."""
        assert (self.code, self.stderr) == (0, ""), self
        return self.stdout

    def messages(self) -> str:
        """The messages of a command that succeeded without a result."""
        assert (self.code, self.stdout) == (0, ""), self
        return self.stderr

    def failed(self, code: int = 2) -> str:
        """The messages of a command that has failed with that code."""
        assert self.code == code, self
        return self.stderr

    def refused(self, code: int = 2) -> str:
        """The same of one that has printed no results."""
        assert (self.code, self.stdout) == (code, ""), self
        return self.stderr


def prepare_with(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the spec of a run, and the digest in its record, as if it had been prepared with
    that.
    """
    record, spec = (json.loads((run / name).read_text()) for name in ("run.json", "spec.json"))
    change(spec)
    (run / "spec.json").write_text(json.dumps(spec))
    own = [file.read_text() for file in run.glob("code/extensions.py")]
    (run / "run.json").write_text(json.dumps({**record, "digest": digest(spec, *own)}))


def call(*arguments: str | Path) -> Outcome:
    """Call `qexp ARGUMENTS` in this process; what would be a traceback in a shell is raised."""
    # None takes a variable away for the call, and puts it back afterwards: --workspace sets the
    # first one.
    environment = {
        "QEXP_WORKSPACE": None,
        "NO_COLOR": "1",
        "COLUMNS": "200",
        "TERMINAL_WIDTH": "200",
    }
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(
        app, words, prog_name="qexp", env=environment, catch_exceptions=False
    )
    return Outcome(result.exit_code, result.stdout, result.stderr)


def started(folder: Path, *arguments: str, before: str = "") -> subprocess.Popen[str]:
    """`qexp ARGUMENTS` in a shell of its own, which is in a folder and is told something
    `before`.
    """
    command = [
        "bash",
        "-c",
        f'{before} exec "$@"',
        "bash",
        sys.executable,
        "-m",
        "qexp",
        *arguments,
    ]
    # Python keeps compiled modules cut off where files must not be large, and cannot read them
    # afterwards.
    pipe = subprocess.PIPE
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(
        command, cwd=folder, text=True, stdout=pipe, stderr=pipe, env=environment
    )


@contextmanager
def mounted(*what: str) -> Iterator[None]:
    """Something mounted, the last of the words being where. Skips where that is not allowed."""
    done = subprocess.run(["mount", *what], capture_output=True, text=True, check=False)
    if done.returncode:
        assert not ("CI" in os.environ and os.geteuid() == 0), done.stderr
        pytest.skip(f"this user cannot mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", what[-1]], check=True)


_watched: list[list[Path]] = []
"""The list that notes the files that Python opens, while a test asks for it."""


@cache
def _watch_files() -> None:
    """Note the files that Python opens; a hook, once there, cannot be taken away."""

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and _watched and isinstance(arguments[0], str | os.PathLike):
            _watched[0].append(Path(arguments[0]))

    sys.addaudithook(note)


@pytest.fixture
def opened() -> Iterator[list[Path]]:
    """The files that this process has opened since the test began, in order; clear it to begin
    anew.
    """
    _watch_files()
    _watched.append([])
    yield _watched[0]
    _watched.clear()


@pytest.fixture(scope="session")
def qexp() -> Callable[..., Outcome]:
    """`code, stdout, stderr = qexp("ls", "--json")`."""
    return call


@shared_folder
def _initialised(root: Path) -> None:
    call("init", root).done()


@pytest.fixture
def workspace(_initialised: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new workspace with the shipped examples, which is the current directory."""
    return copied(_initialised, tmp_path, monkeypatch)


SOUND: dict[str, dict[str, Any]] = {
    "dataset": {
        "type": "generated",
        "generation_type": "mogi",
        "size": [16, 16],
        "fixed": {
            "azimuth": 0.0,
            "incidence": 0.33,
            "x_res": 0.4,
            "y_res": 0.4,
            "x": 0.0,
            "y": 0.0,
            "noise": 0.0,
        },
        "varyings": {"depth": [[0.1, 0.2], [0.7, 0.8]], "delta_volume": [[0.3, 0.5]]},
        "distributions": {
            "depth": {"type": "log_normal", "parameters": {"mu": 0.0, "sigma": 0.5}},
            "delta_volume": {"type": "uniform", "parameters": {"a": 0.5, "b": 3.0}},
        },
        "matrix": {"axes": {"depth": [0, 4], "delta_volume": [0, 4]}, "resolution": 8},
    },
    "model": {
        "inputs": {"displacement": {"size": [16, 16, 1]}},
        "outputs": ["depth", "delta_volume"],
        "operations": {
            "block": {"module": "conv", "parameters": {"filters": [4]}},
            "look": {"module": "attention", "parameters": {"filters": [2, 4]}},
            "halve": {"module": "max_pooling"},
            "to_depth": {"module": "denses", "parameters": {"filters": [3, 1]}},
            "to_volume": {"module": "denses", "parameters": {"filters": [1]}},
        },
        "branches": [
            {
                "x_name": "displacement",
                "y_name": "seen",
                "operations": ["block", "look", "halve", "halve"],
            },
            {"x_name": "seen", "y_name": "depth", "operations": ["to_depth"]},
            {"x_name": "seen", "y_name": "delta_volume", "operations": ["to_volume"]},
        ],
    },
    "experience": {
        "model": "sound",
        "dataset": "sound",
        "inputs": ["displacement"],
        "outputs": ["depth", "delta_volume"],
        "split": [0.7, 0.3],
        "sizes": [8, 4, 4],
        "epochs": 2,
        "batch_size": 4,
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "losses": {"depth": "mae", "delta_volume": "mse"},
        "metrics": {"depth": ["median_relative_error"]},
        "transforms": {
            "displacement": {"type": "asinh", "parameters": {"scale": 0.01}},
            "depth": "log",
        },
    },
}


RESOLVED: dict[str, Any] = json.loads(
    (Path(__file__).parent / "runs/stored/today/spec.json").read_text()
)
"""The sound experience as a run keeps it: with its dataset and model, and every choice in its long
form.
"""


def put(document: Any, path: str, value: Any) -> Any:
    """The document with one value replaced, `put(model, "branches.0.y_name", "seen")`; with `...`,
    without it.
    """
    changed = copy.deepcopy(document)
    place = changed
    *way, last = (int(step) if step.isdigit() else step for step in path.split("."))
    for step in way:
        place = place.setdefault(step, {}) if isinstance(place, dict) else place[step]
    if value is ...:
        place.pop(last, None)
    else:
        place[last] = value
    return changed


def located(kind: str, path: str, complaint: str) -> str:
    """A message about the sound spec of a kind: at a path, as `put` takes it, unless it begins with
    `$`.
    """
    place = "".join(f"[{step}]" if step.isdigit() else f".{step}" for step in path.split("."))
    return (
        f"specs/{FOLDERS[kind]}/sound.json at"
        f" {complaint if complaint.startswith('$') else f'${place}: {complaint}'}"
    )


class Specs:
    """The specs of a workspace, one sound one of each kind, all of one name."""

    def __init__(
        self, root: Path, documents: Mapping[str, dict[str, Any]] = SOUND, name: str = "sound"
    ) -> None:
        self.root, self.documents, self.name = root, documents, name
        for kind, document in documents.items():
            self.write(kind, document)

    def write(self, kind: str, document: Any, name: str = "") -> Path:
        """Write a spec, as JSON unless it is a text already; returns its path from the
        workspace.
        """
        path = Path("specs") / FOLDERS[kind] / f"{name or self.name}.json"
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        text = document if isinstance(document, str) else json.dumps(document)
        (self.root / path).write_text(text, encoding="utf-8")
        return path

    def spoil(self, kind: str, *changes: tuple[str, Any]) -> Path:
        """Write the sound spec of a kind with changes, each a path and a value."""
        document = self.documents[kind]
        for path, value in changes:
            document = put(document, path, value)
        return self.write(kind, document)


def write_dense(
    root: Path,
    name: str,
    dataset: dict[str, Any],
    outputs: Sequence[str],
    inputs: Sequence[str] = (),
    **changes: Any,
) -> None:
    """Specs of a simulated dataset and of a network that hardly learns: a dense layer per output on
    all that is seen.

    inputs   images, masks and perhaps numbers; the image alone if left out
    changes  of the experience
    """
    inputs = list(inputs or ["displacement"])
    images = [name for name in inputs if name.startswith(("displacement", "mask"))]
    numbers = [name for name in inputs if name not in images]
    sizes = {name: [*dataset["size"], 1] if name in images else [1] for name in inputs}
    heads = {
        f"head_{index}": {"module": "denses", "parameters": {"filters": [1]}}
        for index in range(len(outputs))
    }
    joined = {"join": {"module": "concatenate"}, "beside": {"module": "concatenate"}}
    branches: list[Any] = [
        {"x_name": images, "y_name": "seen", "operations": [*["join"] * (len(images) > 1), "flat"]},
        {"x_name": ["seen", *numbers], "y_name": "all", "operations": ["beside"]},
    ][: 1 + bool(numbers)]
    of_outputs = zip(outputs, heads, strict=True)
    branches += [
        {"x_name": branches[-1]["y_name"], "y_name": name, "operations": [head]}
        for name, head in of_outputs
    ]
    model = {
        "inputs": {name: {"size": size} for name, size in sizes.items()},
        "outputs": list(outputs),
        "operations": {"flat": {"module": "flatten"}, **joined, **heads},
        "branches": branches,
    }
    experience = {
        **SOUND["experience"],
        "model": name,
        "dataset": name,
        "inputs": inputs,
        "outputs": list(outputs),
        "sizes": [64, 16, 16],
        "epochs": 1,
        "batch_size": 16,
        "losses": dict.fromkeys(outputs, "mse"),
        "metrics": {},
        "transforms": {},
        **changes,
    }
    Specs(root, {"dataset": dataset, "model": model, "experience": experience}, name)


@pytest.fixture
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Specs:
    """A workspace of three sound specs, which is the current directory; tests spoil them in one
    place or another.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QEXP_DATA", raising=False)
    return Specs(tmp_path)


@pytest.fixture
def problems() -> Callable[..., list[str]]:
    """What `qexp validate FILE...` says, a problem a line; it must refuse, and say so in a last
    line.
    """

    def said(*files: str | Path) -> list[str]:
        code, stdout, stderr = call("validate", *files)
        *lines, summary = stderr.splitlines()
        assert (code, stdout) == (2, ""), stderr
        assert summary.endswith("with problems")
        return lines

    return said


@shared_folder
def finished(root: Path) -> None:
    """A workspace in which sound_0 and sound_1 are done, a second of training each; for reading
    only.
    """
    Specs(root)
    for seed in (0, 1):
        call("run", "sound", "--seed", str(seed), "--device", "cpu", "--workspace", root).done()


@pytest.fixture
def here(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace of its own in which sound_0 is done, which is the current directory."""
    root = tmp_path / "here"
    shutil.copytree(finished / "specs", root / "specs")
    shutil.copytree(finished / "runs/sound_0", root / "runs/sound_0")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`says("sacct", "7_0|COMPLETED|0:0\\n")`: a program of that name on the PATH, which prints
    that.
    """
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def install(program: str, answer: str, error: str = "", code: int = 0) -> None:
        (folder / program).write_text(
            f"#!/bin/sh\ncat <<'END'\n{answer}END\nprintf '%s' '{error}' >&2\nexit {code}\n"
        )
        (folder / program).chmod(0o755)

    return install


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    """What is loaded from now on stays, and need not be searched for garbage again and again."""
    gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.set_threshold(ALLOCATIONS)
    gc.enable()


@pytest.hookimpl(optionalhook=True)  # without pytest-xdist there are none
def pytest_xdist_auto_num_workers() -> int:
    """A worker for each core, and one for the tests of a cluster, which mostly wait."""
    return len(os.sched_getaffinity(0)) + ("CI" in os.environ)


@pytest.hookimpl(trylast=True)  # the tests of a cluster are marked by then
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes longest starts first, while other workers run the rest: the tests of a cluster,
    which one worker runs one after another, then the commands of the pages. Of a change, only what
    is chosen for it is run.
    """
    if base := config.getoption("--of-change"):
        taken = {
            path
            for path in {item.path for item in items}
            if _choice(base).takes(str(path.relative_to(ROOT)))
        }
        config.hook.pytest_deselected(items=[item for item in items if item.path not in taken])
        items[:] = [item for item in items if item.path in taken]

    def turn(item: pytest.Item) -> int:
        if item.get_closest_marker("cluster"):
            return 0
        if "test_every_command_and_script_works" in item.name:
            return 1
        place = str(item.path.relative_to(ROOT))
        return 3 if base and not _choice(base).touches(place) else 2

    items.sort(key=turn)
