import json

import pytest
from jsonschema import Draft202012Validator

from qexp.base.tables import Entry
from qexp.kinds.tables import BUILT_IN
from qexp.spec.resolution import FOLDERS
from qexp.spec.schema import whole_schema
from qexp.spec.validation import findings
from tests.conftest import SOUND, put

NOUNS = {
    "experience": {
        "optimizer": "optimizers",
        "schedule": "schedules",
        "baseline": "baselines",
        "callback": "callbacks",
        "loss": "losses",
        "metric": "metrics",
        "transform": "transforms",
        "split": "splits",
    },
    "dataset": {"generator": "generators", "distribution": "distributions", "noise": "noises"},
    "model": {"module": "modules"},
}
DEFINITIONS = [
    (kind, definition, table)
    for kind, of_kind in NOUNS.items()
    for definition, table in of_kind.items()
]
ENTRIES = [
    (kind, definition, name, entry)
    for kind, definition, table in DEFINITIONS
    for name, entry in BUILT_IN[table].items()
]


def definition_of(kind, definition, tables=BUILT_IN):
    """A validator of one definition of a schema."""
    return Draft202012Validator(
        {"$ref": f"#/$defs/{definition}", "$defs": whole_schema(kind, tables)["$defs"]}
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", FOLDERS)
def test_the_schema_of_every_kind_is_a_schema_itself_with_all_tables_filled_in(kind):
    schema = whole_schema(kind, BUILT_IN)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)
    assert "x-table" not in json.dumps(schema), "a table is left to be filled in"


def test_every_table_is_part_of_the_schema_of_a_kind():
    assert {table for _, _, table in DEFINITIONS} == set(BUILT_IN) - {"quantities"}


@pytest.mark.parametrize(("kind", "definition", "table"), DEFINITIONS)
def test_the_schema_lists_the_names_of_every_table(kind, definition, table):
    enumerated = json.dumps(sorted(BUILT_IN[table]))
    assert f'"enum": {enumerated}' in json.dumps(whole_schema(kind, BUILT_IN)["$defs"][definition])


@pytest.mark.parametrize(
    ("kind", "definition", "name", "entry"),
    [pytest.param(*case, id=f"{case[1]}-{case[2]}") for case in ENTRIES],
)
def test_an_entry_takes_its_own_parameters_and_no_others(kind, definition, name, entry):
    validator = definition_of(kind, definition)
    if definition in ("generator", "metric"):
        assert validator.is_valid(name)
        assert not validator.is_valid(f"{name}x")
        return
    example = json.loads(json.dumps(entry.example))
    assert validator.is_valid(example), name
    assert not validator.is_valid(
        {**example, "parameters": {**example.get("parameters", {}), "nosuch": 1}}
    )
    assert not validator.is_valid({**example, "parameters": 3})
    assert not validator.is_valid({**example, "nosuch": 1})
    for required in entry.required:
        fewer = {key: value for key, value in example["parameters"].items() if key != required}
        assert not validator.is_valid({**example, "parameters": fewer})
    with_defaults = {**json.loads(json.dumps(entry.defaults)), **example.get("parameters", {})}
    assert validator.is_valid({**example, "parameters": with_defaults}), (
        "a default breaks the entry's own schema"
    )


@pytest.mark.parametrize(
    "entry", [pytest.param(case[-1], id=f"{case[1]}-{case[2]}") for case in ENTRIES]
)
def test_a_parameter_is_required_or_has_a_default_and_the_builder_knows_it(entry):
    assert sorted([*entry.required, *entry.defaults]) == sorted(
        entry.parameters.get("properties", {})
    )
    for parameter, default in entry.defaults.items():
        assert entry.schema()["properties"][parameter]["default"] == default


@pytest.mark.parametrize(
    ("parameters", "where"),
    [
        ({"filters": [8], "kernel": 3}, ["kernel"]),
        ({"filters": 8}, ["filters"]),
        ({"filters": []}, ["filters"]),
        ({"filters": [8, 0]}, ["filters", 1]),
        ({"filters": [8, 1.5]}, ["filters", 1]),
        ({"filters": [True]}, ["filters", 0]),
        ({"filters": [8], "padding": "sam"}, ["padding"]),
        ({"filters": [8], "bias": 1}, ["bias"]),
        ({"filters": [8], "l2": -1e-9}, ["l2"]),
        ({}, []),
    ],
)
def test_a_parameter_that_is_unknown_or_of_a_wrong_type_or_size_is_pointed_at(parameters, where):
    document = put(SOUND["model"], "operations.block.parameters", parameters)
    assert [path for path, _ in findings("model", document, BUILT_IN)] == [
        ("operations", "block", "parameters", *where)
    ]


def test_a_toy_table_is_a_table_and_needs_nothing_else():
    def build(low, high=3):
        return range(low, high)

    bounds = {
        "properties": {"low": {"type": "integer"}, "high": {"type": "integer"}},
        "required": ["low"],
    }
    toy = Entry(build, bounds, "A toy.", {"type": "toy", "parameters": {"low": 1}})
    validator = definition_of("experience", "loss", {**BUILT_IN, "losses": {"toy": toy}})
    assert validator.is_valid({"type": "toy", "parameters": {"low": 1}})
    assert not validator.is_valid({"type": "toy", "parameters": {"high": 1}})
    assert not validator.is_valid("toy"), (
        "a required parameter cannot be left out by giving the bare name"
    )
    assert not validator.is_valid("mae")


def test_a_bare_name_is_refused_where_parameters_are_needed_and_shown_an_example():
    document = {"outputs": ["depth"], "losses": {"depth": "mae"}, "transforms": {"depth": "scale"}}
    messages = dict(findings("experience", document, BUILT_IN))
    assert messages["transforms", "depth"].startswith("'scale' needs parameters: ")
    example = json.loads(messages["transforms", "depth"].partition(": ")[2])
    assert definition_of("experience", "transform").is_valid(example)
