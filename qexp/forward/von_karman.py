"""Fields on grids with von Kármán's covariance, whose range or outer scale may be much larger than the image.

A torus that cuts off negative eigenvalues is exact to a thousandth of the variance. That is too coarse where pixels
differ by less: in fields of a power-law spectrum, or of a range longer than the image. The covariance is therefore
continued beyond the image so that no eigenvalue is negative (Stein 2002, J. Comput. Graph. Stat. 11, 587-599): up to
the image's diagonal D it is C(r) + a + b r², from there to 3/2 D it is c (3/2 D - r)³ / r, and beyond it is zero; a,
b and c make it twice differentiable at D. A random plane makes up for b r² in all differences between pixels. What a
has changed is put right by replacing the generalised mean of the field, which is independent of its differences, by
one of the right variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.fft import next_fast_len
from scipy.sparse.linalg import cg
from scipy.special import kv
from torch import Tensor

from qexp.forward.covariance import von_karman
from qexp.forward.noise import (
    Correlation,
    circle_factors,
    correlated_field,
    field_of_rows,
    filter_on_torus,
    torus_eigenvalues,
)

REACH = 1.5
"""Distance at which the continued covariance ends, in diagonals of the image."""

LARGEST_FACTORS = 2**25
"""Numbers in the factors of the rows; for images that need more, the whole torus is drawn."""

LARGEST_DRAW = 2**24
"""Numbers of the torus that are drawn at a time."""


MEAN_TOLERANCE = 1e-4
"""To which the generalised mean is worked out, relative to the variance of the field."""


@dataclass(frozen=True)
class VonKarmanFactors:
    """What it takes to draw fields of unit variance on a grid, see `von_karman_factors`."""

    rows: Tensor | None
    """Factors for `field_of_rows`; None for images of many rows."""
    torus: Tensor | None
    """Amplitude for `correlated_field`, where `rows` is None."""
    plane: Tensor
    """(2, height, width): the slopes east and north that a unit normal number makes."""
    weights: Tensor
    """(height * width,) of the generalised mean; they add up to one."""
    mean_deviation: float
    """Standard deviation of the generalised mean."""

    def to(self, device: torch.device) -> VonKarmanFactors:
        rows, torus = (None if one is None else one.to(device) for one in (self.rows, self.torus))
        return VonKarmanFactors(rows, torus, self.plane.to(device), self.weights.to(device), self.mean_deviation)


def von_karman_factors(
    height: int, width: int, pixel_width: float, pixel_height: float, outer_scale: float, hurst: float
) -> VonKarmanFactors:
    """Prepare fields with the correlation `covariance.von_karman`; pixel sizes and outer scale in metres."""
    diagonal = float(np.hypot((height - 1) * pixel_height, (width - 1) * pixel_width)) or pixel_width
    continued, curvature = continued_covariance(diagonal, outer_scale, hurst)
    end = REACH * diagonal
    columns = next_fast_len(int(np.ceil(2 * end / pixel_width)) + 1)
    rows = torus = None
    if columns * height**2 <= LARGEST_FACTORS:
        rows = circle_factors(height, columns, pixel_width, pixel_height, continued).float()
    else:
        lines = next_fast_len(int(np.ceil(2 * end / pixel_height)) + 1)
        sizes = torch.tensor([pixel_width]), torch.tensor([pixel_height])
        eigenvalues = torus_eigenvalues(lines, columns, *sizes, continued)[0].clamp(min=0)
        torus = (eigenvalues / (lines * columns)).sqrt().float()
    north, east = torch.meshgrid(
        (torch.arange(height) - height / 2) * pixel_height,
        (torch.arange(width) - width / 2) * pixel_width,
        indexing="ij",
    )
    plane = (2 * max(curvature, 0.0)) ** 0.5 * torch.stack([east, north])
    weights, variance = _generalised_mean(height, width, pixel_width, pixel_height, outer_scale, hurst)
    return VonKarmanFactors(rows, torus, plane, weights.float(), variance**0.5)


def von_karman_field(
    count: int, height: int, width: int, factors: VonKarmanFactors, generator: torch.Generator
) -> Tensor:
    """Draw fields: (count, height, width), standard deviation 1 at every pixel."""
    device = generator.device
    if factors.rows is not None:
        field = field_of_rows(count, width, factors.rows, generator)
    else:
        assert factors.torus is not None
        at_a_time = max(1, LARGEST_DRAW // factors.torus.numel())
        sizes = [min(at_a_time, count - start) for start in range(0, count, at_a_time)]
        field = torch.cat([correlated_field(size, height, width, factors.torus[None], generator) for size in sizes])
    normal = torch.randn(count, 3, generator=generator, device=device)
    field = field + torch.einsum("bk,khw->bhw", normal[:, :2], factors.plane)
    mean = field.flatten(1) @ factors.weights
    shift: Tensor = factors.mean_deviation * normal[:, 2] - mean
    return field.add_(shift[:, None, None])


def continued_covariance(diagonal: float, outer_scale: float, hurst: float) -> tuple[Correlation, float]:
    """The covariance C(r) + a + b r² up to the diagonal, continued beyond it, and b; unit sill, all in metres."""
    end = REACH * diagonal
    value, slope, curvature = _von_karman_derivatives(diagonal, outer_scale, hurst)
    rest = end - diagonal
    of_slope = -3 * rest**2 / diagonal - rest**3 / diagonal**2  # derivatives of (end - r)³ / r
    of_curvature = 6 * rest / diagonal + 6 * rest**2 / diagonal**2 + 2 * rest**3 / diagonal**3
    c = (curvature - slope / diagonal) / (of_curvature - of_slope / diagonal)
    b = (c * of_slope - slope) / (2 * diagonal)
    a = c * rest**3 / diagonal - value - b * diagonal**2

    def continued(distance: Tensor) -> Tensor:
        inner = von_karman(distance, 1.0, outer_scale, hurst) + a + b * distance**2
        outer = c * (end - distance).clamp(min=0) ** 3 / distance.clamp(min=diagonal)
        return torch.where(distance <= diagonal, inner, outer)

    return continued, b


def _von_karman_derivatives(distance: float, outer_scale: float, hurst: float) -> tuple[float, float, float]:
    """Value, first and second derivative by distance, from d/dx x^H K_H(x) = -x^H K_(H-1)(x)."""
    x, factor = distance / outer_scale, 2 ** (1 - hurst) / math.gamma(hurst)
    value = factor * x**hurst * kv(hurst, x)
    slope = -factor * x**hurst * kv(hurst - 1, x)
    curvature = factor * (x**hurst * kv(hurst - 2, x) - x ** (hurst - 1) * kv(hurst - 1, x))
    return float(value), float(slope / outer_scale), float(curvature / outer_scale**2)


def _generalised_mean(
    height: int, width: int, pixel_width: float, pixel_height: float, outer_scale: float, hurst: float
) -> tuple[Tensor, float]:
    """Weights C⁻¹1 / (1ᵀC⁻¹1) of the mean that is independent of all differences, (height * width,); its variance."""
    sizes = torch.tensor([pixel_width]), torch.tensor([pixel_height])
    lines, columns = next_fast_len(2 * height), next_fast_len(2 * width)

    def correlation(distance: Tensor) -> Tensor:
        return von_karman(distance, 1.0, outer_scale, hurst)

    covariance = filter_on_torus(torus_eigenvalues(lines, columns, *sizes, correlation)[0].numpy(), height, width)
    ones = np.ones(height * width)
    solution, unfinished = cg(covariance, ones, rtol=MEAN_TOLERANCE, maxiter=5000)
    if unfinished:
        raise ValueError(
            "the noise is too smooth for an image with this many pixels; use a smaller range or outer scale"
        )
    return torch.from_numpy(solution / solution.sum()), float(1 / solution.sum())
