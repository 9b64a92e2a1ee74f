import math

import numpy as np
import pytest
import scipy.stats

from qexp.simulation.distributions import (
    exponential,
    log_normal,
    log_uniform,
    normal,
    truncated_normal,
    uniform,
)

SCIPY = {
    "uniform": (uniform(-2, 6), scipy.stats.uniform(-2, 8)),
    "log_uniform": (log_uniform(0.1, 10), scipy.stats.loguniform(0.1, 10)),
    "normal": (normal(2, 3), scipy.stats.norm(2, 3)),
    "truncated_normal": (
        truncated_normal(3, 1, 0.5, 6),
        scipy.stats.truncnorm(-2.5, 3, loc=3, scale=1),
    ),
    "log_normal": (log_normal(0.4, 0.5), scipy.stats.lognorm(s=0.5, scale=math.exp(0.4))),
    "exponential": (exponential(3), scipy.stats.expon(scale=1 / 3)),
}


@pytest.mark.parametrize("name", SCIPY)
def test_values_have_the_bits_of_scipy_stats_and_lie_within_the_support(name):
    """Samples of runs that were made with scipy.stats are drawn again by the same seeds."""
    ours, frozen = SCIPY[name]
    shares = np.concatenate([[0.0, 1e-12, 1 - 1e-12, 1.0], np.random.default_rng(0).random(20_000)])
    values = ours.quantile(shares)
    np.testing.assert_array_equal(values, frozen.ppf(shares))
    low, high = ours.support()
    assert (low, high) == frozen.support()
    assert ((values >= low) & (values <= high)).all()
    assert np.isfinite(values[[1, 2]]).all()


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
