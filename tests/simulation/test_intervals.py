from itertools import pairwise

import numpy as np
import pytest
import scipy.stats

from qexp.simulation.distributions import divide, gaps, sample

TEST = [(0.2, 0.4), (0.85, 0.95)]


def divided(seed=1, test=TEST, shares=(0.7, 0.3)):
    return divide(test, shares, np.random.default_rng(seed))


def length(intervals):
    return sum(high - low for low, high in intervals)


def within(intervals, low, high):
    return [(a, b) for a, b in intervals if low <= a and b <= high]


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        (TEST, [(0, 0.2), (0.4, 0.85), (0.95, 1)]),
        ([(0, 0.3)], [(0.3, 1)]),
        ([(0.7, 1)], [(0, 0.7)]),
        ([(0.1, 0.2), (0.2, 0.3)], [(0, 0.1), (0.3, 1)]),
        ([], [(0, 1)]),
    ],
)
def test_gaps_are_what_the_test_intervals_leave(test, expected):
    assert gaps(test) == expected


def test_the_parts_lie_side_by_side_and_fill_every_gap_exactly():
    train, validation = divided()
    assert (train, validation) == (sorted(train), sorted(validation))
    for low, high in gaps(TEST):
        together = sorted(within(train, low, high) + within(validation, low, high))
        assert together[0][0] == low
        assert together[-1][1] == high
        assert all(ends == starts for (_, ends), (starts, _) in pairwise(together))
        assert all(a < b for a, b in together)
    assert length(train) + length(validation) == pytest.approx(1 - length(TEST))


@pytest.mark.slow
def test_each_part_gets_one_and_poisson_of_eight_hundred_times_the_gap_sub_intervals():
    counts = np.array([[len(part) for part in divided(seed, [(0.4, 0.9)])] for seed in range(400)])
    extra = counts - 2  # one for each of the two gaps, 0.4 and 0.1 wide
    expected = 800 * 0.5
    assert extra.mean(0) == pytest.approx([expected, expected], abs=4 * np.sqrt(expected / 400))
    # A Poisson variance equals its mean; the variance of 400 draws has a standard error of 7 %.
    assert extra.var(0) == pytest.approx([expected, expected], rel=0.28)
    assert abs(np.corrcoef(extra.T)[0, 1]) < 0.2


def test_a_gap_too_narrow_for_many_still_gives_every_part_an_interval():
    assert all(all(divided(seed, [(0.0, 1 - 1e-9)])) for seed in range(20))


def test_sizes_within_a_part_spread_log_normally_with_a_tenth():
    train, validation = divided(test=[(0.999, 1.0)])
    for part in (train, validation):
        logarithms = np.log([high - low for low, high in part])
        assert logarithms.std() == pytest.approx(0.1, rel=0.1)
        assert scipy.stats.normaltest(logarithms).pvalue > 1e-3


def test_sub_intervals_of_the_parts_are_shuffled():
    train, validation = divided(test=[(0.999, 1.0)])
    owners = np.array(
        [owner for _, owner in sorted([(i, 0) for i in train] + [(i, 1) for i in validation])]
    )
    runs = 1 + np.count_nonzero(np.diff(owners))
    train_count, validation_count = len(train), len(validation)
    # Wald and Wolfowitz (1940)
    expected = 1 + 2 * train_count * validation_count / (train_count + validation_count)
    deviation = np.sqrt((expected - 1) * (expected - 2) / (train_count + validation_count - 1))
    assert abs(runs - expected) < 4 * deviation


def test_every_quantile_of_the_intervals_is_equally_likely():
    ranges, count = [(0.1, 0.15), (0.3, 0.6), (0.9, 0.95)], 80_000
    quantiles = sample(ranges, (np.arange(count) + 0.5) / count)
    for (low, high), share in zip(ranges, (0.125, 0.75, 0.125), strict=True):
        inside = np.sort(quantiles[(quantiles >= low) & (quantiles <= high)])
        assert len(inside) / count == pytest.approx(share, abs=2 / count)
        np.testing.assert_allclose(inside, np.linspace(low, high, len(inside)), atol=2e-5)


def test_samples_rise_with_the_uniform_number_and_never_leave_the_intervals():
    ranges = divided()[1]
    ends = np.cumsum([high - low for low, high in ranges])
    # Among them the numbers at which one interval ends and the next begins, where rounding shows.
    quantiles = sample(
        ranges, np.sort(np.concatenate([np.linspace(0, 1, 10_001), ends[:-1] / ends[-1]]))
    )
    low, high = np.array(ranges).T
    index = np.searchsorted(low, quantiles, side="right") - 1
    assert (index >= 0).all()
    assert (quantiles <= high[index]).all()
    assert (np.diff(quantiles) >= 0).all()
    assert quantiles[0] == low[0]
    assert quantiles[-1] == high[-1]


def test_the_whole_axis_as_one_interval_leaves_numbers_as_they_are():
    numbers = np.random.default_rng(5).uniform(size=100)
    np.testing.assert_allclose(sample([(0.0, 1.0)], numbers), numbers, rtol=1e-15, atol=1e-16)


@pytest.mark.parametrize("shares", [(0.7, 0.3), (0.5, 0.3, 0.2), (0.6, 0.3), (0.25, 0.25), (0.9,)])
def test_every_part_has_its_share_of_every_gap_and_what_shares_leave_of_1_belongs_to_none(shares):
    test = [(0.1, 0.2), (0.7, 0.8)]
    parts = divided(1, test, shares)
    assert len(parts) == len(shares)
    for part, share in zip(parts, shares, strict=True):
        for low, high in gaps(test):
            covered = sum(b - a for a, b in part if low <= a and b <= high + 1e-12)
            assert covered == pytest.approx(share * (high - low))
    ordered = sorted(interval for part in [*parts, test] for interval in part)
    assert all(one[1] <= following[0] + 1e-12 for one, following in pairwise(ordered))
