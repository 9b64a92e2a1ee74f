"""Positions of true values among draws: uniform for right posteriors, whatever the number of draws
and ties.
"""

import numpy as np
import pytest
from scipy.stats import norm

from qexp.metrics.calibration import (
    central_levels,
    coverage,
    coverages,
    density_levels,
    positions,
    reference_levels,
    relative_width,
    uniformity,
    widths,
)
from tests.metrics.gaussian import observed

SOME = 1e-3
"""A probability that right posteriors undercut in one of a thousand seeds."""


def of_each(sample, seed=1):
    random = np.random.default_rng(seed)
    return [
        positions(sample.truth[:, column], sample.draws[:, :, column], random)
        for column in range(2)
    ]


@pytest.mark.parametrize(
    ("draws", "width", "shift"),
    [
        (1, 1.0, 0.0),
        (4, 1.0, 0.0),
        (100, 1.0, 0.0),
        (100, 0.8, 0.0),
        (100, 1.25, 0.0),
        (100, 1.0, 0.3),
    ],
)
def test_positions_are_uniform_in_right_posteriors_for_any_number_of_draws_and_not_in_wrong_ones(
    draws, width, shift
):
    for values in of_each(observed(2000, draws, seed=2, width=width, shift=shift)):
        assert (uniformity(values).p_value > SOME) == ((width, shift) == (1, 0))


def test_positions_are_uniform_where_all_values_are_tied_and_a_truth_beyond_all_draws_lies_in_the_last_part():
    random = np.random.default_rng(3)
    truth, draws = random.integers(3, size=4000) * 1.0, random.integers(3, size=(4000, 50)) * 1.0
    assert uniformity(positions(truth, draws, random)).p_value > SOME
    values = positions(np.full(100, 5.0), np.zeros((100, 9)), np.random.default_rng(0))
    assert ((values > 0.9) & (values < 1)).all()


@pytest.mark.heavy
def test_draws_of_a_chain_are_thinned_to_what_they_are_worth():
    random = np.random.default_rng(4)
    truth, independent = random.normal(size=3000), random.normal(size=(3000, 10))
    # the autocorrelation of a chain that moves at every tenth step
    repeated = np.repeat(independent, 10, axis=1)
    assert uniformity(positions(truth, repeated, random)).p_value < SOME
    assert uniformity(positions(truth, repeated, random, np.full(3000, 10.0))).p_value > SOME


@pytest.mark.parametrize("width", [0.8, 1.0, 1.3])
def test_central_intervals_of_normal_posteriors_hold_the_share_that_their_width_gives(width):
    for values in of_each(observed(4000, 400, seed=6, width=width)):
        for share_of_intervals in coverages(central_levels(values)):
            share = 2 * norm.cdf(width * norm.ppf((1 + share_of_intervals.probability) / 2)) - 1
            assert (
                abs(share_of_intervals.share - share)
                < 4 * np.sqrt(share * (1 - share) / 4000) + 0.005
            )
            assert (share_of_intervals.share < share_of_intervals.expected[0]) == (width < 1)
            assert (share_of_intervals.share > share_of_intervals.expected[1]) == (width > 1)


def test_the_expected_range_is_that_of_the_binomial_distribution():
    share_of_intervals = coverage(np.arange(2000) < 1680, 0.9)
    assert share_of_intervals.share == 0.84
    # by the normal approximation 0.9 ± 0.0131
    assert share_of_intervals.expected == (0.8865, 0.913)
    assert share_of_intervals.p_value < 1e-12


def levels_of(sample):
    random = np.random.default_rng(7)
    by_density = density_levels(
        sample.log_density(sample.truth), sample.log_density(sample.draws), random
    )
    return by_density, reference_levels(
        sample.truth, sample.draws, random.normal(size=sample.truth.shape), random
    )


def test_regions_of_highest_density_and_balls_are_right_for_right_posteriors():
    for values in levels_of(observed(2000, 200, seed=8)):
        assert uniformity(values).p_value > SOME


@pytest.mark.heavy
def test_a_lost_correlation_is_seen_in_regions_and_balls_although_every_single_interval_is_right():
    sample = observed(4000, 200, seed=9, correlated=False)
    for values in of_each(sample):
        assert uniformity(values).p_value > SOME
    for values in levels_of(sample):
        assert uniformity(values).p_value < SOME


def test_relative_widths_are_those_of_the_posteriors():
    exact, wide = observed(300, 2000, seed=10), observed(300, 2000, seed=11, width=1.3)
    ratio = relative_width(
        widths(wide.draws[..., 0], 0.9), widths(exact.draws[..., 0], 0.9), np.random.default_rng(0)
    )
    low, high = ratio.interval
    assert low < 1.3 < high
    assert high - low < 0.02
