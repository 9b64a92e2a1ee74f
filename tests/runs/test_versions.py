"""Runs that were made on other days are listed, shown, compared and written as they were read.

`stored` has one of each kind; the record of `parent_by_name` has only the name of the run that it
started from.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from qexp.base.workspace import Workspace
from qexp.errors import QexpError
from qexp.kinds.objects import recipe_of
from qexp.kinds.tables import BUILT_IN
from qexp.runs.options import VerifyOptions
from qexp.store.directory import RunDirectory
from qexp.store.record import SCHEMA_VERSION, Ancestor, Record
from qexp.upkeep.verify import verify

STORED = Path(__file__).parent / "stored"

NAMES = sorted(path.name for path in STORED.glob("*"))


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], RunDirectory]:
    """`stored("first")`: that run in a workspace which holds a copy of all of them, and is the
    current directory.
    """
    (tmp_path / "specs").mkdir()
    for run in STORED.glob("*"):
        shutil.copytree(run, tmp_path / "runs" / run.name)
    monkeypatch.chdir(tmp_path)
    return lambda name: RunDirectory(tmp_path / "runs" / name)


def test_runs_of_all_versions_are_listed_with_their_results(stored, qexp):
    listed = json.loads(qexp("ls", "--json").quiet())
    assert [run["name"] for run in listed] == NAMES
    assert all(run["state"] == "done" and run["results"]["test"] for run in listed)
    assert (
        qexp("ls", "--columns", "name,layer_decay,keep,code.commit,attempts.0.process.host").code
        == 0
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_any_version_is_shown_in_the_form_of_today(stored, qexp, name):
    assert f"run          {name}\n" in qexp("show", name).quiet()
    document = json.loads(qexp("show", name, "--json").stdout)
    today = {field.name for field in fields(Record)} - {"others", *Record.LEFT_OUT}
    assert today <= document.keys()
    assert document["schema"] == SCHEMA_VERSION
    assert recipe_of(stored(name).spec(), BUILT_IN).keep in ("best", "last")


@pytest.mark.heavy
def test_runs_of_different_versions_are_compared(stored, qexp):
    stdout = qexp("compare", "first", "today").done()
    assert "epochs" not in stdout.split("output")[0]  # both have two
    assert "layer_decay" not in stdout


def test_a_parent_that_is_known_by_its_name_alone_is_an_ancestor_of_which_nothing_else_is_known(
    stored, qexp
):
    assert stored("parent_by_name").record().lineage == (Ancestor(name="mogi_quick_3"),)
    assert stored("parent_by_name").spec()["pretrain"] == {
        "run": "mogi_quick_3", "operations": None, "freeze": [], "epochs_frozen": None,
    }  # fmt: skip
    assert "pretrained   from mogi_quick_3\n" in qexp("show", "parent_by_name").stdout
    # its weights, and not its spec, is what cannot be verified
    with pytest.raises(QexpError, match="missing from"):
        verify(stored("parent_by_name"), Workspace(Path.cwd()), VerifyOptions())


LATER = {
    "groups": [],
    "targets": [],
    "kind": "trained",
    "foreign_weights": None,
    "rerun_of": None,
    "weights": None,
}
"""Keys of a record that came without a new version, with the values that they have in older
ones.
"""


def test_keys_of_a_newer_version_are_kept_where_they_stand(stored):
    run = stored("spectra")
    document = json.loads(run.record_file.read_text()) | {
        "schema": SCHEMA_VERSION + 1,
        "colour": {"of": ["x", None]},
    }
    document["attempts"][0]["lease"] = 7
    document["attempts"][0]["process"]["cgroup"] = "a"
    document["comparison"][0]["median"] = 0.5
    run.record_file.write_text(json.dumps(document))
    run.write(run.record())
    assert json.loads(run.record_file.read_text()) == {
        "imported": None,
        "metrics": {},
        **LATER,
        **document,
    }


def test_what_a_newer_version_writes_in_another_way_is_damage_that_names_the_version(stored, qexp):
    run = stored("first")
    document = json.loads(run.record_file.read_text())
    run.record_file.write_text(json.dumps({**document, "schema": 99, "epochs": [2, 2]}))
    code, _, stderr = qexp("show", "first")
    assert (code, "epochs is [2, 2], not an object" in stderr, "schema 99" in stderr) == (
        5,
        True,
        True,
    )


def test_a_record_is_written_as_it_was_read(stored):
    for name in NAMES:
        run = stored(name)
        document = run.record().document()
        run.write(run.record())
        assert json.loads(run.record_file.read_text()) == document
        assert list(json.loads(run.record_file.read_text())) == list(document)
    today = json.loads((STORED / "today/run.json").read_text())
    assert stored("today").record().document() == {**LATER, **today}
