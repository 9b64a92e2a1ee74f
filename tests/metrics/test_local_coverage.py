"""Coverage in cells, and how it depends on coordinates."""

import numpy as np
import pytest
from scipy.stats import norm

from qexp.metrics.calibration import cells, cells_along, central_levels, positions, trend
from tests.metrics.gaussian import observed


def test_right_intervals_are_right_wherever_the_estimates_lie_but_not_wherever_the_truth_does():
    sample = observed(6000, 200, seed=1)
    inside = (
        central_levels(
            positions(sample.truth[:, 0], sample.draws[:, :, 0], np.random.default_rng(2))
        )
        <= 0.9
    )
    by_estimate, by_truth = sample.estimates, norm.cdf(sample.truth)
    assert not cells(inside, by_estimate, 6, 0.9).wrong.any()
    assert trend(inside, by_estimate) > 1e-3
    of_truth = cells(inside, by_truth, 6, 0.9)
    assert (of_truth.wrong == -1).any()  # at the ends of the prior
    assert (of_truth.wrong == 1).any()
    assert trend(inside, by_truth) < 1e-6


def test_a_corner_with_narrow_intervals_is_found():
    random = np.random.default_rng(3)
    coordinates = random.random((4000, 2))
    inside = random.random(4000) < np.where((coordinates > 0.75).all(axis=1), 0.5, 0.9)
    counts = cells(inside, coordinates, 4, 0.9)
    assert np.argwhere(counts.wrong).tolist() == [[3, 3]]
    assert counts.wrong[3, 3] == -1
    assert trend(inside, coordinates) < 1e-6


def test_of_cells_with_few_observations_nothing_is_said_and_there_are_as_many_as_the_observations_allow():
    counts = cells(
        np.zeros(30, dtype=bool),
        np.concatenate([np.full((11, 1), 0.1), np.full((19, 1), 0.9)]),
        2,
        0.9,
    )
    assert counts.few.all()
    assert np.isnan(counts.share).all()
    assert not counts.wrong.any()
    assert cells_along(100, 2, 0.9) == 2
    assert cells_along(2000, 2, 0.9) == 7
    assert cells_along(100_000, 2, 0.9) == 10


@pytest.mark.heavy
@pytest.mark.parametrize(("axes", "count"), [(1, 1000), (2, 1000), (10, 200)])
def test_right_intervals_are_called_wrong_anywhere_in_five_of_a_hundred_cases_at_most(axes, count):
    random, wrong, dependent = np.random.default_rng(4), 0, 0
    for _ in range(200):
        coordinates, inside = random.random((count, axes)), random.random(count) < 0.9
        wrong += cells(inside, coordinates, cells_along(count, axes, 0.9), 0.9).wrong.any()
        dependent += trend(inside, coordinates) <= 0.05
    assert wrong <= 10 + 4 * np.sqrt(10)
    assert abs(dependent - 10) < 4 * np.sqrt(10)


def test_intervals_that_always_hold_the_truth_are_too_wide_everywhere():
    coordinates = np.random.default_rng(5).random((2000, 1))
    inside = np.ones(2000, dtype=bool)
    assert (cells(inside, coordinates, 5, 0.9).wrong == 1).all()
    assert trend(inside, coordinates) == pytest.approx(1)
