import numpy as np
import pytest
import scipy.stats

from qexp.metrics.calibration import BLOCKS, blocks_of, misfit

SIDE = 32
X, Y = (axis.ravel().astype(float) for axis in np.meshgrid(np.arange(SIDE), np.arange(SIDE)))
IN_BLOCKS = blocks_of(X, Y)


def noise(count=4000, seed=1):
    return np.random.default_rng(seed).standard_normal((count, SIDE * SIDE))


def test_blocks_divide_the_area_evenly():
    assert len(np.unique(IN_BLOCKS)) == BLOCKS**2
    assert (np.bincount(IN_BLOCKS) == (SIDE // BLOCKS) ** 2).all()
    for block in (0, 13, 63):
        inside = block == IN_BLOCKS
        assert np.ptp(X[inside]) == np.ptp(Y[inside]) == SIDE // BLOCKS - 1


@pytest.mark.slow
def test_p_values_of_the_declared_noise_are_uniform_and_fewer_than_one_in_twenty_of_all_below_a_twentieth():
    tests = misfit(noise(), IN_BLOCKS, 0)
    for p_values in (tests.total, tests.smooth, tests.local):
        assert scipy.stats.kstest(p_values, "uniform").pvalue > 0.01
    assert 0.03 < (tests.p_value < 0.05).mean() < 0.06


@pytest.mark.slow
def test_what_was_fitted_counts_as_unknowns():
    """Residuals of a fit of 100 numbers have as many fewer degrees of freedom."""
    design, _ = np.linalg.qr(np.random.default_rng(2).standard_normal((SIDE * SIDE, 100)))
    residuals = noise(2000) - noise(2000) @ design @ design.T
    assert scipy.stats.kstest(misfit(residuals, IN_BLOCKS, 100).total, "uniform").pvalue > 0.01
    assert scipy.stats.kstest(misfit(residuals, IN_BLOCKS, 0).total, "uniform").pvalue < 1e-6


def test_each_test_is_the_best_at_finding_what_it_is_for():
    stronger = misfit(1.15 * noise(300), IN_BLOCKS, 0)
    broad = misfit(
        noise(300) + 0.65 * np.exp(-((X - 9) ** 2 + (Y - 20) ** 2) / (2 * 8**2)), IN_BLOCKS, 0
    )
    spot = misfit(
        noise(300) + np.where(IN_BLOCKS == 13, np.resize([2.2, -2.2], SIDE * SIDE), 0), IN_BLOCKS, 0
    )
    shares = [
        {name: (getattr(tests, name) < 0.01).mean() for name in ("total", "smooth", "local")}
        for tests in (stronger, broad, spot)
    ]
    assert [max(share, key=share.get) for share in shares] == ["total", "smooth", "local"]
    assert all(max(share.values()) > 0.8 for share in shares)


def test_residuals_far_beyond_the_noise_have_a_p_value_of_almost_zero_and_few_points_are_tested_together():
    with np.errstate(all="raise", under="ignore"):
        tests = misfit(100 * noise(2), IN_BLOCKS, 4)
    assert (tests.p_value < 1e-100).all()
    tests = misfit(
        np.random.default_rng(3).standard_normal((2000, 6)),
        blocks_of(np.arange(6.0), np.zeros(6)),
        2,
    )
    assert (tests.smooth == 1).all()
    assert (tests.local == 1).all()
    assert 0 < tests.total.min() < 0.05
