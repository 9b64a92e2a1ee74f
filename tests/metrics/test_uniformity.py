"""Simultaneous bands of distribution functions, and what they can show."""

import itertools

import numpy as np
import pytest
from scipy.stats import norm

from qexp.metrics.calibration import (
    CONFIDENCE,
    NOTICED_POWER,
    band,
    distinguished,
    points_for,
    power,
    probability_inside,
    uniformity,
)


def test_the_probability_of_staying_inside_is_that_of_all_cases_together():
    shares, lower, upper = np.array([0.3, 0.6]), np.array([0, 1]), np.array([2, 3])
    parts, total = np.array([0.3, 0.3, 0.4]), 0.0
    for cells in itertools.product(range(3), repeat=3):  # the cell of each of three numbers
        below = [sum(cell <= point for cell in cells) for point in range(2)]
        if (lower <= below).all() and (below <= upper).all():
            total += parts[list(cells)].prod()
    assert probability_inside(lower, upper, shares, 3) == pytest.approx(total)


@pytest.mark.parametrize("count", [20, 250, 2000])
def test_uniform_numbers_leave_the_band_in_five_of_a_hundred_cases(count):
    tried = 4000
    values = np.random.default_rng(count).random((tried, count))
    below = np.stack(
        [np.searchsorted(np.sort(row), points_for(count), side="right") for row in values]
    )
    lower, upper = band(count)
    outside = np.mean(((below < lower) | (below > upper)).any(axis=1))
    expected = 1 - probability_inside(lower, upper, points_for(count), count)
    assert abs(outside - expected) < 4 * np.sqrt(expected / tried)
    assert 0.8 * (1 - CONFIDENCE) < expected <= 1 - CONFIDENCE


def stays_inside(result):
    return ((result.lower <= result.share) & (result.share <= result.upper)).all()


@pytest.mark.heavy
@pytest.mark.parametrize("count", [50, 1000])
def test_p_values_of_uniform_numbers_are_uniform_and_agree_with_the_band(count):
    random = np.random.default_rng(1)
    results = [uniformity(random.random(count)) for _ in range(400)]
    chances = np.array([result.p_value for result in results])
    for probability in (0.05, 0.5):
        assert abs(np.mean(chances <= probability) - probability) < 4 * np.sqrt(
            probability * (1 - probability) / 400
        )
    edge = 1 - probability_inside(*band(count), points_for(count), count)
    clear = [result for result in results if abs(result.p_value - edge) > 1e-3]
    assert all(stays_inside(result) == (result.p_value > edge) for result in clear)


@pytest.mark.heavy
@pytest.mark.parametrize("count", [100, 2000])
def test_what_is_said_to_be_noticed_is_noticed_in_nine_of_ten_cases(count):
    least, random, tried = power(count), np.random.default_rng(2), 150
    for width, shift in ((least.narrow, 0.0), (1.0, least.shift)):
        values = norm.cdf((random.normal(size=(tried, count)) - shift) / width)
        noticed = np.mean([not stays_inside(uniformity(row)) for row in values])
        assert abs(noticed - NOTICED_POWER) < 4 * np.sqrt(
            NOTICED_POWER * (1 - NOTICED_POWER) / tried
        )


@pytest.mark.heavy
def test_few_observations_show_little_and_more_show_more_and_a_single_number_is_never_called_uneven():
    assert power(2).narrow == 0.0
    assert power(2).shift == np.inf
    assert power(20).narrow < power(200).narrow < power(2000).narrow < 1
    assert power(20).shift > power(200).shift > power(2000).shift > 0
    assert uniformity(np.array([1e-6])).p_value == 1.0


# The classifier two-sample test


@pytest.mark.heavy
@pytest.mark.parametrize("distance", [0.0, 1.0, 3.0])
def test_draws_are_distinguished_as_well_as_the_best_classifier_of_normal_distributions_does(
    distance,
):
    first, second = np.random.default_rng(1).normal(size=(2, 1000, 2)) * [1.0, 50.0]
    second[:, 0] += distance
    accuracy = distinguished(first, second, seed=0)
    assert (
        abs(accuracy - norm.cdf(distance / 2))
        < 4 * np.sqrt(accuracy * (1 - accuracy) / 2000) + 0.01
    )
