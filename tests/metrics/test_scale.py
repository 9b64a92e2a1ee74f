"""The scale of an output's intervals."""

import numpy as np
import pytest

from qexp.kinds.networks import scale_of
from qexp.kinds.tables import BUILT_IN
from qexp.metrics.conformal import Scale

TRUTH = np.array([0.3, 1.0, 2.0, 9.0])


def scale_by(transform, **spec):
    described = {"type": transform, "parameters": {}} if isinstance(transform, str) else transform
    return scale_of({"transforms": {"x": described}, **spec}, BUILT_IN, "x", TRUTH)


def test_angles_are_compared_by_the_shorter_way_round_and_a_decreasing_scale_turns_the_ends_round():
    around = Scale(period=360.0)
    assert around.scores(*[[359.0, 10.0, 180.0]] * 2, [1.0, 350.0, 0.0]) == pytest.approx([2, 20, 180])
    low, high = Scale(lambda values: -values, lambda values: -values).around([2.0], [2.0], np.array([0.5]))
    assert (low[0], high[0]) == (1.5, 2.5)


def test_an_estimate_that_is_missing_is_infinitely_wrong_and_lies_nowhere():
    assert np.isinf(Scale().scores([np.nan], [np.nan], [1.0])).all()
    low, high = Scale().around([np.nan], [np.nan], np.array([1.0]))
    assert np.isnan([low, high]).all()


def test_linear_transforms_leave_intervals_as_they_are():
    for transform in ("standardize", "minmax", {"type": "scale", "parameters": {"typical": 7}}):
        scale = scale_by(transform)
        low, high = scale.around(TRUTH, TRUTH, scale.scores(TRUTH + 0.4, TRUTH + 0.4, TRUTH))
        assert low == pytest.approx(TRUTH - 0.4)
        assert high == pytest.approx(TRUTH + 0.4)


def test_errors_of_logarithms_are_factors_and_limits_hold():
    scale = scale_by({"type": "chain", "parameters": {"of": ["log", "standardize"]}}, limits={"x": [None, 10]})
    low, high = scale.around(TRUTH, TRUTH, scale.scores(2 * TRUTH, 2 * TRUTH, TRUTH))
    assert low == pytest.approx(TRUTH / 2)
    assert high == pytest.approx([0.6, 2, 4, 10])


def test_what_does_not_go_one_way_and_back_is_no_scale():
    for transform in ("per_sample", {"type": "angle", "parameters": {"period": 360}}):
        scale = scale_by(transform)
        assert scale.scores(TRUTH + 1, TRUTH + 1, TRUTH) == pytest.approx(1)
