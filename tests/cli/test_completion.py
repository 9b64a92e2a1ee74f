"""The shell completes commands, options and names, without waiting, without writing and without a
word of its own.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import requires
from pathlib import Path

import pytest
import typer
from typer.core import TyperCommand
from typer.testing import CliRunner

from qexp.base.quantities import QUANTITIES
from qexp.cli import app, completion, names
from qexp.export.graphs import FORMATS
from qexp.kinds.tables import BUILT_IN
from qexp.spec.kinds import KINDS
from qexp.store.record import LISTED
from tests.conftest import copied
from tests.test_imports import HEAVY, said_by_a_new_process

Completed = Callable[..., list[str]]


def variables(line: str, shell: str = "bash") -> dict[str, str]:
    """What a shell tells about a line of which the last word is being typed."""
    of_bash = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    of_others = {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    return {"_QEXP_COMPLETE": f"complete_{shell}", **(of_bash if shell == "bash" else of_others)}


def completed(line: str) -> list[str]:
    # `main` turns stderr away while it completes; this looks whether there is anything to turn
    # away.
    result = CliRunner().invoke(
        app, [], prog_name="qexp", env=variables(line), catch_exceptions=False
    )
    assert result.exit_code == 0
    assert result.stderr == ""
    return result.stdout.split()


@pytest.fixture
def home(finished, tmp_path, monkeypatch) -> Path:
    """A workspace with names to complete, which is the current directory."""
    return copied(finished, tmp_path, monkeypatch)


# What is completed


@pytest.mark.slow
def test_runs_are_completed_by_the_names_of_their_directories(home):
    assert completed("qexp show ") == ["sound_0", "sound_1"]
    assert completed("qexp verify sound_1") == ["sound_1"]
    assert completed("qexp matrix --run ") == ["sound_0", "sound_1"]
    assert completed("qexp matrix --run=sou") == ["sound_0", "sound_1"]
    assert completed("qexp matrix sou") == completed("qexp predict sou") == ["sound_0", "sound_1"]
    assert completed("qexp predict sound_0 specs/da") == ["specs/datasets/"]
    assert "sound" in completed("qexp limit sou")
    (home / "runs/.preparing-x").mkdir()
    (home / "runs/catalog.json.lock").touch()
    (home / "elsewhere").mkdir()
    (home / "runs/linked").symlink_to(home / "elsewhere")
    assert completed("qexp show ") == ["linked", "sound_0", "sound_1"]


def test_specs_are_completed(home):
    (home / "specs/datasets/another.json").write_text("{}")
    assert completed("qexp matrix --run sound_0 --dataset ") == ["another", "sound"]
    assert completed("qexp validate specs/da") == [
        "specs/datasets/another.json",
        "specs/datasets/sound.json",
    ]
    os.chdir("runs")
    assert "../specs/models/sound.json" in completed("qexp validate ../specs/m")


def test_keys_and_variables_are_completed_from_the_spec_that_the_line_names(home):
    assert completed("qexp run sound --set learning_r") == ["learning_rate="]
    assert completed("qexp run sound --grid epochs,batch_s") == ["epochs,batch_size="]
    assert completed("qexp run sound --set epochs=3 --grid dataset.fixed.noi") == [
        "dataset.fixed.noise="
    ]
    assert "model.operations.block.parameters.filters=" in completed(
        "qexp run sound --grid model.oper"
    )
    assert completed("qexp run --seed 3 sound.json --set losses.dep") == ["losses.depth="]
    assert completed("qexp rerun sound_0 --set dataset.fixed.noi") == ["dataset.fixed.noise="]
    assert completed("qexp study sound --pretrain sound --pretrain-set epo") == ["epochs="]
    assert completed("qexp matrix sound_0 --axis dep") == ["depth="]
    assert completed("qexp matrix --dataset sound --fix delta") == ["delta_volume="]
    assert completed("qexp ls --where test.depth.ma") == ["test.depth.mae"]
    (home / "specs/experiences/child.json").write_text(
        '{"extends": "sound", "dataset": {"extends": "sound"}}'
    )
    assert completed("qexp run child --set losses.dep") == ["losses.depth="]
    assert completed("qexp run nosuch child --set dataset.fixed.noi") == ["dataset.fixed.noise="]
    for line in ("qexp run nosuch --set e", "qexp matrix nosuch --axis d", "qexp run --set e"):
        assert completed(line) == []


def test_the_names_that_are_completed_are_those_of_the_code():
    assert names.NAMES.read_text(encoding="utf-8") == names.text(), (
        "write them again with: make names"
    )


@pytest.mark.slow
def test_words_that_are_known_beforehand_are_completed(home):
    assert {"show", "schema"} <= set(completed("qexp s"))
    assert completed("qexp verify --k") == ["--keep"]
    assert completed("qexp schema ") == ["dataset", "experience", "model"]
    assert completed("qexp schema m") == ["model"]
    assert completed("qexp matrix --device ") == ["auto", "cpu", "cuda"]
    assert completed("qexp export sound_0 --format ") == sorted(FORMATS)
    assert completed("qexp figures sound_0 --format ") == ["pdf", "png", "svg"]
    assert completed("qexp figures sound_0 --only res") == ["residuals"]
    assert completed("qexp tables ") == sorted([*BUILT_IN, "datasets", "experiences"])
    assert completed("qexp tables quantities ") == sorted(QUANTITIES)
    assert completed("qexp tables datasets ") == sorted(KINDS)


@pytest.mark.parametrize("table", BUILT_IN)
def test_every_entry_of_a_table_is_completed_and_nothing_else(table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert completed(f"qexp tables {table} ") == sorted(BUILT_IN[table])


def test_entries_of_the_workspace_are_completed_without_running_its_code(home):
    (home / "specs/extensions.py").write_text(
        "LOSSES = {'mine': 1}\nQUANTITIES = {'heat': 2}\nopen('trace', 'w')"
    )
    assert completed("qexp tables losses mi") == ["mine"]
    assert completed("qexp tables quantities heat") == ["heat"]
    assert not (home / "trace").exists()
    (home / "specs/extensions.py").write_text("LOSSES = {")
    assert completed("qexp tables losses m") == []


def offered(names: completion.Completion, incomplete: str) -> list[str]:
    return names(typer.Context(TyperCommand("ls")), incomplete)


def test_states_and_columns_are_offered(home):
    assert offered(completion.states, "") == sorted(LISTED)
    assert offered(completion.states, "pre") == ["preempted"]
    assert offered(completion.columns, "see") == ["seed"]
    assert offered(completion.columns, "name,seed,test.depth.m") == [
        "name,seed,test.depth.mae",
        "name,seed,test.depth.median_relative_error",
        "name,seed,test.depth.mre",
    ]
    assert offered(completion.columns, "dataset.fixed.no") == ["dataset.fixed.noise"]


def test_every_column_that_is_offered_can_be_listed_and_damaged_runs_keep_none_back(home, qexp):
    all_columns = offered(completion.columns, "")
    qexp("ls", "--csv", "--columns", ",".join(all_columns)).done()
    (home / "runs/sound_0/spec.json").unlink()
    assert offered(completion.columns, "") == all_columns
    (home / "runs/sound_1/run.json").write_text("{")
    assert "seed" in offered(completion.columns, "")


def test_launches_and_removed_runs_are_offered(home):
    assert offered(completion.launches, "") == []
    (home / "runs/.launches/20260101-120000").mkdir(parents=True)
    (home / "runs/.trash/one--20260101T120000").mkdir(parents=True)
    assert offered(completion.launches, "") == ["20260101-120000", "last"]
    assert offered(completion.trashed, "") == ["one", "one--20260101T120000"]


@pytest.mark.slow
def test_the_workspace_is_the_one_that_the_line_names(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert completed("qexp show ") == []
    assert completed(f"qexp --workspace {home} show ") == ["sound_0", "sound_1"]
    assert completed(f"qexp show --workspace {home} ") == ["sound_0", "sound_1"]
    monkeypatch.setenv("QEXP_WORKSPACE", str(home))
    assert completed("qexp show ") == ["sound_0", "sound_1"]


# What is not


def test_names_that_need_quotes_are_left_to_be_typed(home):
    for name in ("with space", "dollar$(touch trace)", "tick`x`", "new\nline", "quote'"):
        (home / "runs" / name).mkdir()
        (home / "specs/datasets" / f"{name}.json").write_text("{}")
    assert completed("qexp show ") == ["sound_0", "sound_1"]
    assert completed("qexp matrix --dataset ") == ["sound"]


@pytest.mark.heavy
@pytest.mark.parametrize(
    "line",
    [
        "qexp show ",
        "qexp matrix --dataset ",
        "qexp validate ",
        "qexp --workspace /nowhere show ",
        "qexp tables x ",
        'qexp show "open',
        "qexp nosuch --x ",
        "qexp run --seed x --set y ",
    ],
)
def test_where_there_is_nothing_to_complete_nothing_is_said(tmp_path, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    if not line.startswith("qexp nosuch"):
        assert completed(line) == []
    done = qexp_completes(line)
    assert (done.returncode, done.stderr) == (0, "")


def qexp_completes(line: str, shell: str = "bash", **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables(line, shell), **more}
    return subprocess.run(
        [sys.executable, "-m", "qexp"], capture_output=True, text=True, check=False, env=environment
    )


@pytest.mark.slow
def test_an_error_is_not_printed_into_the_line(home):
    (home / "runs/sound_0/run.json").write_text("{")
    done = qexp_completes("qexp show ", COMP_CWORD="word")
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.slow
def test_completing_writes_nothing(home):
    (home / "runs/catalog.json").unlink(missing_ok=True)
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    for line in ("qexp show ", "qexp tables losses ", "qexp matrix --dataset ", "qexp validate "):
        assert completed(line)
    assert offered(completion.columns, "")
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*")} == before


COMPLETE_AND_LOOK = """
import contextlib, io, json, sys
from qexp.cli import app
with contextlib.redirect_stdout(io.StringIO()) as said:
    try:
        app(prog_name="qexp")
    except SystemExit:
        pass
heavy = [module for module in json.loads(sys.argv[1]) if module in sys.modules]
print(json.dumps({"said": said.getvalue().split(), "loaded": heavy}))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "qexp show so",
        "qexp tables modules c",
        "qexp validate specs/m",
        "qexp sh",
        "qexp run sound --set dataset.f",
    ],
)
def test_completing_loads_nothing_that_takes_time(home, line):
    heavy = [*HEAVY, "numpy", "rich", "pydantic"]
    # from 0.29 on it loads it itself
    if any(need.startswith("pydantic") for need in requires("typer") or ()):
        heavy.remove("pydantic")
    answer = said_by_a_new_process(COMPLETE_AND_LOOK, json.dumps(heavy), **variables(line))
    assert answer["said"]
    assert answer["loaded"] == []


# Shells


def script_for(shell: str) -> str:
    """What `--show-completion` prints in that shell."""
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-m", "qexp", "--show-completion", shell]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment
    ).stdout


@pytest.mark.heavy
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_a_script_that_asks_qexp_and_is_answered_alike(home, shell):
    assert f"_QEXP_COMPLETE=complete_{shell}" in script_for(shell)
    done = qexp_completes("qexp show soun", shell)
    assert (re.findall(r"sound_\d", done.stdout), done.stderr) == (["sound_0", "sound_1"], "")


IN_BASH = """
qexp() { "$PYTHON" -m qexp "$@"; }
env() { command env "${@:1:3}" "$PYTHON" -m qexp; }
eval "$SCRIPT"
COMP_WORDS=(qexp show sound_1)
COMP_CWORD=2
_qexp_completion qexp
echo "${COMPREPLY[@]}"
"""


@pytest.mark.heavy
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_itself_completes_a_run(home):
    environment = {**os.environ, "PYTHON": sys.executable, "SCRIPT": script_for("bash")}
    done = subprocess.run(
        ["bash", "-c", IN_BASH], capture_output=True, text=True, check=True, env=environment
    )
    assert (done.stdout, done.stderr) == ("sound_1\n", "")
