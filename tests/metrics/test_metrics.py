import math

import numpy as np
import pytest

from qexp.metrics.built_in import ALWAYS, METRICS, asked_for, evaluate, find

RANDOM = np.random.default_rng(1)
TRUTH = RANDOM.lognormal(size=(200, 1))
ESTIMATE = TRUTH * RANDOM.normal(1.05, 0.2, size=(200, 1)) + 0.1


def metric(name, estimate=ESTIMATE, truth=TRUTH):
    return evaluate({name: METRICS[name].build()}, estimate, truth)[name]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mae", (1 + 2 + 0 + 4) / 4),
        ("mse", (1 + 4 + 0 + 16) / 4),
        ("rmse", math.sqrt(21 / 4)),
        ("bias", (1 - 2 + 0 + 4) / 4),
        ("r2", 1 - 21 / (49 + 25 + 1 + 121)),  # the truth's mean is 9
        ("mre", 100 * (1 / 2 + 2 / 4 + 0 / 10 + 4 / 20) / 4),
        ("median_relative_error", 100 * (0.2 + 0.5) / 2),
    ],
)
def test_metrics_of_four_samples_worked_out_by_hand(name, expected):
    truth = np.array([2.0, 4.0, 10.0, 20.0])
    assert metric(name, np.array([3.0, 2.0, 10.0, 24.0]), truth) == pytest.approx(expected)


def test_a_perfect_estimate_has_no_error_and_explains_everything():
    for name in METRICS:
        assert metric(name, TRUTH) == (1 if name == "r2" else 0)


def test_estimating_the_mean_explains_nothing():
    assert metric("r2", np.full_like(TRUTH, TRUTH.mean())) == pytest.approx(0, abs=1e-12)


def test_worse_than_the_mean_is_a_negative_share_explained():
    assert metric("r2", 2 * TRUTH.mean() - TRUTH) == pytest.approx(-3)


def test_a_constant_truth_has_no_variance_to_explain():
    assert math.isnan(metric("r2", ESTIMATE, np.ones_like(TRUTH)))


def test_bias_is_positive_where_estimates_are_too_large():
    assert metric("bias", TRUTH + 0.3) == pytest.approx(0.3)
    assert metric("bias", TRUTH - 0.3) == pytest.approx(-0.3)


def test_relative_errors_are_in_percent_of_the_truth_and_not_of_the_estimate():
    for name in ("mre", "median_relative_error"):
        assert metric(name, 1.25 * TRUTH) == pytest.approx(25)
        assert metric(name, 0.75 * TRUTH) == pytest.approx(25)
        assert metric(name, -1.25 * TRUTH, -TRUTH) == pytest.approx(25)


def test_one_wild_estimate_moves_the_mean_relative_error_but_not_the_median():
    wild = 1.1 * TRUTH
    wild[7] *= 1e6
    assert metric("median_relative_error", wild) == pytest.approx(10)
    assert metric("mre", wild) > 1000


def test_a_truth_of_zero_makes_the_mean_relative_error_infinite_without_a_warning(recwarn):
    assert metric("mre", np.array([1.0, 1.0]), np.array([0.0, 1.0])) == math.inf
    assert not recwarn


def test_squared_error_is_squared_bias_plus_variance_and_the_root_its_root():
    error = ESTIMATE - TRUTH
    assert metric("mse") == pytest.approx(metric("bias") ** 2 + error.var())
    assert metric("rmse") == pytest.approx(math.sqrt(metric("mse")))
    assert metric("r2") == pytest.approx(1 - metric("mse") / TRUTH.var())
    assert abs(metric("bias")) <= metric("mae") <= metric("rmse")


def test_metrics_scale_with_the_unit_as_their_own_units_say():
    scaling = {"mae": 1000, "rmse": 1000, "bias": 1000, "mse": 1000**2}
    for name in METRICS:
        in_metres = metric(name, 1000 * ESTIMATE, 1000 * TRUTH)
        assert in_metres == pytest.approx(scaling.get(name, 1) * metric(name))
    units = {name: entry.build().in_unit("km") for name, entry in METRICS.items()}
    assert units == {
        "mae": "km",
        "rmse": "km",
        "bias": "km",
        "mse": "(km)²",
        "r2": "",
        "mre": "%",
        "median_relative_error": "%",
    }
    assert METRICS["mse"].build().in_unit("") == METRICS["mae"].build().in_unit("") == ""
    assert METRICS["mre"].build().in_unit("") == "%"


def test_single_precision_values_are_judged_in_double():
    estimate = np.array([1e8, 1, -1e8], dtype=np.float32)
    assert metric("bias", estimate, np.zeros(3, dtype=np.float32)) == pytest.approx(1 / 3)


@pytest.mark.parametrize("name", METRICS)
def test_a_better_estimate_is_less_bad_by_every_metric(name):
    measure = METRICS[name].build()
    error = ESTIMATE - TRUTH
    assert measure.badness(metric(name, TRUTH + error / 2)) < measure.badness(metric(name))
    assert measure.badness(metric(name, TRUTH - error / 2)) < measure.badness(metric(name))


def test_the_usual_metrics_come_first_and_none_twice():
    assert asked_for(["mse", "mae", "mse"]) == [*ALWAYS, "mse"]
    assert set(ALWAYS) <= set(METRICS)


def test_a_metric_is_found_by_name_and_one_of_an_extension_counts_as_lower_is_better():
    assert find("r2").badness(0.9) < find("r2").badness(0.5)
    assert find("of_an_extension").badness(0.5) < find("of_an_extension").badness(0.9)
