import math

import numpy as np
import pytest
from scipy.stats import t

from qexp.metrics.built_in import METRICS
from qexp.metrics.intervals import difference, interval, intervals, intervals_over_pieces
from qexp.metrics.metric import Additive, Metric, Sums, with_training_mean

BUILT = with_training_mean({name: entry.build() for name, entry in METRICS.items()}, 0.5)
MAE, RMSE, BIAS, R2 = (BUILT[name] for name in ("mae", "rmse", "bias", "r2"))


def sample(rows, seed=0):
    random = np.random.default_rng(seed)
    truth = random.uniform(0.4, 10, rows)
    return truth + random.normal(0.1, 1, rows), truth


def by_definition(metric, estimate, truth, groups, forward, inverse):
    """The jackknife's interval written out: the metric computed anew without each group."""
    estimate, truth, groups = map(np.asarray, (estimate, truth, groups))
    names, sizes = np.unique(groups, return_counts=True)
    count = len(names)
    of_all = forward(metric.compute(estimate, truth))
    without = [
        forward(metric.compute(estimate[groups != name], truth[groups != name])) for name in names
    ]
    pseudo = [count * of_all - (count - 1) * value for value in without]
    error = np.std(pseudo, ddof=1) / math.sqrt(count)
    half_width = t.ppf(0.975, max(1, sizes.sum() ** 2 / (sizes**2).sum() - 1)) * error
    return tuple(sorted(inverse(np.mean(pseudo) + sign * half_width) for sign in (-1, 1)))


@pytest.mark.parametrize(
    ("metric", "forward", "inverse"),
    [
        (MAE, math.log, math.exp),
        (RMSE, math.log, math.exp),
        (BIAS, float, float),
        (R2, lambda value: math.log(1 - value), lambda value: 1 - math.exp(value)),
    ],
    ids=["mae", "rmse", "bias", "r2"],
)
@pytest.mark.parametrize(
    "groups", [range(12), [0, 0, 0, 0, 0, 1, 1, 1, 2, 3, 3, 4]], ids=["rows", "groups"]
)
def test_the_interval_is_that_of_the_metric_computed_anew_without_each_group(
    metric, forward, inverse, groups
):
    estimate, truth = sample(12)
    expected = by_definition(metric, estimate, truth, list(groups), forward, inverse)
    assert interval(metric, estimate, truth, list(groups)) == pytest.approx(expected, rel=1e-9)
    assert expected[0] < metric.compute(estimate, truth) < expected[1]
    assert interval(metric, estimate, truth, list(map(str, range(10, 22)))) == interval(
        metric, estimate, truth
    )


@pytest.mark.heavy
@pytest.mark.parametrize(("groups", "rows"), [(3, 6), (6, 6), (9, 6), (55, 1)])
def test_nineteen_of_twenty_intervals_over_few_groups_hold_the_true_error(groups, rows):
    """Normal errors, half of their variance common to a group; 400 cases, whose count is known to ±
    2.2 %.
    """
    random, group = np.random.default_rng(groups), np.repeat(np.arange(groups), rows)
    common = math.sqrt(0.5) if rows > 1 else 0.0
    truths = {"mae": math.sqrt(2 / math.pi), "rmse": 1.0, "bias": 0.0}
    inside = dict.fromkeys(truths, 0)
    for _ in range(400):
        error = common * random.normal(size=groups)[group] + math.sqrt(
            1 - common**2
        ) * random.normal(size=len(group))
        for name, truth in truths.items():
            low, high = interval(BUILT[name], error, np.zeros(len(group)), group)
            inside[name] += low <= truth <= high
    assert all(0.89 < count / 400 < 0.99 for count in inside.values()), inside


def test_where_rows_of_a_group_err_together_only_groups_give_an_interval_that_holds():
    random = np.random.default_rng(0)
    group = np.repeat(np.arange(15), 6)
    held_by_groups = 0
    held_by_rows = 0
    for _ in range(200):
        error = random.normal(size=15)[group] + 0.3 * random.normal(size=90)
        low, high = interval(BIAS, error, np.zeros(90), group)
        held_by_groups += low <= 0 <= high
        low, high = interval(BIAS, error, np.zeros(90))
        held_by_rows += low <= 0 <= high
    assert held_by_groups / 200 > 0.9
    assert held_by_rows / 200 < 0.7


def test_pieces_of_which_the_sums_are_known_have_the_intervals_of_groups():
    estimate, truth = sample(20)
    parts = np.split(np.arange(20), [3, 9, 14])
    pieces = [
        Sums({"rmse": RMSE, "r2": R2}).with_piece(estimate[rows], truth[rows]) for rows in parts
    ]
    groups = np.concatenate([np.full(len(rows), number) for number, rows in enumerate(parts)])
    expected = intervals({"rmse": RMSE, "r2": R2}, estimate, truth, groups)
    for name, ends in intervals_over_pieces(pieces).items():
        assert ends == pytest.approx(expected[name], rel=1e-6)
    assert intervals_over_pieces(pieces[:1])["rmse"] is None


def test_no_error_lies_below_zero_and_no_r2_above_one():
    truth = np.arange(4.0)
    for error in ([0, 0, 0, 1.0], [1e-9, 0, 1.0, 0], [1e-9, 1e-9, 1e-9, 5.0]):
        for metric in (RMSE, MAE):
            low, high = interval(metric, truth + error, truth)
            assert 0 <= low < metric.compute(truth + error, truth) < high
        assert interval(R2, truth + error, truth)[1] <= 1


def test_a_paired_difference_is_known_better_than_the_errors_themselves_and_is_none_from_itself():
    estimate, truth = sample(55)
    worse = truth + 1.2 * (estimate - truth)
    apart, ends = difference(RMSE, worse, estimate, truth)
    rmse = RMSE.compute
    assert apart == pytest.approx(rmse(worse, truth) - rmse(estimate, truth))
    # Their own intervals overlap by far; the difference is 0.2 times the error, whatever the rows.
    low, high = interval(RMSE, estimate, truth)
    assert interval(RMSE, worse, truth)[0] < high
    assert ends == pytest.approx((0.2 * low, 0.2 * high), rel=0.1)
    assert ends[0] > 0
    back, back_ends = difference(RMSE, estimate, worse, truth)
    assert back == -apart
    assert back_ends == pytest.approx((-ends[1], -ends[0]), rel=1e-9)
    assert difference(RMSE, estimate, estimate, truth) == (0.0, (0.0, 0.0))


def test_perfect_estimates_have_an_interval_without_width_and_a_single_row_or_r2_of_a_constant_truth_none():
    truth = np.arange(1.0, 11.0)
    chosen = {name: BUILT[name] for name in ("rmse", "mae", "bias", "r2", "median_relative_error")}
    assert intervals(chosen, truth, truth) == {
        "rmse": (0.0, 0.0), "mae": (0.0, 0.0), "bias": (0.0, 0.0), "r2": (1.0, 1.0),
    }  # fmt: skip
    assert interval(RMSE, [1.0], [2.0]) is None
    assert interval(RMSE, truth, truth, ["one"] * 10) is None
    assert difference(RMSE, [1.0], [2.0], [2.0])[1] is None
    assert interval(R2, [1.0, 2.0, 3.0], [1.0, 1.0, 1.0]) is None


def test_a_row_without_an_estimate_leaves_no_interval_and_metrics_that_are_no_sums_have_none():
    assert interval(RMSE, [1.0, math.nan], [1.0, 2.0]) is None
    with pytest.raises(ValueError, match="needs an additive metric"):
        interval(BUILT["median_relative_error"], [1.0, 2.0], [1.0, 2.0])


def test_an_additive_metric_of_ones_own_has_an_interval_like_those_of_qexp():
    def terms(estimate, truth, centre):
        first, second = estimate - centre, truth - centre
        return [first, second, first**2, second**2, first * second]

    def correlation(sums, rows):
        first, second, squares, others, products = sums
        covariance = products - first * second / rows
        return covariance / np.sqrt((squares - first**2 / rows) * (others - second**2 / rows))

    metric = Metric(Additive(terms, correlation), best="highest", unit="")
    estimate, truth = sample(40)
    value = metric.compute(estimate, truth)
    assert value == pytest.approx(np.corrcoef(estimate, truth)[0, 1])
    low, high = interval(metric, estimate, truth)
    assert low < value < high < 1
