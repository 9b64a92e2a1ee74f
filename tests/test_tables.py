import inspect

import pytest
import torch
from jsonschema import Draft202012Validator

from qexp.base.tables import Entry, built
from qexp.errors import nearest, suggestion
from qexp.kinds.tables import BUILT_IN
from qexp.networks.heads import HeadEntry
from qexp.networks.modules import EXAMPLE_SHAPE, EXAMPLE_SHAPES, JoiningEntry

TABLES = pytest.mark.parametrize("table", [table for table in BUILT_IN if table != "quantities"])


def context(table, entry):
    """What a builder gets besides the parameters of the spec."""
    if table == "modules":
        shapes = EXAMPLE_SHAPES.get(entry.example["module"], [EXAMPLE_SHAPE])
        outputs = [2] if isinstance(entry, HeadEntry) else []
        return (shapes if isinstance(entry, JoiningEntry) else shapes[0], *outputs)
    if table == "optimizers":
        return ([torch.nn.Parameter(torch.zeros(3))], 0.1)
    return ()


def key_of(table):
    return "module" if table == "modules" else "type"


def spec_parameters(entry):
    """The builder's parameters that come from the spec."""
    return {
        name: parameter
        for name, parameter in inspect.signature(entry.build).parameters.items()
        if parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    }


@pytest.mark.parametrize("table", BUILT_IN)
def test_no_table_is_empty(table):
    assert BUILT_IN[table]


@TABLES
def test_the_example_of_an_entry_fits_its_own_schema_and_builds(table):
    for name, entry in BUILT_IN[table].items():
        key = key_of(table)
        assert set(entry.example) <= {key, "parameters"}, name
        assert BUILT_IN[table][entry.example[key]] is entry, name
        parameters = entry.example.get("parameters", {})
        Draft202012Validator(entry.schema()).validate(parameters)
        assert entry.build(*context(table, entry), **parameters) is not None, name
        if key == "type":
            assert built(BUILT_IN[table], entry.example, *context(table, entry)) is not None


@TABLES
def test_the_schema_of_an_entry_is_a_json_schema_that_refuses_unknown_parameters(table):
    for name, entry in BUILT_IN[table].items():
        schema = entry.schema()
        Draft202012Validator.check_schema(schema)
        parameters = {**entry.example.get("parameters", {}), "no_such_parameter": 1}
        assert not Draft202012Validator(schema).is_valid(parameters), name


@TABLES
def test_the_schema_names_the_builders_parameters_and_requires_those_without_a_default(table):
    for name, entry in BUILT_IN[table].items():
        taken = spec_parameters(entry)
        assert set(entry.schema()["properties"]) == set(taken), name
        without_default = {key for key, parameter in taken.items() if parameter.default is inspect.Parameter.empty}
        assert set(entry.schema().get("required", [])) == without_default, name


@TABLES
def test_the_defaults_of_an_entry_are_allowed_by_its_schema_and_shown_in_it(table):
    for name, entry in BUILT_IN[table].items():
        for parameter, value in entry.defaults.items():
            schema = entry.schema()["properties"][parameter]
            assert schema["default"] == value, name
            plain = list(value) if isinstance(value, tuple) else value
            Draft202012Validator(schema).validate(plain)


@TABLES
def test_an_entry_is_explained_in_a_line_that_is_a_sentence(table):
    for name, entry in BUILT_IN[table].items():
        text = entry.help
        assert text.endswith("."), name
        assert "\n" not in text, name


def test_a_misspelt_field_of_an_entry_fails_at_once():
    with pytest.raises(TypeError):
        Entry(build=dict, parameter={}, help="", example={})


def test_parameters_reach_the_builder_after_the_context():
    table = {"pair": Entry(lambda first, /, a, b=2: (first, a, b), {"properties": {"a": {}, "b": {}}}, "A pair.", {})}
    assert built(table, {"type": "pair", "parameters": {"a": 1}}, "context") == ("context", 1, 2)
    assert table["pair"].defaults == {"b": 2}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lognormal", "log_normal"),
        ("loguniform", "log_uniform"),
        ("LogNormal", "log_normal"),
        ("unifrom", "uniform"),
        ("truncated-normal", "truncated_normal"),
        ("gamma", None),
    ],
)
def test_the_nearest_name_is_the_one_that_was_probably_meant(name, expected):
    assert nearest(name, BUILT_IN["distributions"]) == expected


def test_two_letters_that_changed_places_are_one_slip_and_nearer_than_another_letter():
    assert nearest("mea", ["mae", "mse"]) == nearest("mea", ["mse", "mae"]) == "mae"
    assert nearest("mea", BUILT_IN["losses"]) == "mae"
    assert nearest("adma", BUILT_IN["optimizers"]) == "adam"


def test_a_suggestion_is_a_near_name_or_else_the_names_there_are():
    assert suggestion("mogy", ["mogi", "okada"]) == "did you mean 'mogi'?"
    assert suggestion("yang", ["okada", "mogi"]) == "known: mogi, okada"
    assert suggestion("yang", []) == "there are none"
    assert suggestion("qqq", [f"name{index}" for index in range(100)]).endswith(", …")
