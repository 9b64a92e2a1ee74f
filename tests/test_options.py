"""An option is declared once: the shell, Python, the documentation and jobs on clusters take it
from there.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
from dataclasses import KW_ONLY, dataclass, fields
from pathlib import Path

import pytest
from typer.main import get_command

import qexp as package
from qexp.api.progress import watching
from qexp.base.options import Computing, flags_of, in_shell, option, python_only, takes
from qexp.cli import app
from qexp.deformation.options import InvertOptions, ObserveOptions
from qexp.errors import QexpError, spelled
from qexp.kinds.options import (
    CalibrateOptions,
    EvaluateOptions,
    LimitOptions,
    MatrixOptions,
    SimulateOptions,
    SubmitOptions,
)
from qexp.runs.options import ReportFile
from qexp.runs.order import NewRuns, RerunOptions, StudyOptions

DECLARED = {
    "observe": (package.observe, ObserveOptions),
    "invert": (package.invert, InvertOptions),
    "matrix": (package.matrix, MatrixOptions),
    "predict": (package.api.submit_predictions, SubmitOptions),
    "evaluate": (package.evaluate, EvaluateOptions),
    "calibrate": (package.calibrate, CalibrateOptions),
    "limit": (package.limit, LimitOptions),
    "rerun": (package.Run.rerun, RerunOptions),
    "study": (package.study, StudyOptions),
}


@dataclass(frozen=True)
class Repeats(Computing):
    dataset: str = option(..., "What is repeated.")
    _: KW_ONLY
    count: int = option(1, "How often.", "N")
    tell: object = python_only(None, "is told")


@takes(Repeats)
def repeated(run: str, options: Repeats) -> tuple[str, Repeats]:
    """Repeat.

    run  a run
    returns  both
    """
    return run, options


def test_a_function_takes_the_fields_of_its_options_as_keywords_and_documents_them():
    assert repeated("mogi_3", "mogi", count=2) == ("mogi_3", Repeats("mogi", count=2))
    assert (
        str(inspect.signature(repeated))
        == "(run: 'str', dataset: 'str', *, count: 'int' = 1, tell: 'object' = None, device: 'str'"
        " = 'auto', trust_code: 'bool' = False, workspace: 'str | Path | None' = None) ->"
        " 'tuple[str, Repeats]'"
    )
    lines = inspect.getdoc(repeated).splitlines()
    assert [line.split()[0] for line in lines[2:]] == [
        "run", "dataset", "count", "tell", "device", "trust_code", "workspace", "returns",
    ]  # fmt: skip


def test_a_text_alone_is_a_list_of_one():
    tags_of = takes(NewRuns)(lambda options: options.tags)
    assert tags_of(tags="sound") == tags_of(tags=["sound"]) == ["sound"]


def test_false_leaves_a_path_out_and_true_is_no_path():
    to_of = takes(ReportFile)(lambda options: options.to)
    assert to_of(to=False) is to_of(to=None) is None
    with pytest.raises(TypeError, match="`to` is a path, or left out, and not True"):
        to_of(to=True)


def test_a_dictionary_in_place_of_a_name_is_told_what_would_work():
    with pytest.raises(
        QexpError, match=r"dataset: give a text.*, not {'type': 'generated'}; write a spec to"
    ):
        package.samples({"type": "generated"})
    with pytest.raises(QexpError, match=r"where: give a text, not {'epochs': 1}$"):
        package.runs({"epochs": 1})


def test_a_keyword_that_is_nearly_one_is_named():
    with pytest.raises(TypeError, match=r"repeated: .*'cuont'; did you mean 'count'\?"):
        repeated("mogi_3", "mogi", cuont=2)
    with pytest.raises(TypeError, match="repeated: missing a required argument: 'dataset'"):
        repeated("mogi_3")
    with pytest.raises(TypeError, match=r"compare: .*'metric'; it is called 'metrics'"):
        package.compare("a", "b", metric="mae")
    with pytest.raises(TypeError, match=r"report: .*'titel'; did you mean 'title'\?"):
        package.report("a", titel="b")


@pytest.mark.parametrize("name", DECLARED)
def test_shell_and_python_have_the_same_options(name):
    function, options = DECLARED[name]
    shell = {parameter.name: parameter for parameter in get_command(app).commands[name].params}
    python = inspect.signature(function).parameters
    for field, about in in_shell(options):
        assert shell[field.name].opts[-1] == (field.name if about.argument else flags_of(field)[-1])
        assert field.name in python
    assert {field.name for field in fields(options)} <= set(python)


def test_options_are_written_back_as_the_words_that_give_them():
    values = {"chunk": 7, "interval": 0.8, "draws": 30, "refined": True, "device": "cpu"}
    options = SubmitOptions("in", "out", launcher="slurm", columns={"a": "b", "c": "d"}, **values)
    words = "--columns a=b,c=d --chunk 7 --interval 0.8 --draws 30 --refined --device cpu"
    assert sorted(options.words) == sorted(words.split())
    line = ["--run", "x", "--input", "in", "--output", "out", *options.words]
    context = get_command(app).commands["predict"].make_context("predict", line)
    assert context.params.items() >= values.items()
    assert list(context.params["columns"]) == ["a=b,c=d"]


WRONG = {
    "calibrate x --seed -1": (
        lambda: package.calibrate("x", seed=-1),
        "seed=-1: a seed",
        "--seed -1: a seed",
    ),
    "invert o.nc --method m": (
        lambda: package.invert("o.nc", method="m"),
        'method="m": choose',
        "--method m: choose",
    ),
    "invert o.nc --draws 200": (
        lambda: package.invert("o.nc", draws=200),
        "add posterior=True",
        "--draws, --method, --declared-noise and --noise-model are",
    ),
    "matrix --run x --dataset y --repeats 0": (
        lambda: package.matrix("x", "y", repeats=0),
        "repeats=0: at",
        "--repeats 0: at",
    ),
}


WRITTEN = {
    "`part=test`": ('part="test"', "--part test"),
    "`noise=1` `refine=True` `seed`": ("noise=1 refine=True seed", "--noise 1 --refine --seed"),
    "`fixed={'x': 0.5, 'y': 2.0}`": ('fixed={"x": 0.5, "y": 2}', "--fixed x=0.5 --fixed y=2"),
    "`axes={'depth': (0, 4, 128)}`": ('axes={"depth": (0, 4, 128)}', "--axes depth=0:4:128"),
    "`fixed[x]`: no": ('fixed["x"]: no', "--fixed x: no"),
    "`variable=a b`": ('variable="a b"', "--variable 'a b'"),
    "`unit=['m', 'mm']`": ('unit=["m", "mm"]', "--unit m --unit mm"),
    "`columns={'los': 'NAME'}`": ('columns={"los": NAME}', "--columns los=NAME"),
    "`columns={'los': 'a, b'}`": ('columns={"los": "a, b"}', """--columns '{"los": "a, b"}'"""),
    "`columns={'los': 'a b'}`": ('columns={"los": "a b"}', "--columns 'los=a b'"),
}


@pytest.mark.parametrize("text", WRITTEN)
def test_values_in_errors_can_be_copied_to_where_the_error_was(text):
    in_python, in_shell = WRITTEN[text]
    assert str(QexpError(text)) == in_python
    assert spelled(text, lambda name: f"--{name}") == in_shell


@pytest.mark.parametrize("line", WRONG)
def test_errors_name_the_argument_in_python_and_the_option_in_the_shell(line, qexp):
    call, in_python, in_shell = WRONG[line]
    with pytest.raises(QexpError) as refused:
        call()
    assert in_python in str(refused.value)
    assert in_shell in qexp(*line.split()).failed()


OF_OTHER_PROGRAMS = ("jobs/slurm.py", "jobs/gridengine.py", "runs/rerun.py")
"""Their errors name options of sbatch, qsub and git."""


@pytest.mark.heavy
def test_no_error_below_the_commands_names_an_option_of_the_shell():
    package_folder, offenders = Path(package.__file__).parent, []
    for path in package_folder.rglob("*.py"):
        module = path.relative_to(package_folder).as_posix()
        if module.startswith("cli/") or module in OF_OTHER_PROGRAMS:
            continue
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(getattr(call, "func", None), "id", "")
            if isinstance(call, ast.Call) and name.endswith("Error"):
                texts = [node.value for node in ast.walk(call) if isinstance(node, ast.Constant)]
                words = re.sub(r"qexp .*", "", " ".join(map(str, texts)))
                offenders += [f"{module}:{call.lineno}: {words}"] * bool(
                    re.search(r"(?<![\w-])--[a-z]", words)
                )
    assert not offenders, "\n".join(offenders)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("display", [None, False])
def test_no_bar_is_drawn_where_display_is_false(display, monkeypatch):
    @takes(SimulateOptions)
    def simulate(options):
        """Draw a bar."""
        with watching(options.watch, "simulating") as watch:
            watch("solver", 0.5)

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    simulate("solver", 3, display=display)
    assert ("50 %" in terminal.getvalue()) == (display is None)


def test_every_function_with_a_bar_can_be_asked_for_none():
    functions = [
        function for name in package.__all__ if callable(function := getattr(package, name))
    ]
    with_bars = [
        function
        for function in functions
        if re.search("bar if left out|a bar on a", function.__doc__ or "")
    ]
    assert {"run", "calibrate", "invert", "predict", "simulate"} <= {
        function.__name__ for function in with_bars
    }
    assert [
        function
        for function in with_bars
        if "display" not in inspect.signature(function).parameters
    ] == []
