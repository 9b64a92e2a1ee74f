"""Sums of smooth fields, against the covariances that they are made for."""

import pytest
import torch

from qexp.physics.random_fields import factors_along, gaussian, gaussian_mixture, von_karman


@pytest.mark.parametrize("hurst", [0.02, 1 / 3, 1 / 2, 5 / 6, 0.97])
@pytest.mark.parametrize("outer_scale", [100.0, 2e3, 20e3, 2e6])
def test_the_semivariogram_of_the_mixture_is_von_karman_s_at_every_distance(outer_scale, hurst):
    pixel = 100.0
    ranges, shares, rest = gaussian_mixture(outer_scale, hurst, pixel / 3)
    assert float(shares.sum()) + rest == pytest.approx(1, abs=1e-12)
    distance = torch.logspace(0, 3, 100, dtype=torch.float64) * pixel
    mixture = sum(share * gaussian(distance, 1.0, of_range) for of_range, share in zip(ranges, shares, strict=True))
    exact = von_karman(distance, 1.0, outer_scale, hurst)
    torch.testing.assert_close(1 - mixture, 1 - exact, rtol=1e-3, atol=0)


@pytest.mark.parametrize("count", [1, 7, 64])
@pytest.mark.parametrize("of_range", [40.0, 300.0, 2e3, 1e5])
def test_the_product_of_the_factors_is_the_correlation_along_the_axis_of_each_sample(count, of_range):
    spacing = torch.tensor([50.0, 110.0])
    factors = factors_along(count, spacing, of_range).double()
    steps = torch.arange(count).double()
    expected = gaussian(spacing.double()[:, None, None] * (steps[:, None] - steps).abs(), 1.0, of_range)
    torch.testing.assert_close(factors @ factors.mT, expected, rtol=0, atol=2e-7)
