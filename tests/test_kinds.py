"""Kinds of dataset stand in one table, a line each, and nothing else asks of which kind a dataset
is.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, fields, replace

import pytest

from qexp.errors import QexpError
from qexp.kinds import experiments as objects
from qexp.kinds.tables import BUILT_IN
from qexp.runs import execute
from qexp.spec import experiences
from qexp.spec.kinds import KINDS, WITHOUT, Kind, kind_named, load_stage
from qexp.spec.schema import whole_schema
from tests.source import MODULES, nodes_of, reads_all_modules

FOLDERS = ("images.", "simulations.", "rows.", "fields.", "spectra.")
"""The folders of the kinds, in `qexp.kinds`."""


def test_the_table_has_the_kinds_that_the_schema_lists_each_with_its_modules_and_its_schemas_beside_them():
    assert list(KINDS) == whole_schema("dataset", BUILT_IN)["properties"]["type"]["enum"]
    assert [f"qexp.kinds.{folder}" for folder in FOLDERS] == [
        f"{package}." for package in KINDS.values()
    ]
    for folder in FOLDERS:
        assert {f"kinds.{folder}{module}" for module in ("spec", "experiment")} <= MODULES.keys()
        assert MODULES[f"kinds.{folder}spec"].with_suffix(".json").is_file()


@pytest.mark.parametrize("name", KINDS)
def test_what_a_kind_names_is_there(name):
    kind = kind_named(name)
    assert [
        stage.name
        for stage in fields(Kind)
        if getattr(kind, stage.name) and kind.load(stage.name) is None
    ] == []


@pytest.mark.parametrize("name", [name for name in KINDS if kind_named(name).new])
def test_first_specs_have_one_contract(name):
    new = kind_named(name).load("new")
    own = [
        value for value in vars(new).values() if getattr(value, "__module__", "") == new.__name__
    ]
    public = [value.__name__ for value in own if not value.__name__.startswith("_")]
    assert public == ["takes", "dataset", "experience"]


def test_a_stage_that_a_kind_lacks_is_refused_in_words(monkeypatch):
    for stage, words in WITHOUT.items():
        monkeypatch.setitem(KINDS.own, "bare", replace(kind_named("tabular"), **{stage: None}))
        with pytest.raises(QexpError, match=f"datasets of the type 'bare' {words}"):
            load_stage({"type": "bare"}, stage)
    required = {stage.name for stage in fields(Kind) if stage.default is MISSING}
    assert required | WITHOUT.keys() == {stage.name for stage in fields(Kind)}


OF_TYPES = {
    "spec.experiences": experiences.TYPES,
    "kinds.experiments": objects.TYPES,
    "runs.execute": execute.TYPES,
}
"""Module → its table by type of experience."""


@pytest.mark.parametrize("module", OF_TYPES)
def test_all_tables_have_the_types_of_experience_that_the_schema_lists(module):
    # the others by scripts alone
    written = [name for name in OF_TYPES[module] if experiences.TYPES[name].executes]
    assert written == whole_schema("experience", BUILT_IN)["properties"]["type"]["enum"]


@reads_all_modules
def test_no_module_asks_of_which_type_an_experience_is():
    compared = [
        f"{module}: {ast.unparse(node)}"
        for module in MODULES
        for node in nodes_of(module)
        if isinstance(node, ast.Compare)
        and any(
            names_of(part) & experiences.TYPES.keys() for part in (node.left, *node.comparators)
        )
    ]
    assert compared == []


def of_one_kind(module: str) -> bool:
    """Whether a module is one kind's own, or holds the table of all kinds."""
    return module == "spec.kinds" or module.removeprefix("kinds.").startswith(FOLDERS)


def names_of(node: ast.AST) -> set[str]:
    """All texts in an expression."""
    constants = (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))
    return {value for value in constants if isinstance(value, str)}


def questions(nodes: Iterable[ast.AST]) -> Iterator[ast.expr]:
    """Expressions that ask of which kind a dataset is: by its class, by its type, by a dictionary
    of kinds, or for a kind by its name.
    """
    for node in nodes:
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "kind_named":
            if any(names_of(argument) & KINDS.keys() for argument in node.args):
                yield node
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "isinstance",
            "issubclass",
            "type",
        ):
            if "Dataset" in ast.unparse(node):
                yield node
        elif isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
            types = any(ast.unparse(part).endswith(("['type']", ".get('type')")) for part in parts)
            if (types and "dataset" in ast.unparse(node)) or any(
                names_of(part) & KINDS.keys() for part in parts
            ):
                yield node
        elif isinstance(node, ast.Dict):
            keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
            if len(keys & KINDS.keys()) > 1:
                yield node
        elif isinstance(node, ast.MatchValue) and names_of(node) & KINDS.keys():
            yield node.value


@reads_all_modules
def test_only_the_modules_of_kinds_ask_of_which_kind_a_dataset_is():
    found = [
        f"{module}, line {asked.lineno}: {ast.unparse(asked)}"
        for module in MODULES
        if not of_one_kind(module)
        for asked in questions(nodes_of(module))
    ]
    assert found == []


@pytest.mark.parametrize(
    "question",
    [
        "isinstance(dataset, GriddedDataset)",
        "spec['dataset']['type'] == 'tabular'",
        "document['type'] != 'generated'",
        "dataset.get('type') in known",
        "'spectra' == kind",
        "{'tabular': rows, 'gridded': fields}[kind]",
        "kind_named('simulated').load('new')",
    ],
)
def test_such_questions_are_found(question):
    assert len(list(questions(ast.walk(ast.parse(question))))) == 1
