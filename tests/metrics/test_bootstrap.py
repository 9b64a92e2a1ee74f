import itertools
import math

import numpy as np
import pytest
import scipy.stats

from qexp.metrics import bootstrap
from qexp.metrics.bootstrap import FEW, difference, interval, intervals
from qexp.metrics.built_in import METRICS
from qexp.metrics.metric import Additive, Metric, with_training_mean

BUILT = with_training_mean({name: entry.build() for name, entry in METRICS.items()}, 0.5)
MAE, RMSE, BIAS, R2 = (BUILT[name] for name in ("mae", "rmse", "bias", "r2"))


def sample(rows, seed=0):
    random = np.random.default_rng(seed)
    truth = random.uniform(0.4, 10, rows)
    return truth + random.normal(0.1, 1, rows), truth


@pytest.mark.parametrize("name", [name for name, metric in BUILT.items() if metric.additive])
def test_the_interval_is_the_one_of_scipy_over_the_metric_itself(name):
    estimate, truth = sample(12)
    metric = BUILT[name]
    compute = metric.compute

    def of_rows(rows):
        return compute(estimate[rows], truth[rows])

    plain = scipy.stats.bootstrap(
        (np.arange(12),), of_rows, vectorized=False, n_resamples=4000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    low, high = interval(metric, estimate, truth, seed=2)
    # Two draws of the same bootstrap: their ends differ by a few hundredths of the width.
    assert (low, high) == pytest.approx(tuple(plain), abs=0.1 * (high - low))
    assert low < compute(estimate, truth) < high


def test_of_two_groups_the_ends_are_the_metrics_of_the_one_and_of_the_other():
    # A quarter of the resamples has the one group twice, a quarter the other, and half of them both.
    estimate, truth, groups = np.array([1.0, 1.0, 3.0, 3.0, 3.0]), np.zeros(5), ["a", "a", "b", "b", "b"]
    assert interval(MAE, estimate, truth, 0, groups) == (1.0, 3.0)
    assert interval(RMSE, estimate, truth, 0, groups) == (1.0, 3.0)
    assert difference(MAE, estimate, 2 * estimate, truth, 0, groups).interval == (-3.0, -1.0)


@pytest.mark.slow
def test_many_rows_have_the_quantiles_of_all_their_resamples():
    # The mean of n errors that are 0 or 1 is binomial over its resamples.
    rows = FEW + 100
    estimate = (np.arange(rows) % 4 == 0).astype(float)
    low, high = interval(MAE, estimate, np.zeros(rows), 0)
    exact = scipy.stats.binom(rows, estimate.mean())
    assert (low, high) == pytest.approx((exact.ppf(0.025) / rows, exact.ppf(0.975) / rows), abs=2 / rows)


@pytest.fixture
def fewer_draws(monkeypatch):
    """What hundreds of intervals are counted with; each end is then known a little worse."""
    monkeypatch.setattr(bootstrap, "DRAWS", bootstrap.FEWEST_DRAWS)


@pytest.mark.usefixtures("fewer_draws")
def test_about_nineteen_of_twenty_intervals_hold_the_true_error():
    held = {"rmse": 0, "bias": 0}
    for seed in range(200):
        error = np.random.default_rng(seed).normal(0, 2, 55)
        for metric, truth in (("rmse", 2.0), ("bias", 0.0)):
            low, high = interval(BUILT[metric], error, np.zeros(55), seed)
            held[metric] += low <= truth <= high
    assert all(0.88 < count / 200 < 0.99 for count in held.values()), held


@pytest.mark.slow
@pytest.mark.usefixtures("fewer_draws")
def test_where_rows_of_a_group_err_together_only_groups_give_an_interval_that_holds():
    groups, held_by_groups, held_by_rows = np.repeat(np.arange(15), 6), 0, 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        error = random.normal(size=15)[groups] + 0.3 * random.normal(size=90)
        low, high = interval(BIAS, error, np.zeros(90), seed, groups)
        held_by_groups += low <= 0 <= high
        low, high = interval(BIAS, error, np.zeros(90), seed)
        held_by_rows += low <= 0 <= high
    assert held_by_groups / 200 > 0.82
    assert held_by_rows / 200 < 0.7


def test_groups_of_one_row_are_rows():
    estimate, truth = sample(20)
    assert interval(RMSE, estimate, truth, 3, list(map(str, range(10, 30)))) == interval(RMSE, estimate, truth, 3)


def test_the_same_seed_gives_the_same_interval_and_another_hardly_another():
    estimate, truth = sample(55)
    first = interval(RMSE, estimate, truth, 1)
    assert interval(RMSE, estimate, truth, 1) == first
    other = interval(RMSE, estimate, truth, 2)
    assert other != first
    assert other == pytest.approx(first, rel=0.03)


def test_an_interval_has_the_unit_of_its_metric():
    estimate, truth = sample(30)
    low, high = interval(RMSE, estimate, truth, 0)
    assert interval(RMSE, 10 * estimate, 10 * truth, 0) == pytest.approx((10 * low, 10 * high))
    low, high = interval(R2, estimate, truth, 0)
    assert interval(R2, 10 * estimate + 5, 10 * truth + 5, 0) == pytest.approx((low, high))


def test_a_paired_difference_is_known_better_than_the_errors_themselves():
    estimate, truth = sample(55)
    worse = truth + 1.2 * (estimate - truth)
    of = difference(RMSE, worse, estimate, truth, 0)
    rmse = RMSE.compute
    assert of.value == pytest.approx(rmse(worse, truth) - rmse(estimate, truth))
    # Their own intervals overlap by far; the difference is 0.2 times an error, whatever the rows.
    low, high = interval(RMSE, estimate, truth, 0)
    assert interval(RMSE, worse, truth, 0)[0] < high
    assert of.interval == pytest.approx((0.2 * low, 0.2 * high), rel=1e-6)
    assert of.excludes_zero
    back = difference(RMSE, estimate, worse, truth, 0)
    assert (back.value, back.interval) == (-of.value, pytest.approx((-of.interval[1], -of.interval[0]), rel=0.02))


def test_an_estimator_does_not_differ_from_itself():
    estimate, truth = sample(10)
    of = difference(RMSE, estimate, estimate, truth, 0)
    assert (of.value, of.interval, of.excludes_zero) == (0.0, (0.0, 0.0), False)


def test_perfect_estimates_have_an_interval_without_width_and_a_single_row_has_none():
    truth = np.arange(1.0, 11.0)
    chosen = {name: BUILT[name] for name in ("rmse", "mae", "bias", "r2", "median_relative_error")}
    assert intervals(chosen, truth, truth, 0) == {
        "rmse": (0.0, 0.0), "mae": (0.0, 0.0), "bias": (0.0, 0.0), "r2": (1.0, 1.0),
    }  # fmt: skip
    assert interval(RMSE, [1.0], [2.0], 0) is None
    assert interval(RMSE, truth, truth, 0, ["one"] * 10) is None
    assert difference(RMSE, [1.0], [2.0], [2.0], 0).interval is None


def test_a_constant_truth_has_no_interval_of_r2():
    assert interval(R2, [1.0, 2.0, 3.0], [1.0, 1.0, 1.0], 0) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((BUILT["median_relative_error"], [1.0, 2.0], [1.0, 2.0], 0), "needs an additive metric"),
        ((RMSE, [1.0, math.nan], [1.0, 2.0], 0), "row 1"),
        ((RMSE, [1.0, 2.0], [1.0], 0), "must be"),
        ((RMSE, [1.0, 2.0], [1.0, 2.0], 0, ["a"]), "1 groups for 2 rows"),
    ],
)
def test_the_error_says_what_has_no_interval(arguments, message):
    with pytest.raises(ValueError, match=message):
        interval(*arguments)


def test_all_resamples_of_three_rows_are_equally_likely():
    # Of three rows with errors 0, 0, 1 the exact distribution of the mean is had by writing out all 27.
    means = sorted(sum(drawn) / 3 for drawn in itertools.product((0.0, 0.0, 1.0), repeat=3))
    low, high = interval(BIAS, [0.0, 0.0, 1.0], [0.0] * 3, 0)
    assert low in means
    assert means[0] <= low < high <= means[-1]


def correlation(sums, rows):
    one, other, squares, others, products = sums
    covariance = products - one * other / rows
    return covariance / np.sqrt((squares - one**2 / rows) * (others - other**2 / rows))


def test_an_additive_metric_of_ones_own_has_an_interval_like_those_of_qexp():
    def terms(estimate, truth, centre):
        one, other = estimate - centre, truth - centre
        return [one, other, one**2, other**2, one * other]

    metric = Metric(Additive(terms, correlation), best="highest", unit="")
    estimate, truth = sample(40)
    value = metric.compute(estimate, truth)
    assert value == pytest.approx(np.corrcoef(estimate, truth)[0, 1])
    low, high = interval(metric, estimate, truth, 0)
    assert low < value < high < 1


def test_a_few_resamples_without_a_value_count_as_the_worst():
    # Five rows of which four have the same truth: one resample of three has no R², and is as bad as any can be.
    truth = np.array([1.0, 1.0, 1.0, 1.0, 2.0])
    assert interval(R2, truth + 0.1, truth, 0) is None
    # Of six rows that differ, one resample of eight thousand is six times the same row.
    low, high = interval(R2, np.arange(6) + np.array([0.1, -0.2, 0.3, 0.1, -0.1, 0.2]), np.arange(6.0), 0)
    assert -1 < low < high <= 1
