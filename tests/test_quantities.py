import math

import pytest

from qexp.base.quantities import (
    DIMENSIONLESS,
    QUANTITIES,
    Quantity,
    base_name,
    in_symbols,
    in_words,
    label,
    quantity,
    typeset,
)
from qexp.simulation.generators import GENERATORS

UNITS = {
    **dict.fromkeys(("depth", "x", "y", "x_res", "y_res"), ("km", 1e3)),
    "delta_volume": ("10⁶ m³", 1e6),
    **dict.fromkeys(("azimuth", "incidence"), ("rad", 1)),
    **dict.fromkeys(("displacement", "noise"), ("m", 1)),
}


def test_units_are_vdis_and_their_si_factors_follow_from_them():
    assert {name: (QUANTITIES[name].unit, QUANTITIES[name].si_factor) for name in UNITS} == UNITS


@pytest.mark.parametrize("generator", GENERATORS)
def test_every_variable_that_a_generator_needs_or_makes_is_a_declared_quantity(generator):
    made = GENERATORS[generator].build()
    mentioned = ["azimuth_2"]
    for name in [*made.required(mentioned), *made.images(mentioned)]:
        assert quantity(name, QUANTITIES) is not DIMENSIONLESS, name


def test_a_variable_of_a_further_view_is_the_same_quantity():
    for name in QUANTITIES:
        assert (
            quantity(f"{name}_1", QUANTITIES)
            is quantity(f"{name}_12", QUANTITIES)
            is QUANTITIES[name]
        )


def test_a_view_is_an_underscore_and_a_number_from_one_on():
    expected = {"incidence_1": "incidence", "x_res_10": "x_res", "pixel_1_2": "pixel_1"}
    expected |= {name: name for name in ("x_res", "depth_0", "depth_01", "depth_")}
    assert {variable: base_name(variable) for variable in expected} == expected


def test_a_name_that_nobody_declared_has_no_unit_and_an_extensions_own_comes_before_the_view_of_another():
    unknown = quantity("titanium", QUANTITIES)
    assert (unknown.unit, unknown.si_factor) == ("", 1)
    assert unknown.violation(-math.inf) is None
    own = Quantity("kg", 1.0, "a second depth of its own kind")
    quantities = {**QUANTITIES, "depth_1": own}
    assert quantity("depth_1", quantities) is own
    assert quantity("depth_2", quantities) is QUANTITIES["depth"]


@pytest.mark.parametrize(
    ("variable", "allowed", "forbidden", "words"),
    [
        ("depth", [1e-9, 5.0, 700.0], [0.0, -1.0], "greater than 0 km"),
        ("x_res", [1e-9, 5.0], [0.0, -0.1], "greater than 0 km"),
        ("noise", [0.0, 0.01], [-1e-9], "at least 0 m"),
        ("incidence", [0.0, 0.33, math.pi / 2], [-0.01], "at least 0 rad"),
        ("incidence", [], [1.58, 23.0], "at most 1.5708 rad"),
        ("azimuth", [-7.0, 0.0, 100.0], [], ""),
        ("delta_volume", [-5.0, 0.0, 5.0], [], ""),
    ],
)
def test_limits_allow_their_ends_only_where_they_say_so_and_name_the_unit(
    variable, allowed, forbidden, words
):
    for value in allowed:
        assert quantity(variable, QUANTITIES).violation(value) is None
    for value in forbidden:
        assert words in quantity(variable, QUANTITIES).violation(value)


def test_an_axis_label_has_the_unit_in_brackets_and_a_unit_of_a_file_is_printed_with_raised_exponents():
    assert label("delta_volume", "10⁶ m³") == "volume change (10⁶ m³)"
    assert label("incidence_1", "rad") == "incidence 1 (rad)"
    assert label("titanium", "") == "titanium"
    assert typeset("m year-1") == "m year⁻¹"
    assert typeset("MPa-3 m2 s-1") == "MPa⁻³ m² s⁻¹"
    raised = {
        "m2": "m²",
        "km3": "km³",
        "W m-2": "W m⁻²",
        "m s-1": "m s⁻¹",
        "CO2 m-2": "CO2 m⁻²",
        "K": "K",
    }
    assert {unit: typeset(unit) for unit in raised} == raised


@pytest.mark.parametrize(
    "unit", ["", "1", "wt%", "10⁶ m³", "log10(Pa s)", "CO2 wt%", "H2O", "ppm SO2", "log2 m", "N2"]
)
def test_only_the_exponents_of_units_are_raised_and_no_other_numbers(unit):
    assert typeset(unit) == unit


def test_every_quantity_says_what_it_is_and_has_limits_that_leave_room():
    for name, declared in QUANTITIES.items():
        assert declared.description, name
        assert declared.si_factor > 0
        assert (declared.at_least or 0) < (declared.at_most or math.inf)


def test_a_variable_of_a_view_with_a_name_is_called_by_it():
    words = {
        "displacement_1": "track_44 displacement",
        "x_res_1": "track_44 pixel width",
        "incidence": "incidence",
        "displacement_2": "displacement 2",
        "chamber.delta_volume": "chamber volume change",
        "depth_1": "depth 1",
    }
    assert {variable: in_words(variable, ["", "track_44"]) for variable in words} == words
    symbols = {"delta_volume": "ΔV", "chamber.delta_volume": "chamber ΔV", "depth": "depth"}
    assert {variable: in_symbols(variable) for variable in symbols} == symbols
