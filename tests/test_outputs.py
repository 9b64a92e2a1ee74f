"""What outputs say of their columns, and which of these are averaged over folds."""

import numpy as np
import pytest
import torch

from qexp.base.outputs import (
    Classes,
    Estimated,
    Limits,
    Number,
    TrainedRange,
    Words,
    joined,
    with_intervals,
)
from qexp.kinds.held_out import with_ends

FULL = Estimated(
    np.zeros(2), spread=np.ones(2), own_spread=np.ones(2), ends=(np.zeros(2), np.ones(2))
)


def test_columns_are_described_in_the_order_of_their_cells_and_the_first_says_the_limits():
    strike = Number("strike", "°", Limits(0, 360))
    words = with_intervals(Words("mean", spread="between", own_spread="within"), "90 % intervals")
    described = strike.described("strike_estimate", words)
    assert list(described) == list(strike.cells("strike_estimate", FULL))
    assert [about.limits for about in described.values()] == ["0 to 360", "", "", "", ""]
    assert described["strike_low"].description == "lower end of 90 % intervals"
    assert {about.unit for about in described.values()} == {"°"}
    assert list(strike.described("strike", Words("mean"))) == ["strike"]


def test_of_the_columns_that_are_there_only_estimates_are_averaged_by_the_shorter_way_round():
    strike = Number("strike", "°", period=360.0)
    there = ["row", "strike", "strike_estimate", "strike_spread", "strike_quantile_0.5"]
    assert strike.averaged(there) == {
        "strike_estimate": 360.0,
        "strike_spread": None,
        "strike_quantile_0.5": None,
    }
    assert list(strike.averaged(there[:3])) == ["strike_estimate"]


def test_an_output_without_limits_or_range_has_no_estimates_at_or_beyond_them():
    depth = Number("depth", "km")
    estimates = np.array([-1e9, 0, np.nan], np.float32)
    assert (depth.limited, depth.ranged, depth.reached(estimates)) == ("", False, 0)
    assert not depth.beyond(estimates).any()
    near = Number("depth", "km", Limits(0, 1), trained=TrainedRange(0.2, 0.8))
    assert near.reached(estimates) == 2
    assert near.beyond(estimates).tolist() == [True, True, False]


@pytest.mark.parametrize("known", ["spread", "own_spread"])
def test_what_is_known_of_estimates_besides_quantiles_and_folds_stays_with_their_intervals(known):
    column = torch.tensor([[1.0], [2.0]])
    made = Estimated(column, quantiles={0.5: column}, folds=(Estimated(column),), **{known: column})
    flat = with_ends({"depth": made}, None)["depth"]
    assert getattr(flat, known).tolist() == flat.middle.tolist() == [1, 2]
    assert (flat.quantiles, flat.folds, flat.ends) == ({}, (), None)


def test_a_class_has_a_set_beside_its_probabilities_where_there_are_intervals():
    rock = Classes("rock", names=("basalt", "granite"))
    probabilities = np.array([[0.2, 0.8], [np.nan, np.nan], [0.45, 0.55]])
    members = np.array([[0, 1], [np.nan, np.nan], [1, 1]])
    cells = rock.cells("rock", Estimated(probabilities, ends=(members,)))
    words = with_intervals(Words("mean"), "90 % intervals")
    assert list(cells) == list(rock.described("rock", words))
    assert cells["rock_set"].tolist() == ["granite", "", "basalt | granite"]
    joint = joined([Estimated(probabilities, ends=(members,))] * 2, np.concatenate)
    assert joint.ends[0].shape == (6, 2)
    assert "rock_set" not in rock.described("rock", Words("mean"))
