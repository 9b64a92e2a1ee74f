import csv
import io
import json
import os
import re
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

import qexp as package
from qexp.base.text import width_of
from qexp.base.workspace import Workspace
from qexp.cli import DOORS, GROUPS, GUESSES, app
from qexp.cli.console import fit
from qexp.kinds.tables import BUILT_IN
from qexp.runs.prepare import Plan, prepare
from qexp.spec.experiences import TYPES
from qexp.spec.kinds import KINDS
from qexp.spec.validation import findings
from tests.conftest import started

COMMANDS = [
    "run",
    "matrix",
    "predict",
    "ls",
    "status",
    "show",
    "logs",
    "wait",
    "stop",
    "where",
    "tag",
    "note",
    "compare",
    "verify",
    "validate",
    "specs",
    "tables",
    "schema",
    "init",
    "rm",
    "restore",
    "purge",
    "export",
    "import",
    "doctor",
    "reindex",
    "execute",
    "supervise",
    "train-folds",
    "data",
]

FOR_MACHINES = ("execute", "supervise", "train-folds")


def everything_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# Help and unknown things


@pytest.mark.heavy
def test_every_command_explains_itself_and_the_help_lists_them_in_groups_but_those_for_machines(
    qexp,
):
    for command in COMMANDS:
        stdout = qexp(command, "--help").quiet()
        assert stdout.splitlines()[1].strip().startswith(f"Usage: qexp {command}")
    stdout = qexp("--all").done()
    assert qexp("--help", "--all").done() == stdout
    names = [
        line.split()[1]
        for line in stdout.splitlines()
        if line.startswith("│ ") and line.split()[1] in COMMANDS
    ]
    assert sorted(names) == sorted(command for command in COMMANDS if command not in FOR_MACHINES)
    groups = [line.split()[1] for line in stdout.splitlines() if line.startswith("╭─")]
    assert groups == ["Options", "Train", "Look", "Trust", "Use", "Keep", "Specs", "Repair"]


def test_the_first_screen_shows_a_line_for_each_command_of_daily_work_and_how_to_see_the_others(
    monkeypatch,
):
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", None)
    shown = (
        CliRunner()
        .invoke(app, ["--help"], prog_name="qexp", env={"COLUMNS": "100"})
        .output.splitlines()
    )
    daily = [name for names in DOORS.values() for name in names]
    lines = [line for line in shown if line.startswith("│ ") and line.split()[1] in daily]
    assert [line.split()[1] for line in lines] == daily
    assert all(line.rstrip(" │").endswith(".") for line in lines)
    assert len(shown) <= 40
    assert 12 <= len(daily) <= 15
    assert "All commands: qexp --all." in "\n".join(shown)


def test_what_people_type_leads_to_the_command_and_no_suggestion_is_a_command_for_machines(qexp):
    right = {
        "list": "ls",
        "train": "run",
        "delete": "rm",
        "plot": "figures",
        "create": "init",
        "version": "--version",
    }
    right |= {
        "diff": "compare",
        "infer": "predict",
        "test": "evaluate",
        "lss": "ls",
        "comapre": "compare",
    }
    for typed, command in right.items():
        assert f"did you mean '{command}'?" in qexp(typed).refused()
    for typed in ("train-fold", "executes", "zzz"):
        assert not any(
            command in qexp(typed).refused().replace(typed, "") for command in FOR_MACHINES
        )


def test_guesses_are_no_commands_and_lead_to_some():
    commands = {name for group in GROUPS.values() for name in group}
    typed = [word for words in GUESSES.values() for word in words]
    assert len(typed) == len(set(typed)) > 30
    assert not commands & set(typed)
    assert {right.split()[0] for right in GUESSES} <= commands | {"--version", "--help"}


@pytest.mark.heavy
def test_a_run_is_the_first_word_or_an_option_and_not_two_things(qexp, here):
    matrix = ("--dataset", "sound", "--axis", "depth=1:2:2", "--axis", "delta_volume=1:2:2")
    assert "name the run: qexp matrix RUN" in qexp("matrix", *matrix).refused()
    assert (
        "both sound_1 and --run sound_0"
        in qexp("matrix", "sound_1", "--run", "sound_0", *matrix).refused()
    )
    as_word, as_option, both = (
        qexp("matrix", *words, "--name", f"by{len(words)}", *matrix).done()
        for words in (("sound_0",), ("--run", "sound_0"), ("sound_0", "--run", "sound_0"))
    )
    assert len(as_word.splitlines()) == len(as_option.splitlines()) == len(both.splitlines()) == 4
    predict = ("predict", "sound_0", "--output", "made")
    assert "name what to estimate: qexp predict RUN FILE --output made" in qexp(*predict).refused()
    assert "both a.nc and --input b.nc" in qexp(*predict, "a.nc", "--input", "b.nc").refused()
    assert "a run and then the file" in qexp("invert", "a", "b", "c.nc").refused()
    assert "both a and --run b" in qexp("invert", "a", "c.nc", "--run", "b").refused()
    assert "no dataset 'sond'; did you mean 'sound'?" in qexp("limit", "sond").refused()


def test_a_command_line_that_is_wrong_in_itself_is_a_usage_error(qexp):
    for line in ("rum", "ls --nosuch", "show", "run", "show a b", "predict --output x --nosuch"):
        assert "Usage: qexp" in qexp(*line.split()).refused()


@pytest.mark.parametrize(("command", "first"), [("compare", "working …\r\x1b[2K"), ("where", "")])
def test_what_may_take_long_says_on_a_terminal_at_once_that_it_works(
    finished, monkeypatch, command, first
):
    leader, follower = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with pytest.raises(SystemExit):
            app([command, "nosuch", "--workspace", str(finished)], prog_name="qexp")
    said = b""
    # the error of a terminal that was closed
    with suppress(OSError), os.fdopen(leader, "rb", buffering=0) as screen:
        while piece := screen.read(4096):
            said += piece
    assert said.decode().startswith(f"{first}error: no run 'nosuch'")
    assert "write" not in vars(sys.stdout)


# Workspaces


@pytest.mark.heavy
def test_a_new_workspace_has_examples_that_are_right_and_nothing_else(workspace, qexp):
    assert {path.name for path in workspace.iterdir()} == {"specs", "data", ".gitignore"}
    assert all(path.name.startswith("stand_in_") for path in (workspace / "data").rglob("*.*"))
    assert {path.parent.name for path in (workspace / "specs").rglob("*.json")} == {
        "datasets",
        "models",
        "experiences",
    }
    *warnings, summary = qexp("validate").messages().splitlines()
    assert re.fullmatch(r"\d+ specs are right, \d+ waits? for data", summary)
    assert any("make it with: qexp data ice --out data/ice" in line for line in warnings)


@pytest.mark.heavy
def test_an_init_that_the_disk_refuses_says_so_in_a_line_and_can_be_repeated(tmp_path):
    def init(before: str = "") -> tuple[int, str]:
        process = started(tmp_path, "init", "place", before=before)
        _, stderr = process.communicate()
        return process.returncode, stderr

    assert init("ulimit -f 1;") == (2, "error: cannot write to place: File too large\n")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []
    assert init()[0] == 0


def test_specs_are_listed_with_what_they_say_and_how_many_runs_they_have(qexp, here):
    (here / "specs/models/broken.json").write_text("{")
    (here / "specs/datasets/worded.json").write_text('{"description": "In\\nsome words."}')
    code, stdout, stderr = qexp("specs")
    assert code == 0
    rows = [
        ["kind", "name", "runs"],
        ["dataset", "sound", "1"],
        ["dataset", "worded", "0"],
        ["model", "broken", "0"],
    ]
    rows += [["model", "sound", "1"], ["experience", "sound", "1"]]
    assert [line.split()[:3] for line in stdout.splitlines()] == rows
    assert "In some words." in stdout
    assert "specs/models/broken.json at $: not valid JSON" in stderr
    specs = json.loads(qexp("specs", "dataset", "--json").stdout)
    assert specs == package.specs("dataset")
    assert {(spec["name"], spec["runs"], spec["problem"]) for spec in specs} == {
        ("sound", 1, None),
        ("worded", 0, None),
    }
    for command in ("specs", "schema"):
        assert qexp(command, "modle") == (
            2,
            "",
            "error: no kind of spec 'modle'; did you mean 'model'?\n",
        )


def test_the_status_counts_runs_and_bytes_and_names_what_is_at_work(qexp, here, monkeypatch):
    record = json.loads((here / "runs/sound_0/run.json").read_text())
    for name, state in (("waits", "created"), ("failed", "failed"), ("gone", "out_of_memory")):
        (here / "runs" / name).mkdir()
        changed = {
            **record,
            "name": name,
            "state": state,
            "attempts": [],
            "created": "2026-01-01T00:00:00.000+00:00",
        }
        (here / "runs" / name / "run.json").write_text(json.dumps(changed))
    first, *rest = qexp("status").quiet().splitlines()
    assert first == "1 created, 1 done, 1 failed, 1 out of memory"
    assert rest[1].split() == ["name", "state", "epochs", "started"]
    assert rest[2].split()[:2] == ["waits", "created"]
    assert re.fullmatch(
        r"[0-9.]+ [kM]?B runs, 0 B trash, .* cache of data, .* free on this disk", rest[-1]
    )
    status = json.loads(qexp("status", "--json").stdout)
    assert status["counts"] == {"created": 1, "done": 1, "failed": 1, "out_of_memory": 1}
    assert [run["name"] for run in status["unfinished"]] == ["waits"]
    assert status["sizes"]["runs"] > 10_000
    assert qexp("rm", "sound_0").code == 0
    after = package.status()
    assert after.sizes["trash"] > after.sizes["runs"] > 0


def test_a_bare_workspace_has_folders_for_specs_and_a_readme(qexp, tmp_path, monkeypatch):
    assert (
        f"{tmp_path}/bare/specs/datasets"
        in qexp("init", "--kind", "bare", tmp_path / "bare").messages()
    )
    paths = {
        path.relative_to(tmp_path / "bare").as_posix() for path in (tmp_path / "bare").rglob("*")
    }
    assert paths == {
        ".gitignore",
        "README.md",
        "data",
        "specs",
        "specs/datasets",
        "specs/models",
        "specs/experiences",
    }
    monkeypatch.chdir(tmp_path / "bare")
    assert qexp("ls").code == 0
    assert qexp("init", ".").code == 2


def test_the_way_on_that_init_tells_leads_somewhere(qexp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    change, run = (line.split() for line in qexp("init", "new/place").messages().splitlines()[1:])
    assert change == ["cd", "new/place"]
    assert run[:2] == ["qexp", "run"]
    assert (tmp_path / f"new/place/specs/experiences/{run[2]}.json").is_file()
    Path("here").mkdir()
    monkeypatch.chdir("here")
    assert "cd" not in qexp("init", ".").messages().split()


def test_a_workspace_keeps_what_was_in_its_folder_and_is_not_made_twice_or_in_a_file(
    qexp, tmp_path
):
    mine = {".gitignore": "*.pyc\n", "notes.txt": "mine"}
    for name, text in mine.items():
        (tmp_path / name).write_text(text)
    assert qexp("init", tmp_path).code == 0
    (tmp_path / "specs/datasets/mine.json").write_text("{}")
    before = everything_below(tmp_path)
    assert "has a folder specs/ already" in qexp("init", tmp_path).refused()
    assert everything_below(tmp_path) == before
    assert {name: (tmp_path / name).read_text() for name in mine} == mine
    (tmp_path / "file").touch()
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        assert f"cannot write to {directory}" in qexp("init", directory).refused()


def test_outside_of_a_workspace_a_command_says_how_to_make_one(qexp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for line in ("ls", "show x", "validate", "run x", "reindex", "compare a b"):
        stderr = qexp(*line.split()).refused(3)
        assert ("no workspace" in stderr, "qexp init DIR" in stderr) == (True, True), stderr
    assert list(tmp_path.iterdir()) == []


def test_a_workspace_is_found_from_below_and_by_option_and_by_variable(
    finished, qexp, tmp_path, monkeypatch
):
    names = ["sound_0", "sound_1"]
    monkeypatch.chdir(finished / "specs" / "models")
    assert qexp("ls", "-q").stdout.split() == names
    monkeypatch.chdir(tmp_path)
    assert qexp("ls", "-q", "--workspace", finished).stdout.split() == names
    assert qexp("--workspace", finished, "ls", "-q").stdout.split() == names
    assert (
        qexp("--workspace", tmp_path, "ls", "-q", "--workspace", finished).stdout.split() == names
    )
    assert "QEXP_WORKSPACE" not in os.environ


def test_a_folder_that_is_no_workspace_is_refused_wherever_it_is_named(qexp, tmp_path):
    for line in ("ls", "validate", "run x", "tables losses", "schema model"):
        for words in (
            (*line.split(), "--workspace", tmp_path),
            ("--workspace", tmp_path, *line.split()),
        ):
            assert f"{tmp_path} is not a workspace" in qexp(*words).refused(3)


# Tables and schemas

TABLES = {
    "generators",
    "distributions",
    "noises",
    "modules",
    "transforms",
    "losses",
    "metrics",
    "optimizers",
    "schedules",
    "callbacks",
    "splits",
    "baselines",
}


def test_tables_are_listed_on_stdout_also_outside_of_a_workspace(qexp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tables = json.loads(qexp("tables", "--json").stdout)
    assert set(tables) == TABLES | {"datasets", "experiences", "quantities"}
    assert {line.split()[0] for line in qexp("tables").quiet().splitlines()[1:]} == set(tables)
    assert "mogi" in tables["generators"]


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_entry_of_a_table_is_listed_and_described(qexp, table):
    entries = json.loads(qexp("tables", "--json").stdout)[table]
    assert [line.split()[0] for line in qexp("tables", table).quiet().splitlines()[1:]] == entries
    described = json.loads(qexp("tables", table, "--json").stdout)
    assert list(described) == entries
    for name, of_entry in described.items():
        assert of_entry["parameters"] == json.loads(json.dumps(BUILT_IN[table][name].schema()))
        first, *_, last = qexp("tables", table, name).done().splitlines()
        assert first == f"{name}: {of_entry['help']}"
        assert json.loads(last.removeprefix("example: ")) == of_entry["example"]


def test_the_keys_of_objects_are_described_like_parameters(qexp):
    described = json.loads(qexp("tables", "datasets", "generated", "--json").stdout)["generated"][
        "parameters"
    ]
    rows = [
        line.split() for line in qexp("tables", "datasets", "generated").stdout.splitlines() if line
    ]
    names = [row[0] for row in rows]
    of_views = described["properties"]["views"]["items"]["properties"]
    start = names.index("views") + 1
    assert names[start : start + len(of_views)] == [f"views[].{name}" for name in of_views]
    assert all(len(row) > 4 for row in rows[start : start + len(of_views)])  # each has a meaning
    assert rows[names.index("matrix.axes")][:7] == [
        "matrix.axes",
        "object",
        "of",
        "list",
        "of",
        "number",
        "required",
    ]


@pytest.mark.parametrize(
    ("kind", "types"),
    [("dataset", KINDS), ("experience", [name for name in TYPES if TYPES[name].executes])],
)
def test_types_of_specs_are_described_like_a_table_by_the_keys_of_their_specs(qexp, kind, types):
    assert [line.split()[0] for line in qexp("tables", f"{kind}s").stdout.splitlines()[1:]] == list(
        types
    )
    for name, of_type in json.loads(qexp("tables", f"{kind}s", "--json").stdout).items():
        assert findings(kind, of_type["example"], BUILT_IN) == []
        stdout = qexp("tables", f"{kind}s", name).stdout
        for key in of_type["parameters"]["properties"]:
            assert f"\n{key} " in stdout


def test_an_entry_is_described_with_its_parameters_limits_and_defaults(qexp):
    rows = {
        line.split()[0]: line
        for line in qexp("tables", "modules", "conv").stdout.splitlines()
        if line
    }
    assert rows["filters"].split()[1:7] == ["list", "of", "integer", "≥", "1", "required"]
    assert "same | valid" in rows["padding"]
    assert '"same"' in rows["padding"]
    assert rows["stride"].split()[1:5] == ["integer", "≥", "1", "1"]
    (only,) = json.loads(qexp("tables", "modules", "conv", "--json").stdout).items()
    assert only[0] == "conv"
    assert set(only[1]["parameters"]["properties"]) <= rows.keys()


def test_quantities_are_listed_with_unit_and_factor(qexp):
    rows = {
        line.split()[0]: line.split()[1:]
        for line in qexp("tables", "quantities").quiet().splitlines()[1:]
    }
    assert rows["depth"][:2] == ["km", "1000"]
    quantities = json.loads(qexp("tables", "quantities", "--json").stdout)
    assert list(quantities) == list(rows)
    meaning = "volume change of the source, inflation positive"
    values = {
        "unit": "10⁶ m³",
        "si_factor": 1e6,
        "plausible": [-1000.0, 1000.0],
        "description": meaning,
    }
    assert quantities["delta_volume"] == values
    assert list(json.loads(qexp("tables", "quantities", "depth", "--json").stdout)) == ["depth"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("tables", "modlues"), "no table 'modlues'; did you mean 'modules'?"),
        (("tables", "quantitys"), "no table 'quantitys'; did you mean 'quantities'?"),
        (("tables", "volcanoes"), "no table 'volcanoes'; known: baselines, callbacks, datasets,"),
        (
            ("tables", "modules", "max_poling"),
            "no entry 'max_poling' in modules; did you mean 'max_pooling'?",
        ),
        (("tables", "losses", "zzz"), "no entry 'zzz' in losses; known: huber, mae, mre, mse"),
        (("tables", "quantities", "viscosity"), "no quantity 'viscosity'; "),
    ],
)
def test_a_table_or_entry_that_is_not_there_is_answered_with_the_nearest(
    qexp, arguments, complaint
):
    assert complaint in qexp(*arguments).refused(3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dataset", "model", "experience"])
def test_the_schema_of_every_kind_is_printed_as_json_that_is_a_schema(specs, qexp, kind):
    schema = json.loads(qexp("schema", kind).quiet())
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    for path in (specs.root / "specs" / f"{kind}s").glob("*.json"):
        document = json.loads(path.read_text())
        assert validator.is_valid(document)
        assert not validator.is_valid({**document, "nosuch": 1})


# Listing and showing


def test_an_empty_workspace_lists_no_runs_in_every_form(workspace, qexp):
    assert qexp("ls").messages().startswith("no runs; start one with: qexp run")
    assert qexp("ls", "--json") == (0, "[]\n", "")
    assert qexp("ls", "-q") == (0, "", "")
    assert qexp("ls", "--csv").quiet().startswith("name,experience,dataset,model,seed,state")
    assert qexp("ls", "--where", "seed < 5", "--sort", "seed").code == 0


def test_a_listing_goes_to_stdout_whole_and_plain_and_as_json_csv_and_names_it_says_the_same(
    finished, qexp
):
    stdout = qexp("ls", "--workspace", finished).quiet()
    header, *rows = stdout.splitlines()
    assert header.split()[:4] == ["name", "state", "seed", "epochs"]
    assert "depth mae (km)" in header
    assert [row.split()[:4] for row in rows] == [
        ["sound_0", "done", "0", "2/2"],
        ["sound_1", "done", "1", "2/2"],
    ]
    assert "\x1b" not in stdout
    runs = json.loads(qexp("ls", "--json", "--workspace", finished).stdout)
    assert [run["name"] for run in runs] == qexp("ls", "-q", "--workspace", finished).stdout.split()
    for summary in runs:
        assert summary.keys() >= {
            "name",
            "experience",
            "dataset",
            "model",
            "seed",
            "state",
            "created",
            "ended",
            "path",
            "results",
            "overrides",
            "tags",
        }
        assert summary["results"]["test"]["depth"].keys() >= {"mae", "rmse", "bias", "r2", "mre"}
    rows = list(csv.DictReader(qexp("ls", "--csv", "--workspace", finished).stdout.splitlines()))
    for row, summary in zip(rows, runs, strict=True):
        assert row["name"] == summary["name"]
        assert float(row["test.depth.mae"]) == summary["results"]["test"]["depth"]["mae"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def on_a_terminal(monkeypatch):
    """What a command prints to a terminal of a width, without the codes that make it bold."""

    def run_there(width, *arguments):
        terminal = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", terminal)
            for name, value in {"COLUMNS": str(width), "TERM": "xterm", "NO_COLOR": "1"}.items():
                patch.setenv(name, value)
            app([str(argument) for argument in arguments], prog_name="qexp", standalone_mode=False)
        return re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())

    return run_there


UNITS = {"depth": "km", "delta_volume": "10⁶ m³", "volume_of_the_upper_sill": "10⁶ m³"}


@pytest.fixture
def wide(here) -> list[str]:
    """Runs with long names and three outputs beside sound_0."""
    record, names = json.loads((here / "runs/sound_0/run.json").read_text()), []
    for number in range(4):
        names.append(f"sill_below_the_northern_rift_zone_{number // 2}_{number % 2}")
        shutil.copytree(here / "runs/sound_0", here / "runs" / names[-1])
        metrics = {"mae": 0.012 * (number + 1), "rmse": 0.2, "bias": -1e-5, "r2": 0.99, "mre": 12.3}
        metrics["median_relative_error"] = 3.21
        changed = {"name": names[-1], "seed": number % 2, "units": UNITS}
        changed["results"] = {
            part: dict.fromkeys(UNITS, metrics) for part in ("validation", "test")
        }
        changed["overrides"] = [f"learning_rate={0.1**number:g}", "sizes=[1000, 500, 500]"]
        changed["metrics"] = {
            name: {"best": "lowest", "unit": "{unit}"} for name in ("mae", "rmse")
        }
        (here / "runs" / names[-1] / "run.json").write_text(json.dumps({**record, **changed}))
    return names


@pytest.mark.heavy
@pytest.mark.parametrize("width", [60, 80, 100, 240])
def test_every_table_fits_the_terminal_and_names_the_columns_that_do_not(
    wide, qexp, on_a_terminal, width
):
    first, second, *_ = wide
    groups = ("sill*_0_?", "sill*_1_?")
    matrix = (
        "matrix",
        "sound_0",
        "--dataset",
        "sound",
        "--axis",
        "depth=1:2:2",
        "--axis",
        "delta_volume=1:2:2",
    )
    commands = [
        ("ls",),
        ("ls", "--group", "seed,overrides"),
        ("ls", "--lineage"),
        ("show", first),
        ("compare", first, second),
        ("compare", *groups, "--all"),
        ("compare", *groups),
        ("status",),
        ("specs",),
        ("tables",),
        ("tables", "losses"),
        ("tables", "modules", "conv"),
        ("tables", "quantities"),
        ("tag", *wide),
        ("evaluate", "sound_0"),
        matrix,
    ]
    left_out = {}
    for words in commands:
        lines = on_a_terminal(width, *words).splitlines()
        assert lines, words
        # paths stay in one piece
        too_long = [line for line in lines if width_of(line) > width and "/" not in line]
        assert too_long == [], words
        assert not [
            line for line in lines if ("10⁶" in line) != ("m³" in line) and "no room" not in line
        ], words
        left_out[words] = " ".join(lines).partition("no room in ")[2]
    assert bool(left_out[("ls",)]) == (width < 240)
    titles = [*re.split("  +", qexp("ls").stdout.splitlines()[0])]
    shown = " ".join(on_a_terminal(width, "ls").split())
    assert all(word in shown for title in titles for word in title.split())
    assert "no room" not in qexp("ls").stdout


def test_a_table_of_any_size_fits_any_width_and_loses_nothing_unnamed():
    random = Random(0)
    for _ in range(300):
        words = [
            "é",
            "名前",
            "mae (10⁶ m³)",
            "run_with_a_name_0",
            "0.0123",
            "-1e-05",
            "a longer text of words",
            "",
        ]
        columns = [f"{random.choice(words)}{number}" for number in range(random.randint(1, 9))]
        rows = [[random.choice(words) for _ in columns] for _ in range(random.randint(0, 5))]
        right, width = random.sample(columns, len(columns) // 2), random.randint(40, 200)
        table = fit(columns, rows, right, width)
        assert sum(table.widths) + 2 * (len(table.widths) - 1) <= width
        shown = len(table.widths)
        assert columns[shown:] == [
            title for title in table.left_out if not title.startswith("whole ")
        ]
        whole = {
            title.removeprefix("whole ") for title in table.left_out if title.startswith("whole ")
        }
        names = [title.removesuffix(" (10⁶ m³)") for title in columns]
        for row, lines in zip(rows, table.lines, strict=True):
            said = [
                " ".join(" ".join(cell).split()).replace("-1 × 10⁻⁵", "-1e-05") for cell in lines
            ]
            for cell, text, name in zip(said, row[:shown], names, strict=False):
                assert cell == text or (
                    name in whole and "…" in cell and text.startswith(cell.partition("…")[0])
                )


def test_a_name_is_shortened_as_far_as_others_need_room_and_keeps_its_ends_and_that_is_said():
    table = fit(["name", "state", "mae (km)"], [["x" * 50 + "_7", "done", "0.1"]], ["mae (km)"], 60)
    assert table.lines[0][0] == ["x" * 23 + "…" + "x" * 21 + "_7"]
    assert table.left_out == ["all of 'name'"]
    assert table.head == [["name", "state", "mae"], ["", "", "(km)"]]


@pytest.mark.heavy
def test_help_fits_80_columns(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", None)
    runner = CliRunner()
    for command in (
        [],
        *([name] for name in COMMANDS),
        ["data", "show"],
        *(["data", kind] for kind in ("ice", "xrf", "observation")),
    ):
        done = runner.invoke(app, [*command, "--help"], prog_name="qexp", env={"COLUMNS": "80"})
        assert done.exit_code == 0
        assert [line for line in done.stdout.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--where", "sead < 5"), "no field 'sead'; did you mean 'seed'?"),
        (("--where", "lerning_rate < 1"), "no field 'lerning_rate'; did you mean 'learning_rate'?"),
        (("--where", "code.comit == 'abc'"), "no field 'code.comit'"),
        (("--where", "seed <"), "--where: cannot understand 'seed <'"),
        (("--where", "open('x')"), "--where: only comparisons"),
        (("--sort", "results"), "--sort results: the values are neither all numbers nor all texts"),
        (("--sort", "sead"), "no field 'sead'; did you mean 'seed'?"),
        (("--status", "dome"), "--status dome: no such state; did you mean 'done'?"),
    ],
)
def test_a_choice_or_order_that_cannot_be_made_is_a_usage_error(finished, qexp, options, complaint):
    assert complaint in qexp("ls", *options, "--workspace", finished).refused()


def test_a_run_that_is_not_there_is_answered_with_the_nearest(finished, workspace, qexp):
    assert qexp("show", "nosuch") == (3, "", "error: no run 'nosuch'; there are none\n")
    stderr = qexp("show", "sond_0", "--workspace", finished).refused(3)
    assert stderr == "error: no run 'sond_0'; did you mean 'sound_0'?\n"
    stderr = qexp("show", "sound", "--workspace", finished).refused(3)
    assert "'sound' is a prefix of 2 run names: sound_0, sound_1; write more of it\n" in stderr
    stderr = qexp("compare", "sound", "--workspace", finished).refused(3)
    assert "sound_0, sound_1; write more of it, or all of them: 'sound*'" in stderr
    stderr = qexp("run", "sound_1", "--resume", "--workspace", finished).refused()
    assert (
        "no experience 'sound_1'; that is a run: qexp rerun sound_1 --resume goes on with it"
        in stderr
    )
    resuming = ("run", "sound", "--resume", "--seeds", "8:10", "--dry-run", "--workspace", finished)
    assert (
        "nothing to resume: no interrupted run has this spec and seed; new: sound_8"
        in qexp(*resuming).stderr
    )


def test_what_is_shown_of_a_run_holds_its_state_its_results_and_its_files(finished, qexp):
    lines = [
        line.split()
        for line in qexp("show", "sound_0", "--workspace", finished).quiet().splitlines()
    ]
    assert ["run", "sound_0"] in lines
    assert ["state", "done"] in lines
    assert [line[:2] for line in lines if line[:1] == ["test"]] == [
        ["test", "depth"],
        ["test", "delta_volume"],
    ]
    for path in ("metrics.jsonl", "checkpoints/best.safetensors", "results/test_predictions.nc"):
        assert [path] in lines
        assert (finished / "runs" / "sound_0" / path).is_file()


@pytest.mark.parametrize(
    ("runs", "code", "complaint"),
    [
        (("sound_0",), 2, "compare needs at least two runs"),
        (("sound_0", "runs/sound_0"), 2, "the same run is named twice"),
        (("sound_0", "sound_9"), 3, "no run 'sound_9'; did you mean 'sound_1'?"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(
    finished, qexp, monkeypatch, runs, code, complaint
):
    monkeypatch.chdir(finished)
    assert complaint in qexp("compare", *runs).refused(code)


# Starting


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("sound", "--seed", "-1"), 2, "seed -1: a seed is a whole number from 0 on"),
        (("sound", "--seed", "three"), 2, "--seed"),
        (("sound", "--seed", "1.5"), 2, "--seed"),
        *(
            (
                ("sound", "--device", device),
                2,
                f"--device {device}: no such device; use auto, cpu or cuda",
            )
            for device in ("tpu", "meta", "mps", "xla", "vulkan", "cpu:7")
        ),
        (("sound", "--seed", 2**64), 2, "a seed is a whole number from 0 on, less than 2^63"),
        (("sound", "--seed", 10**30), 2, "--seed 1000"),
        *(
            (("sound", "--name", name), 2, f"'{name}' is not a valid run name; use letters, digits")
            for name in (
                "../x",
                "a/b",
                ".",
                ".hidden",
                "a b",
                "-rf",
                "ätna",
                "catalog.json",
                "catalog.json.lock",
            )
        ),
        *(
            (("sound", "--name", name, *more), 2, "is not a valid run name")
            for name, *more in (
                ["a\n"],
                ["a\x1b[31m"],
                ["a" * 201],
                ["../own", "--dry-run"],
                ["a b", "--dry-run"],
            )
        ),
        (
            ("sound", "--seeds", "0:2", "--name", "own", "--dry-run"),
            2,
            "--name is for a single run",
        ),
        (("sound", "--storage-path", "file"), 2, "file: it is a file"),
        (
            ("sound", "--storage-path", "/proc/nosuch"),
            2,
            "cannot write to /proc/nosuch: No such file or directory; no",
        ),
        (("sound", "--set", "epochs=0"), 2, "error: --set epochs at $.epochs: must be at least 1"),
        (("sound", "--set", "epochs"), 2, "--set epochs: write key.path=value"),
        (("sound", "--pretrain", "nosuch"), 3, "no run 'nosuch'"),
        (("sound", "--pretrain", "2024"), 3, "no run '2024'"),
        (
            ("broken",),
            2,
            "specs/experiences/broken.json at $.batch_size: a batch of 99 is larger than",
        ),
        (("sund",), 2, "no experience 'sund'; did you mean 'sound'?"),
        (("specs/experiences/nosuch.json",), 2, "no experience 'nosuch'"),
    ],
)
def test_a_run_that_cannot_be_is_refused_before_anything_is_written(
    specs, qexp, arguments, code, complaint
):
    sound = json.loads((specs.root / "specs/experiences/sound.json").read_text())
    specs.write("experience", {**sound, "batch_size": 99}, "broken")
    (specs.root / "runs").mkdir()
    (specs.root / "file").touch()
    before = everything_below(specs.root)
    assert complaint in qexp("run", *arguments).refused(code)
    assert [path for path in everything_below(specs.root) if path not in before] == []


def test_a_run_that_cannot_be_written_down_leaves_nothing_behind(tmp_path):
    unwritable = {"outputs": ["depth"], "epochs": object()}
    plan = Plan(name="one", experience="sound", seed=1, spec=unwritable, digest="0" * 64)
    for storage, below in ((None, ["runs"]), (tmp_path / "elsewhere", ["elsewhere", "runs"])):
        with pytest.raises(TypeError):
            prepare(plan, Workspace(tmp_path), storage=storage)
        assert everything_below(tmp_path) == below


def test_the_file_of_done_names_what_is_done_already_and_nothing_is_written_for_what_is_only_planned(
    finished, tmp_path, qexp
):
    file = tmp_path / "stages/done"
    run = ("run", "sound", "--device", "cpu", "--workspace", finished)
    for more, names in (["--resume"], "sound_0\n"), (["--seeds", "0:2"], "sound_0\nsound_1\n"):
        qexp(*run, *more, "--done", file).done()
        assert file.read_text() == names
    file.unlink()
    planned = qexp(*run, "--set", "epochs=3", "--name", "of_{digest}", "--dry-run").stdout.split()[
        0
    ]
    assert re.fullmatch("of_[0-9a-f]{6}", planned)
    for more in ["--dry-run"], ["--detach"], ["--launcher", "slurm"]:
        assert (
            "--done is for runs that this command trains itself"
            in qexp(*run, *more, "--done", file).refused()
        )
    assert not file.exists()


def test_a_run_that_is_done_is_not_done_again_and_its_name_not_given_to_another_spec(
    finished, qexp
):
    record = (finished / "runs/sound_0/run.json").read_bytes()
    before = everything_below(finished / "runs")
    code, stdout, stderr = qexp("run", "sound", "--device", "cpu", "--workspace", finished)
    assert (code, "sound_0 is done already; nothing to do" in stderr, "depth" in stdout) == (
        0,
        True,
        True,
    )
    stderr = qexp(
        "run", "sound", "--name", "sound_0", "--set", "epochs=3", "--workspace", finished
    ).refused()
    assert (
        "a run sound_0 with another spec exists already; choose another name with --name; its"
        " epochs is" in stderr
    )
    assert (finished / "runs/sound_0/run.json").read_bytes() == record
    assert {*everything_below(finished / "runs")} - {*before} <= {
        "catalog.json",
        "catalog.json.lock",
    }


# Names, and the same spec and seed under another one


@pytest.mark.heavy
@pytest.mark.parametrize(
    "line",
    [
        "--seed 11",
        "--seed 11 --set epochs=1",
        '--set losses.depth="mse"',
        "--name own --set epochs=1",
        "--seeds 3:5 --set epochs=1",
        "--grid losses.depth=mse,mae",
    ],
)
def test_a_dry_run_prints_the_names_that_the_runs_then_have(specs, qexp, line):
    planned = qexp("run", "sound", *line.split(), "--dry-run").done().splitlines()
    assert everything_below(specs.root / "runs") == []
    qexp("run", "sound", *line.split(), "--device", "cpu").done()
    assert sorted(row.split()[0] for row in planned) == sorted(qexp("ls", "-q").stdout.split())
    # all are done
    assert "nothing to run" in qexp("run", "sound", *line.split(), "--dry-run").messages()


@pytest.mark.heavy
def test_a_changed_spec_leaves_the_plain_name_to_the_unchanged_one(specs, qexp):
    assert qexp("run", "sound", "--seed", "9", "--set", "epochs=1", "--device", "cpu").code == 0
    (changed,) = qexp("ls", "-q").stdout.split()
    assert re.fullmatch(r"sound_[0-9a-f]{6}_9", changed)
    assert package.run("sound", seed=9, overrides={"epochs": 1}, device="cpu").name == changed
    assert qexp("run", "sound", "--seed", "9", "--device", "cpu").code == 0
    assert sorted(qexp("ls", "-q").stdout.split()) == sorted([changed, "sound_9"])


@pytest.mark.heavy
def test_the_same_spec_and_seed_are_not_trained_under_another_name_unless_one_is_given(specs, qexp):
    short = ("--set", "epochs=1", "--device", "cpu")
    assert qexp("run", "sound", "--name", "given", *short).code == 0
    said = qexp("run", "sound", *short).stderr
    assert "has the same spec and seed as given, which stands for it" in said
    assert "given is done already; nothing to do" in said
    assert qexp("ls", "-q").stdout == "given\n"
    usual = re.search(r"sound_[0-9a-f]{6}_0", said)[0]
    # a name that was given is for a repetition
    assert qexp("run", "sound", "--name", usual, *short).code == 0
    (first,) = (name for name in qexp("ls", "-q").stdout.split() if name != "given")
    shutil.copy(
        specs.root / "specs/experiences/sound.json", specs.root / "specs/experiences/twin.json"
    )
    code, _, stderr = qexp("run", "twin", *short)
    assert (code, f"{first} is done already; nothing to do" in stderr) == (0, True)
    assert f"has the same spec and seed as {first}" in stderr
    code, stdout, stderr = qexp("run", "twin", "--seeds", "0:2", *short, "--dry-run")
    assert (code, f"has the same spec and seed as {first}" in stderr) == (0, True)
    (line,) = stdout.splitlines()
    assert re.match(r"twin_[0-9a-f]{6}_1 ", line)
    ran = package.sweep(package.Order("twin", [0], overrides={"epochs": 1}, device="cpu"))
    assert [run.name for run in ran] == [first]
    assert sorted(qexp("ls", "-q").stdout.split()) == ["given", first]
    assert qexp("run", "twin", "--name", "second", *short).code == 0
    assert sorted(qexp("ls", "-q").stdout.split()) == ["given", "second", first]
    for name in qexp("ls", "-q").stdout.split():  # runs without results stand for no other
        (specs.root / f"runs/{name}/results/test_predictions.nc").unlink()
    assert qexp("run", "twin", *short).code == 0
    assert len(qexp("ls", "-q").stdout.split()) == 4


# Damage


def test_a_run_whose_spec_is_empty_or_gone_is_damaged(here, qexp):
    spec = here / "runs/sound_0/spec.json"
    spec.write_text("{}")
    qexp("show", "sound_0").failed(5)
    spec.unlink()
    qexp("show", "sound_0").failed(5)


def test_a_run_is_not_trained_in_the_place_of_a_damaged_one(here, qexp):
    (here / "runs/sound_0/run.json").write_text("{")
    qexp("run", "sound", "--name", "sound_0").failed(5)
    assert (here / "runs/sound_0/run.json").read_text() == "{"


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["volcano", "mechanism", "rows", "fields", "spectra"])
def test_the_examples_of_one_kind_need_no_others(qexp, tmp_path, monkeypatch, kind):
    qexp("init", tmp_path / "place", "--kind", kind).messages()
    monkeypatch.chdir(tmp_path / "place")
    assert qexp("validate").code == 0
    assert 3 <= len(list((tmp_path / "place" / "specs").rglob("*.json"))) <= 7


def test_examples_of_an_unknown_kind_are_refused_before_anything_is_made(qexp, tmp_path):
    assert (
        "--kind volcanoes: there are no such examples"
        in qexp("init", tmp_path / "x", "--kind", "volcanoes").refused()
    )
    assert not (tmp_path / "x").exists()
