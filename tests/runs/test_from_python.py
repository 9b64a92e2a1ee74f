"""From Python as from the shell: what is offered, purging the trash, examining the workspace, building the catalog."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

import qexp as package
from qexp.errors import QexpError
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


@pytest.mark.slow
def test_no_name_of_a_function_is_taken_by_a_module_that_is_loaded_later():
    assert said_by_a_new_process(ALL_LOADED) == ["qexp.api", "qexp.errors", "qexp.extend"]


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
    (tmp_path / "workspace/runs/.trash/far--20260101T000000.000000Z").symlink_to(tmp_path / "not_mounted")
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


def test_findings_are_the_ones_that_the_command_tells_and_are_repaired_if_asked(workspace, make, qexp):
    make("one")
    (workspace / "runs/catalog.json").write_text("{")
    printed = json.loads(qexp("doctor", "--json").stdout)
    assert [finding.document() for finding in package.doctor()] == printed
    (before,) = (finding for finding in package.doctor(fix=True) if finding.where.name == "catalog.json")
    assert (before.damaged, before.repaired) == (True, True)
    assert "catalog.json" not in {finding.where.name for finding in package.doctor(workspace=workspace)}


def test_the_catalog_is_built_again_and_a_warning_names_what_cannot_be_read(workspace, make):
    make("one")
    torn = make("two") / "run.json"
    torn.write_text("{")
    (workspace / "runs/catalog.json").write_text("{")
    with pytest.warns(UserWarning, match="two/run.json cannot be read"):
        assert package.reindex() == 1
    assert [(run["name"], run["state"]) for run in package.runs()] == [("one", "failed"), ("two", "damaged")]
    torn.unlink()
    assert package.reindex(workspace=workspace) == 1
