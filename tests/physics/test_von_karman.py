"""Von Kármán fields: what their factors imply, against the covariance they are made for."""

import math

import pytest
import torch

from qexp.physics import random_fields
from qexp.physics.random_fields import (
    factors_along,
    gaussian,
    gaussian_mixture,
    torus_eigenvalues,
    von_karman,
    von_karman_factors,
    von_karman_field,
)

GRIDS = pytest.mark.parametrize(
    ("height", "width", "pixel_width", "pixel_height", "outer_scale", "hurst"),
    [
        (24, 24, 100.0, 100.0, 20e3, 5 / 6),
        (24, 24, 100.0, 100.0, 2e6, 5 / 6),
        (24, 24, 100.0, 100.0, 300.0, 5 / 6),
        (12, 30, 300.0, 100.0, 5e3, 1 / 3),
        (30, 12, 100.0, 300.0, 5e3, 0.97),
        (1, 20, 100.0, 100.0, 5e3, 5 / 6),
        (24, 24, 100.0, 100.0, 10.2e3, 1 / 2),
    ],
)


def distances(height, width, pixel_width, pixel_height):
    rows, columns = torch.meshgrid(
        torch.arange(height).double() * pixel_height,
        torch.arange(width).double() * pixel_width,
        indexing="ij",
    )
    positions = torch.stack([rows.flatten(), columns.flatten()], -1)
    return (positions[:, None] - positions).norm(dim=-1)


def implied_covariance(prepared, height, width):
    """Between all pixels, of fields drawn with these factors."""
    factors = prepared.rows.double()
    between_rows = torch.fft.fft(factors @ factors.mT, dim=0).real  # (column lag, row, row)
    lag = (torch.arange(width)[:, None] - torch.arange(width)).abs()
    field = between_rows[lag].permute(2, 0, 3, 1).reshape(height * width, -1)
    plane = prepared.plane.double().flatten(1)
    field = field + plane.T @ plane
    away = torch.eye(height * width, dtype=torch.float64) - prepared.weights.double()
    return away @ field @ away.T + prepared.mean_deviation**2


@pytest.mark.slow
@GRIDS
def test_differences_between_pixels_have_the_exact_variance_and_pixels_a_variance_of_one(
    height, width, pixel_width, pixel_height, outer_scale, hurst
):
    prepared = von_karman_factors(height, width, pixel_width, pixel_height, outer_scale, hurst)
    covariance = implied_covariance(prepared, height, width)
    exact = von_karman(distances(height, width, pixel_width, pixel_height), 1.0, outer_scale, hurst)
    assert (covariance - exact).abs().max() < 1e-3
    apart, expected = (
        matrix.diagonal()[:, None] + matrix.diagonal() - 2 * matrix
        for matrix in (covariance, exact)
    )
    off = ~torch.eye(height * width, dtype=torch.bool)
    assert (apart[off] / expected[off] - 1).abs().max() < 5e-3


@pytest.mark.heavy
def test_the_torus_of_images_of_many_rows_gives_the_fields_that_their_rows_would(monkeypatch):
    monkeypatch.setattr(random_fields, "LARGEST_FACTORS", 0)
    monkeypatch.setattr(random_fields, "LARGEST_DRAW", 40_000)
    prepared = von_karman_factors(20, 24, 100.0, 150.0, 20e3, 5 / 6)
    assert prepared.rows is None
    drawn = von_karman_field(3000, 20, 24, prepared, torch.Generator().manual_seed(1)).double()
    assert drawn.shape == (3000, 20, 24)
    correlation = von_karman(torch.tensor([100.0, 300.0, 2300.0]), 1.0, 20e3, 5 / 6).double()
    for index, difference in enumerate(
        (drawn[:, :, 1:] - drawn[:, :, :-1], drawn[:, 2:] - drawn[:, :-2])
    ):
        assert difference.square().mean().item() == pytest.approx(
            2 - 2 * correlation[index].item(), rel=0.02
        )
    across = (drawn[:, :, -1] - drawn[:, :, 0]).square().mean().item()
    assert across == pytest.approx(2 - 2 * correlation[2].item(), rel=0.1)
    assert drawn.var(0).mean().item() == pytest.approx(1, rel=0.1)


@GRIDS
def test_the_continued_covariance_has_no_negative_eigenvalue(
    height, width, pixel_width, pixel_height, outer_scale, hurst
):
    diagonal = math.hypot((height - 1) * pixel_height, (width - 1) * pixel_width)
    continued, _ = random_fields.continued_covariance(diagonal, outer_scale, hurst)
    rows, columns = (math.ceil(3 * diagonal / size) + 1 for size in (pixel_height, pixel_width))
    sizes = torch.tensor([pixel_width]), torch.tensor([pixel_height])
    eigenvalues = torus_eigenvalues(rows, columns, *sizes, continued)
    assert eigenvalues.min() > -1e-9 * eigenvalues.max()


def test_a_von_karman_covariance_with_a_hurst_exponent_of_a_half_is_exponential():
    distance = torch.linspace(0, 9e3, 50, dtype=torch.float64).view(5, 10)
    torch.testing.assert_close(
        von_karman(distance, 2.5, 2e3, 0.5), 2.5 * torch.exp(-distance / 2e3)
    )


# Sums of smooth fields.


@pytest.mark.parametrize("hurst", [0.02, 1 / 3, 1 / 2, 5 / 6, 0.97])
@pytest.mark.parametrize("outer_scale", [100.0, 2e3, 20e3, 2e6])
def test_the_semivariogram_of_the_mixture_is_von_karman_s_at_every_distance(outer_scale, hurst):
    pixel = 100.0
    ranges, shares, rest = gaussian_mixture(outer_scale, hurst, pixel / 3)
    assert float(shares.sum()) + rest == pytest.approx(1, abs=1e-12)
    distance = torch.logspace(0, 3, 100, dtype=torch.float64) * pixel
    mixture = sum(
        share * gaussian(distance, 1.0, of_range)
        for of_range, share in zip(ranges, shares, strict=True)
    )
    torch.testing.assert_close(
        1 - mixture, 1 - von_karman(distance, 1.0, outer_scale, hurst), rtol=1e-3, atol=0
    )


@pytest.mark.parametrize("count", [1, 7, 64])
@pytest.mark.parametrize("of_range", [40.0, 300.0, 2e3, 1e5])
def test_the_product_of_the_factors_is_the_correlation_along_the_axis_of_each_sample(
    count, of_range
):
    spacing = torch.tensor([50.0, 110.0])
    factors = factors_along(count, spacing, of_range).double()
    steps = torch.arange(count).double()
    expected = gaussian(
        spacing.double()[:, None, None] * (steps[:, None] - steps).abs(), 1.0, of_range
    )
    torch.testing.assert_close(factors @ factors.mT, expected, rtol=0, atol=2e-7)
