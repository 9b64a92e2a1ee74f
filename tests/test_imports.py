"""Imports point one way, and what only reads results is not kept waiting by what computes them."""

import ast
import json
import os
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.source import (
    MODULES,
    PACKAGE,
    RANK,
    imports_in,
    imports_of,
    nodes_of,
    part,
    reads_all_modules,
)

NEVER = {
    "networks": {"simulation.dataset", "foreign"},
    "examples": {"networks", "deformation"},
    "spec": {
        "inference",
        "networks",
        "foreign",
        "simulation",
        "observations",
        "examples",
        "physics",
    },
    "physics": RANK.keys() - {"physics"},
    "errors": RANK.keys() - {"errors"},
}
"""What a part does not import although the layers would let it."""

NAMED_BY_LOWER = {("spec.kinds", "kinds")}
"""Modules that name parts above them in texts: the table of the kinds of datasets."""


def named_in_texts(module: str) -> set[str]:
    """The modules that a module names in texts, as "qexp.room.module:name", to load them later."""
    named = set()
    for node in nodes_of(module):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and re.fullmatch(r"qexp(\.\w+)+(:\w+)?", text):
            name = text.partition(":")[0].removeprefix("qexp.")
            # "qexp.room.module.name" is meant, too
            named |= {name, name.rpartition(".")[0]} & MODULES.keys()
    return named


GEODESY = {"physics", "simulation", "observations", "inference", "deformation"}
SEEN_BY_GEODESY = {"rows", "metrics", "figures", "base", "errors"}
"""The deformation of the surface knows nothing of specs, networks and runs: it could be a
distribution of its own.
"""


@reads_all_modules
def test_every_part_of_the_package_has_a_layer():
    assert {part(module) for module in MODULES} <= set(RANK)
    assert len(MODULES) > 40


@reads_all_modules
def test_modules_import_from_their_own_layers_and_from_lower_ones_only():
    arrows = [(module, imported) for module in MODULES for imported in imports_of(module)]
    assert [(low, high) for low, high in arrows if RANK[part(high)] < RANK[part(low)]] == []
    assert [
        (one, other) for one, other in arrows if part(other) in NEVER.get(part(one), set())
    ] == []


@reads_all_modules
def test_modules_name_lower_ones_alone_also_in_texts():
    assert "kinds.images.evaluation" in named_in_texts("kinds.images")
    higher = {
        (module, part(named))
        for module in MODULES
        for named in named_in_texts(module)
        if RANK[part(named)] < RANK[part(module)]
    }
    assert higher == NAMED_BY_LOWER


@reads_all_modules
def test_the_geodesy_sees_itself_row_files_metrics_and_tables_alone():
    seen = {
        module: set(map(part, imports_of(module))) for module in MODULES if part(module) in GEODESY
    }
    assert len(seen) > 30
    beyond = {module: parts - GEODESY - SEEN_BY_GEODESY for module, parts in seen.items()}
    assert {module: parts for module, parts in beyond.items() if parts} == {}


def circle_in(arrows: dict[str, set[str]]) -> list[str]:
    """Names that import one another in a circle, the first one again at the end; empty if there is
    none.
    """
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return error.args[1]
    return []


@reads_all_modules
def test_no_modules_import_one_another_in_a_circle():
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}}) != []
    assert (
        circle_in({module: imports_of(module) & MODULES.keys() - {module} for module in MODULES})
        == []
    )


SEE_A_KIND = {"images": ("trust.", "kinds.simulations.")}
"""Folder of a kind → the rooms that import it besides itself, and the kind that only has the images
from elsewhere. All others ask its `KindData`, and its other stages.
"""


@reads_all_modules
def test_a_kind_of_dataset_is_imported_in_its_own_folder_alone():
    folders = {
        module: module.split(".")[1]
        for module in MODULES
        if module.count(".") == 2 and "kinds." in module
    }
    assert set(folders.values()) == {"rows", "fields", "spectra", "images", "simulations"}
    strangers = [
        (module, seen)
        for module in MODULES
        for seen in sorted(imports_of(module) & folders.keys())
        if not module.startswith((f"kinds.{folders[seen]}", *SEE_A_KIND.get(folders[seen], ())))
    ]
    assert strangers == []


LARGEST_FILE, LARGEST_FUNCTION = 900, 60
"""Lines; of a function those of its statements, without its signature and docstring."""


def lines_of_statements(function: ast.FunctionDef) -> int:
    first = function.body[1 if ast.get_docstring(function) and len(function.body) > 1 else 0]
    return (function.end_lineno or 0) - first.lineno + 1


@reads_all_modules
def test_files_and_functions_fit_on_a_few_screens():
    texts = {module: path.read_text(encoding="utf-8") for module, path in MODULES.items()}
    files = {module: text.count("\n") for module, text in texts.items()}
    assert {module: lines for module, lines in files.items() if lines > LARGEST_FILE} == {}
    functions = {
        f"{module}.{node.name}": lines_of_statements(node)
        for module in MODULES
        for node in nodes_of(module)
        if isinstance(node, ast.FunctionDef)
    }
    assert {name: lines for name, lines in functions.items() if lines > LARGEST_FUNCTION} == {}


PROCESSES = {"cli.processes", "cli.names"}
"""Hidden commands, the starting points of processes that runs, pools and schedulers start; and the
one that writes the names for completion. None is called from Python.
"""

PRINTING = {
    "base.files": "sizes as texts, and the file that names what is done",
    "base.formats": "JSON and CSV as texts",
    "base.options": "what dataclasses of options say of the shell",
    "base.machine": "signals reach the process of the command",
    "base.text": (
        "tables as Markdown and LaTeX, and texts of others without what would act on a terminal"
    ),
    "base.workspace": "paths as messages show them",
    "comparison.compare": "comparisons as tables, by their type",
    "comparison.seeds": "comparisons of groups, by their type",
    "comparison.summary": "a comparison at a glance, as texts",
    "deformation.options": "options of observe and invert",
    "deformation.stored": "a listing of inversions, as a table",
    "deformation.tables": "observations and inversions, as texts",
    "errors": "what is raised, the exit codes, and near names",
    "jobs.launchers": "the names of launchers, for help texts",
    "kinds.options": "options of commands that use trained networks",
    "metrics.meaning": "numbers as texts",
    "results.calibration_report": "calibrations, as texts",
    "results.capabilities": "all results of a run, by section",
    "results.errors": "errors of a run or an evaluation, as texts",
    "results.intervals": "intervals of held-out rows, as texts",
    "runs.catalog": "whether a word is a name or a pattern",
    "results.distilled": (
        "errors of a network beside those of the ensemble that it learned from, as tables"
    ),
    "runs.columns": "cells of listings, as texts",
    "runs.facts": "what a run is and where it came from, as texts",
    "runs.options": "options of ls, export, import, verify, purge and serve",
    "runs.order": "options of run, rerun and study, and texts as seeds, grids and overrides",
    "spec.experiences": "the lines of a resolved spec, by the type of the experience",
    "examples.options": "options of data ice, xrf and observation",
    "spec.schema": "the parameters of an entry, as texts",
    "store.record": "the states and their words",
    "tuning.options": "options of tune",
}
"""Module below the api → what a command takes from it, none of which acts on runs."""

COMPLETING = {
    "base.formats",
    "runs.catalog",
    "spec.extensions",
    "spec.resolution",
    "store.directory",
}
"""What completion reads besides, within the time of a keystroke: names, and the specs that the line
names.
"""


def needed_at_run_time(module: str) -> set[str]:
    """Like `imports_of`, without what is imported for type checking only."""
    tree = nodes_of(module)[0]
    assert isinstance(tree, ast.Module)
    typing = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    return imports_in(ast.walk(ast.Module([node for node in tree.body if node not in typing], [])))


@reads_all_modules
def test_commands_reach_their_work_through_the_api():
    commands = [module for module in MODULES if part(module) == "cli" and module not in PROCESSES]
    lower = {
        module: {
            one for one in needed_at_run_time(module) if part(one) not in ("__init__", "api", "cli")
        }
        for module in commands
    }
    assert {module: used for module, used in lower.items() if not used <= PRINTING.keys()} == {
        "cli.completion": lower["cli.completion"]
    }
    assert lower["cli.completion"] <= PRINTING.keys() | COMPLETING
    assert set().union(*lower.values()) == PRINTING.keys() | COMPLETING, (
        "what is not needed is not allowed"
    )


HEAVY = [
    "torch",
    "scipy",
    "sklearn",
    "pyarrow",
    "matplotlib",
    "xarray",
    "jsonschema",
    "tensorboard",
    "h5netcdf",
    "xraydb",
    "jinja2",
]

READING = [
    "cli",
    "api",
    "runs.catalog",
    "runs.columns",
    "jobs.states",
    "upkeep.trash",
    "upkeep.doctor",
    "upkeep.archive",
    "spec.extensions",
    "kinds.figures",
    "comparison.compare",
    "metrics.built_in",
]
"""What `ls`, `show`, `compare`, `--help` and shell completion import."""


def said_by_a_new_process(program: str, *arguments: str, **variables: str) -> dict[str, list[str]]:
    """What a program prints as its last line, as JSON."""
    command, environment = [sys.executable, "-c", program, *arguments], {**os.environ, **variables}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


IMPORT_AND_LOOK = """
import importlib, json, sys
heavy, reading = json.loads(sys.argv[1]), json.loads(sys.argv[2])
loaded = {}
for name in reading:
    importlib.import_module(name)
    loaded[name] = [module for module in heavy if module in sys.modules]
print(json.dumps(loaded))
"""


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        (READING, HEAVY),  # nothing that reads results loads what computes them
        (
            [module for module in MODULES if part(module) == "spec"],
            [name for name in HEAVY if name != "jsonschema"],
        ),
        (["runs.evaluate", "kinds.evaluation"], ["matplotlib"]),
    ],
    ids=["reading", "specs", "evaluation"],
)
def test_modules_load_no_libraries_that_they_do_not_need(modules, heavy):
    names = [f"qexp.{module}" for module in modules]
    assert said_by_a_new_process(IMPORT_AND_LOOK, json.dumps(heavy), json.dumps(names)) == {
        name: [] for name in names
    }


CALL_AND_LOOK = """
import contextlib, io, json, sys
from qexp.cli import app
loaded = {}
for arguments in json.loads(sys.argv[2]):
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
        try:
            app(arguments, prog_name="qexp")
        except SystemExit as ended:
            assert not ended.code, (arguments, said.getvalue())
    assert said.getvalue(), arguments
    loaded[" ".join(arguments)] = [module for module in json.loads(sys.argv[1]) if module in sys.modules]
print(json.dumps(loaded))
"""


@pytest.mark.heavy
def test_commands_that_read_a_run_answer_without_torch(finished, monkeypatch):
    monkeypatch.chdir(finished)
    monkeypatch.delenv("QEXP_WORKSPACE", raising=False)
    commands = [
        ["--help"],
        *(
            [*command.split(), "--help"]
            for command in ("ls", "data ice", "data xrf", "data observation", "data show")
        ),
        ["ls"],
        ["ls", "--json", "--where", "seed < 5", "--sort", "results.test.depth.mae"],
        ["ls", "--columns", "name,learning_rate,test.depth.mae", "--size", "--tag", "good"],
        ["ls", "--group", "dataset.fixed.noise"],
        ["show", "sound_0", "--json"],
        ["logs", "sound_0", "--follow"],
        *([command, "sound_0"] for command in ("show", "where", "wait", "stop", "tag")),
        ["reindex"],
    ]
    loaded = said_by_a_new_process(CALL_AND_LOOK, json.dumps(HEAVY), json.dumps(commands))
    assert loaded == {" ".join(command): [] for command in commands}
    compare = ["compare", "sound_0", "sound_1"]
    assert said_by_a_new_process(CALL_AND_LOOK, '["torch"]', json.dumps([compare])) == {
        " ".join(compare): []
    }


@pytest.mark.heavy
def test_figures_are_drawn_without_torch_and_scipy(here):
    commands = [
        ["figures", "sound_0"],
        ["figures", "sound_0", "--format", "pdf", "--only", "test_estimates"],
    ]
    loaded = said_by_a_new_process(CALL_AND_LOOK, '["torch", "scipy"]', json.dumps(commands))
    assert loaded == {" ".join(command): [] for command in commands}


@pytest.mark.heavy
def test_a_run_is_trained_and_its_matrix_made_without_torch_s_compiler(specs):
    """It takes two thirds of a second to load, and torch's optimizers and deterministic algorithms
    load it.
    """
    commands = [["run", "sound"], ["matrix", "sound_0", "--dataset", "sound"]]
    loaded = said_by_a_new_process(
        CALL_AND_LOOK, '["torch._dynamo", "sympy"]', json.dumps(commands)
    )
    assert loaded == {" ".join(command): [] for command in commands}


@pytest.mark.heavy
def test_benchmarks_and_validations_can_be_imported():
    folders = (PACKAGE.parent / "benchmarks", PACKAGE.parent / "validation")
    names = [
        f"{folder.name}.{path.stem}" for folder in folders for path in folder.glob("[a-z]*.py")
    ]
    assert len(names) > 20
    said_by_a_new_process(IMPORT_AND_LOOK, "[]", json.dumps(names))
