"""From Python as from the shell: what is offered, purging the trash, examining the workspace,
building the catalog.
"""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

import qexp as package
from qexp.errors import QexpError
from qexp.runs.order import SweepOptions
from qexp.store.directory import RunDirectory
from qexp.store.record import Record, State
from tests.test_imports import said_by_a_new_process

ALL_LOADED = """
import importlib, inspect, json, pkgutil, qexp
from qexp import api
for module in pkgutil.iter_modules(api.__path__):
    importlib.import_module(f"qexp.api.{module.name}")
names = [(owner, name) for owner in (qexp, api) for name in dir(owner)]
print(json.dumps([f"{owner.__name__}.{name}" for owner, name in names if inspect.ismodule(getattr(owner, name))]))
"""


@pytest.mark.heavy
def test_no_name_of_a_function_is_taken_by_a_module_that_is_loaded_later():
    assert said_by_a_new_process(ALL_LOADED) == [
        "qexp.api",
        "qexp.errors",
        "qexp.extend",
        "qexp.testing",
    ]


@pytest.fixture
def make(workspace: Path) -> Callable[[str], Path]:
    """`make("one")`: a run of a record and one file."""

    def make_run(name: str) -> Path:
        folder = workspace / "runs" / name
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints/best.safetensors").write_bytes(b"w" * 1000)
        RunDirectory(folder).write(Record(name=name, seed=0, state=State.FAILED))
        return folder

    return make_run


def test_a_purge_tells_what_it_deleted_what_that_freed_and_what_it_could_not_delete(make, tmp_path):
    for name in ("one", "two"):
        make(name)
        package.open_run(name).remove()
    (tmp_path / "workspace/runs/.trash/far--20260101T000000.000000Z").symlink_to(
        tmp_path / "not_mounted"
    )
    assert package.purge(timedelta(days=1)).names == []
    purged = package.purge()
    assert sorted(purged.names) == ["one", "two"]
    assert purged.freed > 2000
    (problem,) = purged.problems
    assert "not_mounted does not exist" in problem
    assert package.purge(workspace=tmp_path / "workspace").problems == [problem]


def test_a_purge_that_is_not_confirmed_deletes_nothing(make):
    def refuse(doomed):
        raise QexpError(f"keep {doomed[0].name}")

    make("one")
    package.open_run("one").remove()
    with pytest.raises(QexpError, match="keep one"):
        package.purge(confirm=refuse)
    assert package.restore("one").state == "failed"


def test_findings_are_the_ones_that_the_command_tells_and_are_repaired_if_asked(
    workspace, make, qexp
):
    make("one")
    (workspace / "runs/catalog.json").write_text("{")
    printed = json.loads(qexp("doctor", "--json").stdout)
    assert [finding.document() for finding in package.doctor()] == printed
    (before,) = (
        finding for finding in package.doctor(fix=True) if finding.where.name == "catalog.json"
    )
    assert (before.damaged, before.repaired) == (True, True)
    assert "catalog.json" not in {
        finding.where.name for finding in package.doctor(workspace=workspace)
    }


def test_the_catalog_is_built_again_and_a_warning_names_what_cannot_be_read(workspace, make):
    make("one")
    torn = make("two") / "run.json"
    torn.write_text("{")
    (workspace / "runs/catalog.json").write_text("{")
    with pytest.warns(UserWarning, match="two/run.json cannot be read"):
        assert package.reindex() == 1
    assert [(run["name"], run["state"]) for run in package.runs()] == [
        ("one", "failed"),
        ("two", "damaged"),
    ]
    torn.unlink()
    assert package.reindex(workspace=workspace) == 1


def test_a_listing_is_a_list_of_dictionaries_and_a_table(make, workspace, monkeypatch):
    for name in ("one", "two"):
        make(name)
    runs, specs = package.runs(), package.specs("model")
    assert json.loads(json.dumps(runs)) == list(runs) == [*runs[:1], runs[1]]
    assert [run["name"] for run in sorted(runs, key=lambda run: run["name"], reverse=True)] == [
        "two",
        "one",
    ]
    assert repr(runs) == "<2 runs: one, two>"
    assert [line.split()[:2] for line in str(runs[1:]).splitlines()] == [
        ["1", "runs"],
        ["name", "state"],
        ["two", "failed"],
    ]
    assert "<td>one</td>" in runs._repr_html_()
    assert "mogi_cnn" in specs._repr_html_()
    assert repr(package.runs("seed > 5")) == "<no runs>"
    assert list(runs.to_pandas()["name"]) == ["one", "two"]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(QexpError, match="pip install pandas"):
        specs.to_pandas()


def test_a_listing_of_many_shows_the_first(make):
    for number in range(50):
        make(f"run_{number:02}")
    runs = package.runs()
    assert "run_39" in str(runs)
    assert "run_40" not in str(runs)
    assert str(runs).endswith("and 10 more")


def test_runs_may_be_named_in_any_way_and_several_where_one_is_wanted_are_refused(
    make, workspace, tmp_path
):
    for name in ("one", "two", "three"):
        make(name)
    one, *others = map(package.open_run, ("one", "two", "three"))
    by_name = package.runs()
    ways = [
        one,
        "one",
        one.path,
        by_name[0],
        ["one"],
        (one,),
        iter([one]),
        "o*",
        package.runs("name == 'one'"),
    ]
    assert [package.open_run(way).name for way in ways] == ["one"] * len(ways)
    several = [
        others,
        {"two": 0, "three": 0}.keys(),
        "t*",
        ["two", iter(["three"])],
        iter(others),
        by_name[1:],
    ]
    for way in several:
        assert sorted(run.name for run in package.api.open_runs(way)) == ["three", "two"]
    for take in (package.evaluate, package.calibrate):
        with pytest.raises(
            QexpError, match="takes one run, and 2 are named: two, three; call it for each"
        ):
            take(others, **({"dataset": "mogi"} if take is package.evaluate else {}))
    for wrong in (3, None, {"a": 1}):
        with pytest.raises(QexpError, match="is no run: give a Run, a name, a pattern"):
            package.compare(wrong)


def test_the_runs_of_a_launch_are_waited_for(make, workspace):
    launch = workspace / "runs/.launches/20260101-000000/launch.json"
    launch.parent.mkdir(parents=True)
    record = {
        "id": launch.parent.name,
        "created": "2026-01-01T00:00:00+00:00",
        "argv": [],
        "launcher": "local",
    }
    launch.write_text(
        json.dumps({**record, "settings": {}, "runs": ["one"], "left": {}, "done_before": []})
    )
    make("one")
    record = workspace / "runs/one/run.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "launch": launch.parent.name}))
    make("two")
    assert [run.name for run, _ in package.api.wait(launch="last")] == ["one"]
    assert [run.name for run, _ in package.api.wait("two", launch="last")] == ["two", "one"]


def test_a_sweep_takes_experiences_or_an_order_and_seeds_as_python_has_them():
    whole = package.Order("mogi", seeds=range(2), grid={"epochs": [1, 2]}, device="cpu")
    assert (
        SweepOptions("mogi", range(2), {"epochs": [1, 2]}, device="cpu").order
        == SweepOptions(whole).order
        == whole
    )
    with pytest.raises(
        QexpError, match=r"seeds=3: give a list, seeds=\[3\] for seed 3, seeds=range\(3\)"
    ):
        package.sweep("mogi", seeds=3)
    with pytest.raises(QexpError, match="keep one of them"):
        package.sweep("mogi", grid={"epochs": [1]}, overrides={"epochs": 2})
    with pytest.raises(
        QexpError, match=r'seeds="0:3": give whole numbers, such as seeds=range\(5\)'
    ):
        package.sweep("mogi", seeds="0:3")
    with pytest.raises(QexpError, match="jobs: the Order has its own"):
        package.sweep(whole, jobs=3)
    for several in (("mogi", range(3)), (["mogi", "ice"], 0)):
        with pytest.raises(QexpError, match=r"a run has one (seed|experience); qexp.sweep trains"):
            package.run(several[0], seed=several[1])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: package.run("mogi", overrides=["epochs=3"]), "overrides=.*: give a dictionary"),
        (lambda: package.sweep("mogi", grid="a=1,2"), "grid=.*: give a dictionary, such as"),
        (
            lambda: package.predict("one", "a.nc", "b.nc", unit=5),
            "unit=5: give a text or a dictionary, such as",
        ),
        (lambda: package.sweep("mogi", jobs="2"), "jobs: give a whole number, not '2'"),
        (lambda: package.run("mogi", seed="0"), "seed: give a whole number, not '0'$"),
        (lambda: package.report("one", text=["a"]), r"text: give a text or a path, not \['a'\]"),
        (
            lambda: package.sweep("mogi", set={"epochs": 3}),
            "argument 'set'; it is called 'overrides'",
        ),
        (lambda: package.report("one", out="a.html"), "argument 'out'; it is called 'to'"),
        (lambda: package.run("mogi", grid={}), "argument 'grid'; qexp.sweep takes one"),
        (lambda: package.runs(group="seed"), "argument 'group'; qexp.api.groups"),
        (lambda: package.runs(columns=["seed"]), "argument 'columns'; qexp.api.rows"),
        (lambda: package.run("mogi", seed=True), "seed: give a whole number, not True$"),
        (
            lambda: package.sweep("mogi", seeds=[True, False]),
            "^seed=True: a seed is a whole number",
        ),
        (
            lambda: package.sweep(7),
            "experiences=7: give the name of an experience, or a list of several",
        ),
        (
            lambda: package.sweep("mogi", dry_run=True),
            r"argument 'dry_run'; qexp.api.prepare\(Order",
        ),
        (lambda: package.sweep("mogi", j=2), "argument 'j'; it is called 'jobs'"),
        (lambda: package.compare("one", all=True), "argument 'all'; all metrics are compared"),
        (
            lambda: package.compare("one", outputs=3),
            "outputs: give a text or a list of texts, not 3",
        ),
        (lambda: package.figures("one", formats=3), "formats: give a list of texts, not 3"),
        (lambda: package.api.groups("seed"), "'seed' are no runs of a listing; give them first"),
        (lambda: package.compar, "qexp has no 'compar'; did you mean 'compare'?"),
    ],
)
def test_what_functions_do_not_take_is_refused_with_what_they_do(call, said):
    with pytest.raises((QexpError, TypeError, AttributeError), match=said):
        call()


@pytest.mark.heavy
def test_a_type_checker_sees_what_functions_take_and_return(tmp_path):
    venv.create(tmp_path / "venv")
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (packages / "qexp").symlink_to(Path(package.__file__).parent)
    script = [
        "import qexp",
        "reveal_type(qexp.runs()[0])",
        "qexp.sweep('a', seeds=[1])[0].nam",
        "qexp.run('a', sed=1)",
    ]
    (tmp_path / "script.py").write_text("\n".join(script))
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--python-executable",
        tmp_path / "venv/bin/python",
        "script.py",
    ]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    ).stdout
    for words in (
        '"dict[str, Any]"',
        '"Run" has no attribute "nam"; maybe "name"?',
        'Unexpected keyword argument "sed"',
    ):
        assert words in found
