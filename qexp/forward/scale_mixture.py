"""Fields with von Kármán's covariance on grids whose pixel sizes differ from sample to sample: sums of smooth fields.

The correlation is a mixture of Gaussians of all ranges: with u from a gamma distribution of shape H, the mean of
exp(-(r / (2 L √u))²) is that of a Hurst exponent H and an outer scale L (from the integral representation of the
modified Bessel function; DLMF 10.32.10). Gaussians are products of one along each axis, so that each of the fields
takes two small factors, which are quickly made for every sample.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qexp.forward.covariance import gaussian

STEP = 1.0
"""Between the logarithms of u: the trapezoidal rule then is exact to a thousandth of the semivariogram everywhere."""

LARGEST, SMALLEST = 3.5, -60.0
"""Logarithms of u between which terms are counted; ranges below are far smaller than any pixel."""

UNRESOLVED = 1 / 3
"""Range of a Gaussian, in pixels, below which pixels are independent: their correlation is exp(-9)."""

JITTER = 1e-11
"""Added to the diagonal of correlations between positions, which are nearly singular where the range is long."""


NOTHING = 1e-12
"""Size of a factor that no sample shows; products of smaller ones take processors a hundred times as long."""


def gaussian_mixture(outer_scale: float, hurst: float, smallest: float) -> tuple[Tensor, Tensor, float]:
    """Ranges of Gaussian correlations and their shares of the variance, (term,) each, and the share of the rest.

    smallest  range below which terms are joined in the rest, which is independent from pixel to pixel; in the unit
              of the outer scale, as the ranges are
    """
    logarithms = torch.arange(LARGEST, SMALLEST, -STEP, dtype=torch.float64)
    ranges = 2 * outer_scale * (logarithms / 2).exp()
    shares = (hurst * logarithms - logarithms.exp()).exp()
    shares[-1] /= -math.expm1(-hurst * STEP)  # those of still smaller ranges are a geometric series
    shares /= shares.sum()
    seen = ranges >= smallest
    return ranges[seen], shares[seen], float(shares[~seen].sum())


def mixture_field(
    count: int,
    height: int,
    width: int,
    pixel_width: Tensor,
    pixel_height: Tensor,
    outer_scale: float,
    hurst: float,
    generator: torch.Generator,
) -> Tensor:
    """Draw fields with the correlation `covariance.von_karman`: (count, height, width), of unit variance.

    pixel_width, pixel_height  (1,) or (count,)  [m], as the outer scale is
    """
    device = generator.device
    smallest = UNRESOLVED * min(pixel_width.min().item(), pixel_height.min().item())
    ranges, shares, rest = gaussian_mixture(outer_scale, hurst, smallest)
    field: Tensor = torch.randn(count, height, width, generator=generator, device=device) * rest**0.5
    for of_range, share in zip(ranges.tolist(), shares.tolist(), strict=True):
        rows, columns = (
            factors_along(size, spacing.to(device), of_range)
            for size, spacing in ((height, pixel_height), (width, pixel_width))
        )
        normal = torch.randn(count, rows.shape[-1], columns.shape[-1], generator=generator, device=device)
        field = field.add_(rows @ normal @ columns.mT, alpha=share**0.5)
    return field


def factors_along(count: int, spacing: Tensor, of_range: float) -> Tensor:
    """Factors of a Gaussian correlation between positions along an axis, (batch, count, terms); float32.

    Where the range is long, those of the power series of exp(2 x y / range²), which is all but a product of one
    function of x and one of y; else lower triangular ones.
    """
    steps = torch.arange(count, dtype=torch.float64, device=spacing.device) - (count - 1) / 2
    scaled = spacing.double()[:, None] * steps / of_range
    mean = 2 * scaled.square().max().item()  # the terms' shares of the variance are those of a Poisson distribution
    terms = math.ceil(mean + 6 * mean**0.5) + 8
    if terms < count:
        orders = torch.arange(1, terms, dtype=torch.float64, device=spacing.device)
        powers = (2**0.5 * scaled[..., None] / orders.sqrt()).cumprod(-1)
        return ((-scaled.square()).exp()[..., None] * torch.cat([torch.ones_like(powers[..., :1]), powers], -1)).float()
    of_lags = gaussian(scaled - scaled[:, :1], 1.0, 1.0)
    between = of_lags[:, (steps[:, None] - steps).abs().long()]
    between.diagonal(dim1=1, dim2=2).add_(JITTER)
    lower = torch.linalg.cholesky(between).float()
    factors: Tensor = lower.where(lower.abs() > NOTHING, 0.0)
    return factors
