import math

import numpy as np
import pytest
import scipy.stats
from scipy.special import erfinv

from qexp.simulation.distributions import exponential, log_normal, log_uniform, normal, truncated_normal, uniform

QUANTILES = np.linspace(0.001, 0.999, 997)
TRUNCATED_MEAN = 3 + (scipy.stats.norm.pdf(-2.5) - scipy.stats.norm.pdf(3)) / (
    scipy.stats.norm.cdf(3) - scipy.stats.norm.cdf(-2.5)
)

CASES = {
    "uniform": (uniform(-2, 6), scipy.stats.uniform(-2, 8).cdf, 2.0),
    "log_uniform": (log_uniform(0.1, 10), lambda v: (np.log10(v) + 1) / 2, 9.9 / math.log(100)),
    "normal": (normal(2, 3), lambda v: (1 + scipy.special.erf((v - 2) / (3 * math.sqrt(2)))) / 2, 2.0),
    "truncated_normal": (
        truncated_normal(3, 1, 0.5, 6),
        lambda v: (
            (scipy.stats.norm.cdf(v - 3) - scipy.stats.norm.cdf(-2.5))
            / (scipy.stats.norm.cdf(3) - scipy.stats.norm.cdf(-2.5))
        ),
        TRUNCATED_MEAN,
    ),
    "log_normal": (log_normal(0.4, 0.5), lambda v: scipy.stats.norm.cdf((np.log(v) - 0.4) / 0.5), math.exp(0.525)),
    "exponential": (exponential(4), lambda v: 1 - np.exp(-4 * v), 0.25),
}


@pytest.mark.parametrize("name", CASES)
def test_the_quantile_function_undoes_the_cumulative_distribution(name):
    distribution, cumulative, _ = CASES[name]
    np.testing.assert_allclose(cumulative(distribution.quantile(QUANTILES)), QUANTILES, rtol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_values_at_evenly_spaced_quantiles_have_the_textbook_mean(name):
    distribution, _, mean = CASES[name]
    middle = (np.arange(200_000) + 0.5) / 200_000
    assert distribution.quantile(middle).mean() == pytest.approx(mean, rel=1e-3)


@pytest.mark.parametrize("name", CASES)
def test_all_values_lie_within_the_support_and_its_ends_are_the_outermost_quantiles(name):
    distribution = CASES[name][0]
    low, high = distribution.support()
    values = distribution.quantile(np.array([0.0, 1e-12, 0.3, 1 - 1e-12, 1.0]))
    assert ((values >= low) & (values <= high)).all()
    assert (values[0], values[-1]) == pytest.approx((low, high))
    assert np.isfinite(values[1:-1]).all()
    assert (np.diff(values) >= 0).all()


def test_log_normal_is_vdis_formula_with_the_inverse_error_function():
    expected = np.exp(0.3 + math.sqrt(2) * 0.7 * erfinv(2 * QUANTILES - 1))
    np.testing.assert_allclose(log_normal(0.3, 0.7).quantile(QUANTILES), expected, rtol=1e-12)


def test_uniform_is_vdis_straight_line_between_its_bounds():
    np.testing.assert_allclose(uniform(-1, 3).quantile(QUANTILES), -1 + 4 * QUANTILES, rtol=1e-12, atol=1e-15)


def test_exponential_is_vdis_logarithm_over_the_rate():
    np.testing.assert_allclose(exponential(100).quantile(QUANTILES), -np.log(1 - QUANTILES) / 100, rtol=1e-12)


def test_the_median_of_a_log_uniform_variable_is_the_geometric_mean_of_its_bounds():
    assert log_uniform(0.02, 50).quantile(np.array(0.5)).item() == pytest.approx(1.0)


def test_a_wide_truncation_is_no_truncation():
    wide = truncated_normal(2, 3, -100, 100)
    np.testing.assert_allclose(wide.quantile(QUANTILES), normal(2, 3).quantile(QUANTILES), rtol=1e-9)


@pytest.mark.parametrize(
    ("build", "arguments", "names"),
    [
        (uniform, (2.0, 1.0), ("'a'", "'b'")),
        (uniform, (1.0, 1.0), ("'a'", "'b'")),
        (log_uniform, (10.0, 0.1), ("'low'", "'high'")),
        (truncated_normal, (0.0, 1.0, 2.0, -2.0), ("'low'", "'high'")),
    ],
)
def test_bounds_in_the_wrong_order_are_refused_by_name(build, arguments, names):
    with pytest.raises(ValueError, match=f"{names[0]} must be less than {names[1]}"):
        build(*arguments)


SCIPY = {
    "uniform": (uniform(-2, 6), scipy.stats.uniform(-2, 8)),
    "log_uniform": (log_uniform(0.1, 10), scipy.stats.loguniform(0.1, 10)),
    "normal": (normal(2, 3), scipy.stats.norm(2, 3)),
    "truncated_normal": (truncated_normal(3, 1, 0.5, 6), scipy.stats.truncnorm(-2.5, 3, loc=3, scale=1)),
    "log_normal": (log_normal(0.4, 0.5), scipy.stats.lognorm(s=0.5, scale=math.exp(0.4))),
    "exponential": (exponential(3), scipy.stats.expon(scale=1 / 3)),
}


@pytest.mark.parametrize("name", SCIPY)
def test_values_have_the_bits_of_scipy_stats(name):
    """Samples of runs that were made with scipy.stats are drawn again by the same seeds."""
    ours, frozen = SCIPY[name]
    shares = np.concatenate([[0.0, 1.0], np.random.default_rng(0).random(20_000)])
    np.testing.assert_array_equal(ours.quantile(shares), frozen.ppf(shares))
    assert ours.support() == frozen.support()
