import pytest
from jsonschema import Draft202012Validator

from qexp.base.tables import Entry, built
from qexp.errors import nearest, suggestion
from qexp.kinds.tables import BUILT_IN
from qexp.testing import check_entry

TABLES = pytest.mark.parametrize("table", [table for table in BUILT_IN if table != "quantities"])


@TABLES
def test_an_entry_passes_what_authors_of_others_have_to_pass(table):
    assert BUILT_IN[table]
    for name, entry in BUILT_IN[table].items():
        check_entry(table, name, entry)
        parameters = {**entry.example.get("parameters", {}), "no_such_parameter": 1}
        assert not Draft202012Validator(entry.schema()).is_valid(parameters), name


def test_parameters_reach_the_builder_after_the_context_and_a_misspelt_field_of_an_entry_fails_at_once():
    with pytest.raises(TypeError):
        Entry(build=dict, parameter={}, help="", example={})
    table = {"pair": Entry(lambda first, /, a, b=2: (first, a, b), {"properties": {"a": {}, "b": {}}}, "A pair.", {})}
    assert built(table, {"type": "pair", "parameters": {"a": 1}}, "context") == ("context", 1, 2)
    assert table["pair"].defaults == {"b": 2}


MEANT = {
    "lognormal": "log_normal", "loguniform": "log_uniform", "LogNormal": "log_normal", "unifrom": "uniform",
    "truncated-normal": "truncated_normal", "gamma": None,
}  # fmt: skip


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
