"""Errors of quantities with a period."""

from __future__ import annotations

import numpy as np
import pytest

from qexp.base.quantities import nearest
from qexp.metrics.built_in import METRICS
from qexp.metrics.metric import Sums, evaluate, with_period, with_training_mean

RANDOM = np.random.default_rng(4)
TRUTH = RANDOM.uniform(0, 360, (50, 1))
ERROR = RANDOM.normal(0, 20, (50, 1))


def test_an_estimate_is_moved_by_whole_turns_to_within_half_a_turn_of_the_truth():
    assert nearest([359.0, -179.0, 10.0, 725.0], [1.0, 179.0, 15.0, 3.0], 360.0).tolist() == [-1.0, 181.0, 10.0, 5.0]
    assert nearest([359.0], [1.0], None).tolist() == [359.0]
    assert np.isnan(nearest([np.nan], [1.0], 360.0)).all()


@pytest.mark.parametrize("name", METRICS)
def test_metrics_do_not_depend_on_the_turn_of_an_estimate(name):
    metrics = with_training_mean({name: METRICS[name].build()}, 170.0)
    turns = 360.0 * RANDOM.integers(-2, 3, TRUTH.shape)
    periodic = with_training_mean(with_period({name: METRICS[name].build()}, 360.0), 170.0)
    expected = evaluate(metrics, TRUTH + ERROR, TRUTH)[name]
    assert evaluate(periodic, TRUTH + ERROR + turns, TRUTH)[name] == pytest.approx(expected, rel=1e-9)
    assert evaluate(with_period(metrics, None), TRUTH + ERROR, TRUTH)[name] == expected
    if METRICS[name].build().additive is not None:
        pieces = Sums(periodic)
        for start in (0, 20):
            part = slice(start, start + 20 if start == 0 else None)
            pieces = pieces.with_piece((TRUTH + ERROR + turns)[part], TRUTH[part])
        assert pieces.values()[name] == pytest.approx(expected, rel=1e-9)
