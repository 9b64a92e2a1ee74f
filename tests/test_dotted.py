from qexp.base.text import keys_of, output_and_metric
from qexp.spec.resolution import replaced

FIXED = {
    "fixed": {"chamber.depth": 2, "noise": 0},
    "select": [1, {"chamber.x": 0}],
    "chamber": {"depth": 5},
}


def test_the_keys_of_a_path_are_those_of_the_document_also_if_they_have_dots():
    assert keys_of(["fixed", "chamber", "depth"], FIXED) == ["fixed", "chamber.depth"]
    assert keys_of(["select", 1, "chamber", "x"], FIXED) == ["select", 1, "chamber.x"]
    assert keys_of(["chamber", "depth"], FIXED) == ["chamber", "depth"]
    assert keys_of(["fixed", "noise", "deeper"], FIXED) == ["fixed", "noise", "deeper"]
    assert keys_of(["test", "chamber.depth", "mae"], {}) == ["test", "chamber.depth", "mae"]


def test_a_new_variable_beside_others_of_its_source_is_one_key():
    changed = replaced(replaced(FIXED, "fixed.chamber.x", 1), "fixed.chamber.depth", 3)
    assert changed["fixed"] == {"chamber.depth": 3, "noise": 0, "chamber.x": 1}
    assert replaced(FIXED, "fixed.sill.x", 1)["fixed"]["sill"] == {"x": 1}


def test_an_output_may_have_dots_and_a_metric_has_none():
    assert output_and_metric("chamber.depth.mae") == ("chamber.depth", "mae")
    assert output_and_metric("depth.mae") == ("depth", "mae")
