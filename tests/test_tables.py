import inspect

import pytest
import torch
from jsonschema import Draft202012Validator

from qexp.base.tables import Entry, built
from qexp.errors import nearest, suggestion
from qexp.kinds.tables import BUILT_IN
from qexp.networks.heads import CLASSES, HeadEntry
from qexp.networks.modules import EXAMPLE_SHAPE, EXAMPLE_SHAPES, JoiningEntry

TABLES = pytest.mark.parametrize("table", [table for table in BUILT_IN if table != "quantities"])


def context(table, entry):
    """What a builder gets besides the parameters of the spec."""
    if table == "modules":
        shapes = EXAMPLE_SHAPES.get(entry.example["module"], [EXAMPLE_SHAPE])
        outputs = [1 if entry.example["module"] == CLASSES else 2]
        outputs = outputs if isinstance(entry, HeadEntry) else []
        return (shapes if isinstance(entry, JoiningEntry) else shapes[0], *outputs)
    if table == "optimizers":
        return ([torch.nn.Parameter(torch.zeros(3))], 0.1)
    return ()


@TABLES
def test_the_example_of_an_entry_fits_its_own_schema_and_builds_and_its_help_is_a_sentence_in_a_line(
    table,
):
    assert BUILT_IN[table]
    for name, entry in BUILT_IN[table].items():
        key = "module" if table == "modules" else "type"
        assert entry.help.endswith("."), name
        assert "\n" not in entry.help, name
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
    of_specs = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    for name, entry in BUILT_IN[table].items():
        parameters = inspect.signature(entry.build).parameters.items()
        taken = {
            key: parameter.default for key, parameter in parameters if parameter.kind in of_specs
        }
        assert set(entry.schema()["properties"]) == set(taken), name
        without_default = {
            key for key, default in taken.items() if default is inspect.Parameter.empty
        }
        assert set(entry.schema().get("required", [])) == without_default, name
        for (
            parameter,
            value,
        ) in entry.defaults.items():  # which are shown in the schema, and allowed by it
            schema = entry.schema()["properties"][parameter]
            assert schema["default"] == value, name
            plain = list(value) if isinstance(value, tuple) else value
            Draft202012Validator(schema).validate(plain)


def test_parameters_reach_the_builder_after_the_context_and_a_misspelt_field_of_an_entry_fails_at_once():
    with pytest.raises(TypeError):
        Entry(build=dict, parameter={}, help="", example={})
    table = {
        "pair": Entry(
            lambda first, /, a, b=2: (first, a, b),
            {"properties": {"a": {}, "b": {}}},
            "A pair.",
            {},
        )
    }
    assert built(table, {"type": "pair", "parameters": {"a": 1}}, "context") == ("context", 1, 2)
    assert table["pair"].defaults == {"b": 2}


MEANT = {
    "lognormal": "log_normal",
    "loguniform": "log_uniform",
    "LogNormal": "log_normal",
    "unifrom": "uniform",
    "truncated-normal": "truncated_normal",
    "gamma": None,
}


def test_the_nearest_name_is_the_one_that_was_probably_meant_and_two_swapped_letters_are_one_slip():
    assert {name: nearest(name, BUILT_IN["distributions"]) for name in MEANT} == MEANT
    assert nearest("mea", ["mae", "mse"]) == nearest("mea", ["mse", "mae"]) == "mae"
    assert nearest("mea", BUILT_IN["losses"]) == "mae"
    assert nearest("adma", BUILT_IN["optimizers"]) == "adam"


def test_a_suggestion_is_a_near_name_or_else_the_names_there_are():
    assert suggestion("mogy", ["mogi", "okada"]) == "did you mean 'mogi'?"
    assert suggestion("yang", ["okada", "mogi"]) == "known: mogi, okada"
    assert suggestion("yang", []) == "there are none"
    assert suggestion("qqq", [f"name{index}" for index in range(100)]).endswith(", …")
