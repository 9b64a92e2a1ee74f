import itertools
import math
import random

import numpy as np
import pytest
import scipy.stats

from qexp.metrics.built_in import METRICS, metric_in_words
from qexp.metrics.intervals import difference_of_means, estimate, simultaneous
from qexp.metrics.meaning import (
    Meaning,
    aligned,
    measured,
    number,
    rounding,
    rounding_of_interval,
    with_interval,
)


@pytest.mark.parametrize("n", [2, 5, 30])
def test_the_interval_of_differences_is_the_one_of_the_paired_t_test(n):
    random.seed(n)
    first, second = ([random.gauss(mean, 1) for _ in range(n)] for mean in (0.0, 0.4))
    mean_difference = estimate([a - b for a, b in zip(first, second, strict=True)])
    test = scipy.stats.ttest_rel(first, second)
    assert mean_difference.interval == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert mean_difference.excludes_zero == (test.pvalue < 0.05)


def test_a_single_value_has_no_interval_and_equal_values_one_without_width():
    assert estimate([0.1]).interval is None
    assert not estimate([0.1]).excludes_zero
    # 0.1 + 0.1 + 0.1 is not 0.3 in floating point: a sloppy deviation would not be 0.
    assert estimate([0.1] * 3).interval == (0.1, 0.1)
    assert estimate([0.1] * 3).excludes_zero
    assert not estimate([0.0] * 3).excludes_zero


@pytest.mark.parametrize(
    ("first", "second"), [((0.1, 0.14), (0.3, 0.5)), ((1, 2, 4, 3), (5, 5.1, 5.2))]
)
def test_the_difference_of_independent_means_has_the_interval_of_welch(first, second):
    difference = difference_of_means(first, second)
    test = scipy.stats.ttest_ind(first, second, equal_var=False)
    assert difference.interval == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert difference.mean == pytest.approx(np.mean(first) - np.mean(second))
    turned = difference_of_means(second, first)
    assert turned.interval == pytest.approx([-end for end in reversed(difference.interval)])
    assert (turned.least, turned.greatest) == pytest.approx(
        (-difference.greatest, -difference.least)
    )
    assert difference_of_means([1.0, 1.0], [3.0, 3.0]).interval == (-2.0, -2.0)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("sizes", "held"), [((2, 2), 0.93), ((2, 10), 0.95), ((3, 3), 0.93), ((3, 10), 0.92)]
)
@pytest.mark.parametrize("ratio", [0.3, 1.0, 3.0])
def test_intervals_of_independent_means_hold_the_true_difference(sizes, held, ratio):
    """With Welch's degrees of freedom alone, two values beside ten of a third of their deviation
    have 89 %.
    """
    generator = np.random.default_rng(1)
    samples = [
        (ratio * generator.normal(size=sizes[0]), generator.normal(size=sizes[1]))
        for _ in range(2000)
    ]
    assert (
        np.mean([not difference_of_means(*map(list, pair)).excludes_zero for pair in samples])
        > held
    )


@pytest.mark.heavy
def test_simultaneous_intervals_of_equal_groups_leave_out_zero_together_as_rarely_as_a_single_one_does():
    """Six equal groups of five seeds: of the 15 differences hardly ever any, where single intervals
    err in half.
    """
    generator = np.random.default_rng(0)
    false = {1: 0, 15: 0}
    for values in generator.normal(size=(200, 6, 5)):
        differences = [
            estimate(list(first - second)) for first, second in itertools.combinations(values, 2)
        ]
        for together in false:
            false[together] += any(
                simultaneous(first, together).excludes_zero for first in differences
            )
    assert false[1] > 60
    assert false[15] <= 16  # 8 % of 200; 5 % are promised


def test_an_interval_of_errors_ends_at_zero_and_that_of_r2_at_one():
    meaning = METRICS["mae"].build().meaning
    limited = estimate([0.1, 0.3], meaning.limits([0.1, 0.3])).interval
    assert limited == (0.0, pytest.approx(0.2 + 12.7062 * 0.1, rel=1e-4))
    meaning = METRICS["r2"].build().meaning
    assert estimate([0.9, 0.99], meaning.limits([0.9, 0.99])).interval[1] == 1.0
    low, high = estimate([-0.1, 0.1], METRICS["bias"].build().meaning.limits([-0.1, 0.1])).interval
    assert low == -high < 0
    assert Meaning("lowest", "").limits([1.0, 2.0])[0] < 0  # a logarithm of a probability


# Rounding of numbers for readers


@pytest.mark.parametrize(
    ("mean", "deviation", "written"),
    [
        (0.0097182, 0.00040123, "0.00972 ± 0.00040"),
        (0.2053, 0.0573, "0.205 ± 0.057"),
        (12345.0, 567.0, "12340 ± 570"),
        (1.0, 0.0996, "1.00 ± 0.10"),
        (9.96, 9.96, "10 ± 10"),
        (0.999841, 2.3e-5, "0.999841 ± 0.000023"),
        (-0.0001, 0.05, "0.000 ± 0.050"),
        (1.234e-9, 5.6e-11, "(1.234 ± 0.056)e-09"),
        (3.2e7, 1.5e6, "(3.20 ± 0.15)e+07"),
        (0.5, 0.0, "0.5 ± 0"),
        (0.0097182, None, "0.009718"),
    ],
)
def test_a_deviation_is_written_with_two_significant_digits_and_its_mean_to_the_same_place(
    mean, deviation, written
):
    assert measured(mean, deviation) == written


def test_the_ends_of_an_interval_are_written_to_the_same_place():
    assert rounding(1.5, 0.12).interval(1.4, 1.625) == "[1.40, 1.62]"
    assert rounding(-2e-7, 3e-8).interval(-2.31e-7, 1e-9) == "[-2.31e-07, 0.01e-07]"
    assert rounding(1.7e21, 0.8e21).interval(0.0, 3.4e21) == "[0.00, 3.40e+21]"


@pytest.mark.parametrize(
    ("ends", "deviation", "text"),
    [
        ((1.4, 1.625), None, "[1.40, 1.62]"),
        ((1.4, 1.625), 0.0123, "[1.400, 1.625]"),  # the digits of 1.500 ± 0.012
        ((1.4, 1.625), math.nan, "[1.40, 1.62]"),
        ((1.5, 1.5), 0.0, None),
        ((1.4, math.inf), 0.1, None),
        ((math.nan, math.nan), None, None),
    ],
)
def test_an_interval_is_rounded_by_its_half_or_the_deviation_beside_it_unless_it_has_no_width(
    ends, deviation, text
):
    form = rounding_of_interval(ends, 1.5, deviation)
    assert (form and form.interval(*ends)) == text


@pytest.mark.parametrize(
    ("metric", "value", "ends", "texts"),
    [
        ("rmse", 46.71, (0.0, 6.6e6), ("46.7", "2 groups are too few")),
        ("rmse", 1600.4, (1.6e-27, 2.6e32), ("1600", "2 groups are too few")),
        ("rmse", 2.633, (1.98, 3.61), ("2.63", "[1.98, 3.61]")),
        ("rmse", 1.9812, (0.3, 16.3), ("1.98", "[0.3, 16.3]")),
        ("r2", 0.8023, (-580000.0, 0.999), ("0.802", "2 groups are too few")),
        ("r2", 0.8411, (0.6, 0.9), ("0.841", "[0.600, 0.900]")),
        ("bias", -0.0071, (-0.93, 0.91), ("-0.007", "[-0.93, 0.91]")),
        ("bias", 256.3, (-3100.0, 3600.0), ("256", "[-3100, 3600]")),
    ],
)
def test_a_value_keeps_its_digits_beside_any_interval_and_one_without_a_size_is_said_to_be_over_too_few(
    metric, value, ends, texts
):
    assert with_interval(value, ends, METRICS[metric].build().meaning, "2 groups") == texts


def test_numbers_of_a_column_are_aligned_at_their_decimal_points_with_a_true_minus():
    assert aligned([number(0.0161), number(-0.01446), number(None)]) == ["0.01610", "−0.01446", "–"]
    assert aligned([number(12.345), number(0.001), number(3.0)]) == [
        "12.35\u2007",
        "0.001",
        "3\u2007\u2007\u2007\u2008",
    ]
    assert aligned([number(-1.5e-5), "1e-05x", measured(-0.02599, 0.01434)]) == [
        "−1.5 × 10⁻⁵",
        "1e-05x",
        "−0.026 ± 0.014",
    ]


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.9962, "0.9962"), (0.99996, "0.999960"), (0.0141, "0.014"), (-5.12345, "-5.123"), (1, "1")],
)
def test_a_share_has_three_decimals_or_two_digits_of_its_distance_to_one(value, written):
    assert number(value, METRICS["r2"].build().meaning) == written


def test_numbers_for_readers_keep_all_their_digits():
    assert number(1 / 3).values == (1 / 3,)
    assert measured(1 / 3, 1 / 7).values == (1 / 3, 1 / 7)


def test_a_metric_has_a_name_for_readers_and_one_of_an_extension_its_key_in_words():
    assert [metric_in_words(key) for key in ("r2", "mae", "own_error")] == [
        "R²",
        "MAE",
        "own error",
    ]
