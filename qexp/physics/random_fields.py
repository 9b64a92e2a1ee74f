"""Gaussian random fields of unit variance on regular grids, and their covariance.

distance  any shape, any floating type  [m], not negative
sill      the field's variance          [m2]; a partial sill where a nugget is added to it
returns   like `distance`               [m2]

The semivariogram that belongs to each is sill - covariance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.sparse.linalg import LinearOperator, cg
from scipy.special import kv
from torch import Tensor


def exponential(distance: Tensor, sill: float, correlation_range: float) -> Tensor:
    """sill · exp(-distance / range); at a distance of one range it has fallen to 1/e.

    Chilès and Delfiner (2012), Geostatistics, section 2.5. The "practical range", to 5 % of the
    sill, is three ranges.
    """
    return sill * torch.exp(-distance / correlation_range)


def gaussian(distance: Tensor, sill: float, correlation_range: float) -> Tensor:
    """sill · exp(-(distance / range)²); at a distance of one range it has fallen to 1/e.

    Chilès and Delfiner (2012), Geostatistics, section 2.5. Fields are so smooth that the matrix is
    singular to rounding where the points are dense; it needs a nugget to be inverted.
    """
    return sill * torch.exp(-((distance / correlation_range) ** 2))


def von_karman(distance: Tensor, sill: float, outer_scale: float, hurst: float) -> Tensor:
    """sill · 2^(1-H) / Γ(H) · (distance / L)^H · K_H(distance / L), of a power-law spectrum that
    has an outer scale L.

    outer_scale  L [m]; the field is self-affine at much smaller distances, and uncorrelated at much
                 larger ones
    hurst        H, 0 < H < 1; the power spectrum is proportional to (1 + (kL)²)^-(H + 1) in two
                 dimensions, to (1 + (kL)²)^-(H + 1/2) along a line, and the semivariogram grows
                 with distance^(2H)

    Von Kármán (1948), Proc. Natl. Acad. Sci. 34, 530-539; Goff and Jordan (1988), J. Geophys. Res.
    93, 13589-13608.
    """
    scaled = np.atleast_1d(distance.detach().double().cpu().numpy()) / outer_scale
    values = np.full(scaled.shape, sill)
    apart = scaled > 0
    values[apart] *= (
        2 ** (1 - hurst) / math.gamma(hurst) * scaled[apart] ** hurst * kv(hurst, scaled[apart])
    )
    return torch.from_numpy(values).to(distance).view(distance.shape)


def von_karman_sill(difference: float, distance: float, outer_scale: float, hurst: float) -> float:
    """The sill of a `von_karman` field whose values at two points `distance` apart differ by
    `difference`.

    difference  standard deviation of the difference [m]; its square is twice the semivariogram
    """
    correlation = von_karman(
        torch.tensor(distance, dtype=torch.float64), 1.0, outer_scale, hurst
    ).item()
    return difference**2 / (2 * (1 - correlation))


def normal_numbers(generator: torch.Generator, *shape: int) -> Tensor:
    """Of mean 0 and variance 1, in this shape, on the device of the generator."""
    return torch.randn(shape, generator=generator, device=generator.device)


COVARIANCE_TOLERANCE = 1e-3
"""Largest fraction of the variance that may be lost to negative eigenvalues of an embedding."""

LARGEST_EMBEDDING = 16.0
"""Largest size of the torus, in grids; there, negative eigenvalues are cut off in any case."""

LARGEST_BATCH_EMBEDDING = 4.0
"""The same if every field of a batch has a torus of its own, which takes more memory and time."""

MOST_ROWS_TO_FACTOR = 128
"""For more rows, multiplying by their factors takes longer than drawing the numbers of a torus."""


JITTERS = (0.0, 1e-12, 1e-10, 1e-8, 1e-6)
"""Fractions of the variance, see `lower_factor`."""

Correlation = Callable[[Tensor], Tensor]
"""Distances [m], of any shape → correlation, or covariance, between points so far apart."""


def torus_amplitude(
    height: int, width: int, pixel_width: Tensor, pixel_height: Tensor, correlation: Correlation
) -> Tensor:
    """Spectral amplitude of a field with this correlation between its pixels, for
    `correlated_field`.

    pixel_width, pixel_height  (batch,)                   [m]
    correlation                distance [m] → correlation, any shape
    returns                    (batch, rows, columns)     of the torus that the grid is embedded in

    The covariance on a torus of at least twice the grid is diagonal in the Fourier basis; its
    eigenvalues are the transform of its first row. The torus grows until no more than
    COVARIANCE_TOLERANCE of the variance lies in negative eigenvalues; those are cut off and the
    rest is scaled back to exactly unit variance. Dietrich and Newsam (1997), SIAM J. Sci. Comput.
    18, 1088-1107; Wood and Chan (1994), J. Comput. Graph. Stat. 3.
    """
    alone = max(len(pixel_width), len(pixel_height)) == 1
    largest = LARGEST_EMBEDDING if alone else LARGEST_BATCH_EMBEDDING
    eigenvalues, _ = embedded(height, width, pixel_width, pixel_height, correlation, largest)
    return (eigenvalues / eigenvalues.sum((-2, -1), keepdim=True)).sqrt().float()


def embedded(
    height: int,
    width: int,
    pixel_width: Tensor,
    pixel_height: Tensor,
    correlation: Correlation,
    largest: float,
) -> tuple[Tensor, float]:
    """Eigenvalues on the torus of `torus_amplitude`, without the negative ones, and the share of
    the variance in those.

    largest  size of the torus, in grids, that it does not grow beyond
    """
    factor = 2.0
    while True:
        rows = next_fast_len(int(factor * height))
        columns = next_fast_len(int(factor * width))
        eigenvalues = torus_eigenvalues(rows, columns, pixel_width, pixel_height, correlation)
        positive = eigenvalues.clamp(min=0)
        share_lost = ((positive - eigenvalues).sum((-2, -1)) / (rows * columns)).max()
        if share_lost <= COVARIANCE_TOLERANCE or factor * 1.5 > largest:
            return positive, share_lost.item()
        factor *= 1.5


def torus_eigenvalues(
    rows: int, columns: int, pixel_width: Tensor, pixel_height: Tensor, covariance: Correlation
) -> Tensor:
    """Eigenvalues of the covariance between the pixels of a torus, a matrix (batch, rows, columns);
    float64.

    pixel_width, pixel_height  (batch,)  [m]
    covariance                 distance [m] → covariance
    """
    north = _torus_distance(rows, pixel_height.double())
    east = _torus_distance(columns, pixel_width.double())
    eigenvalues: Tensor = torch.fft.fft2(
        covariance(torch.hypot(north[:, :, None], east[:, None, :]))
    ).real
    return eigenvalues


def row_factors(
    height: int, width: int, pixel_width: float, pixel_height: float, correlation: Correlation
) -> Tensor:
    """Factors of the covariance between the rows of an image with this correlation, for
    `field_of_rows`.

    pixel_width, pixel_height  [m]
    correlation                distance [m] → correlation, any shape
    returns                    (columns, height, height), a factor for each wave along a row

    Only the rows are embedded in a circle, of at least twice their length; between rows the
    covariance of each wave is factored directly. That takes half as many random numbers as a torus,
    and is faster for images of up to MOST_ROWS_TO_FACTOR rows. The circle grows, and negative
    eigenvalues are cut off, as in `torus_amplitude`.
    """
    factor = 2.0
    while True:
        factors = circle_factors(
            height, next_fast_len(int(factor * width)), pixel_width, pixel_height, correlation
        )
        variance = factors.square().sum((0, 2), keepdim=True)
        if variance.max() - 1 <= COVARIANCE_TOLERANCE or factor * 1.5 > LARGEST_EMBEDDING:
            return (factors / variance.sqrt()).float()
        factor *= 1.5


def circle_factors(
    height: int, columns: int, pixel_width: float, pixel_height: float, covariance: Correlation
) -> Tensor:
    """Factors of the covariance between the rows of an image on a circle of columns, one for each
    wave.

    pixel_width, pixel_height  [m]
    covariance                 distance [m] → covariance
    returns                    (columns, height, height), float64; negative eigenvalues are set to
                               zero
    """
    lags = torch.arange(height, dtype=torch.float64)
    east = _torus_distance(columns, torch.tensor([pixel_width], dtype=torch.float64))
    between_pixels = covariance(torch.hypot(pixel_height * lags[:, None], east))
    of_waves = torch.fft.fft(between_pixels, dim=-1).real.T[: columns // 2 + 1]
    between_rows = of_waves[:, (lags[:, None] - lags).abs().long()]
    eigenvalues, vectors = torch.linalg.eigh(between_rows)
    half = vectors * eigenvalues.clamp(min=0).sqrt()[:, None, :]
    factors: Tensor = torch.cat([half, half[1 : (columns + 1) // 2].flip(0)]) / columns**0.5
    return factors


def field_of_rows(count: int, width: int, factors: Tensor, generator: torch.Generator) -> Tensor:
    """Draw fields with the factored covariance: (count, height, width), standard deviation 1 at
    every pixel.

    factors  (columns, height, height), see `row_factors`
    """
    columns, height, _ = factors.shape
    draws = (
        count + 1
    ) // 2  # a complex draw holds two independent fields, its real and its imaginary part
    normal = normal_numbers(generator, columns, height, 2 * draws)
    waves = torch.view_as_complex(torch.bmm(factors, normal).view(columns, height, draws, 2))
    field: Tensor = torch.fft.fft(waves, dim=0)[:width].permute(2, 1, 0)
    return torch.cat([field.real, field.imag])[:count]


def correlated_field(
    count: int, height: int, width: int, amplitude: Tensor, generator: torch.Generator
) -> Tensor:
    """Draw fields by circulant embedding: (count, height, width), standard deviation 1 at every
    pixel.

    amplitude  (1 or count, rows, columns), one for all fields or one for each.

    A complex draw holds two independent fields, its real and its imaginary part; with one amplitude
    for all, both are used. Only the rows and columns that are kept are transformed.
    """
    batch, rows, columns = amplitude.shape
    draws = (count + 1) // 2 if batch == 1 else count
    normal = normal_numbers(generator, draws, rows, columns, 2)
    spectrum = torch.view_as_complex(normal.mul_(amplitude[..., None]))
    kept_columns = torch.fft.fft(spectrum, dim=-1)[:, :, :width]
    field: Tensor = torch.fft.fft(kept_columns, dim=-2)[:, :height]
    if batch == 1:
        return torch.cat([field.real, field.imag])[:count]
    return field.real.contiguous()


def without_correlation(images: Tensor, amplitude: Tensor, nugget: float = 0.0) -> Tensor:
    """Solve C x = image for each image, C the covariance between the pixels that `correlated_field`
    draws.

    images     (count, height, width)
    amplitude  (1, rows, columns)
    nugget     added to the diagonal of C
    returns    (count, height, width), to six digits

    C is never formed: multiplying by it is a filter on the torus, and its inverse is approached by
    conjugate gradients, with the filter's own inverse as preconditioner (Chan and Ng 1996, SIAM
    Rev. 38, 427-482). Raises ValueError where that does not converge.
    """
    height, width = images.shape[1:]
    power = amplitude[0].double().square().cpu().numpy() * amplitude[0].numel() + nugget
    covariance = filter_on_torus(power, height, width)
    # Weaker waves are zero to the preconditioner: the torus has them inaccurately.
    preconditioner = filter_on_torus(1 / power.clip(1e-3 * power.max()), height, width)
    solutions = []
    for image in images.double().cpu().numpy():
        solution, unfinished = cg(
            covariance, image.ravel(), rtol=1e-6, maxiter=2000, M=preconditioner
        )
        if unfinished:
            raise ValueError(
                "the noise is too smooth for its covariance to be inverted; use a shorter range"
            )
        solutions.append(solution.reshape(height, width))
    return torch.from_numpy(np.stack(solutions)).to(images)


def filter_on_torus(gain: NDArray[np.float64], height: int, width: int) -> LinearOperator:
    """The filter with a gain for each wave of a torus, as a matrix between the pixels of the image
    embedded in it.

    gain  (rows, columns), symmetric
    """
    torus = gain.shape
    half = gain[:, : torus[1] // 2 + 1]

    def filtered(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        spectrum = rfft2(vector.reshape(height, width), s=torus)
        return np.asarray(irfft2(spectrum * half, s=torus)[:height, :width]).ravel()

    return LinearOperator((height * width, height * width), matvec=filtered, dtype=np.float64)


def axis_factors(count: int, spacing: Tensor, correlation: Correlation) -> Tensor:
    """Factors of the correlation between positions along one axis, for `separable_field`.

    spacing  (batch,)                [m]
    returns  (batch, count, waves)   float32; waves that no sample shows are left out
    """
    steps = torch.arange(count, dtype=torch.float64, device=spacing.device)
    distance = spacing.double()[:, None, None] * (steps[:, None] - steps).abs()
    eigenvalues, vectors = torch.linalg.eigh(correlation(distance))
    count_of_waves = int((eigenvalues.amax(0) > 1e-12 * count).sum())
    factors: Tensor = (vectors * eigenvalues.clamp(min=0).sqrt()[:, None, :])[
        :, :, -count_of_waves:
    ].float()
    return factors


def separable_field(
    count: int, rows: Tensor, columns: Tensor, generator: torch.Generator
) -> Tensor:
    """Draw fields whose covariance is a product of one between rows and one between columns:
    (count, height, width).

    rows, columns  (1 or count, height, waves) and (1 or count, width, waves), see `axis_factors`
    """
    normal = normal_numbers(generator, count, rows.shape[-1], columns.shape[-1])
    return rows @ normal @ columns.mT


def lower_factor(correlation: Tensor) -> Tensor:
    """Lower triangular factor L of a correlation matrix, L Lᵀ = C: (n, n), float64.

    Smooth correlations and points at the same place make C singular but for rounding. It is then
    factored with the least of JITTERS added to its diagonal that makes it positive definite, a
    change that no sample shows. Raises ValueError if it is not positive definite even so.
    """
    for jitter in JITTERS:
        raised = correlation.double().clone()
        raised.diagonal().add_(jitter)
        factor: Tensor
        factor, trouble = torch.linalg.cholesky_ex(raised)
        if not trouble:
            return factor
    raise ValueError("the correlation of the noise is not positive definite")


def _torus_distance(count: int, spacing: Tensor) -> Tensor:
    steps = torch.arange(count, dtype=spacing.dtype, device=spacing.device)
    return spacing[:, None] * torch.minimum(steps, count - steps)


# Fields on grids with von Kármán's covariance, whose range or outer scale may be much larger than
# the image.
#
# A torus that cuts off negative eigenvalues is exact to a thousandth of the variance. That is too
# coarse where pixels differ by less: in fields of a power-law spectrum, or of a range longer than
# the image. The covariance is therefore continued beyond the image so that no eigenvalue is
# negative (Stein 2002, J. Comput. Graph. Stat. 11, 587-599): up to the image's diagonal D it is
# C(r) + a + b r², from there to 3/2 D it is c (3/2 D - r)³ / r, and beyond it is zero; a, b and c
# make it twice differentiable at D. A random plane makes up for b r² in all differences between
# pixels. What a has changed is put right by replacing the generalised mean of the field, which is
# independent of its differences, by one of the right variance.

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

    def on_device(self, device: torch.device) -> VonKarmanFactors:
        rows = None if self.rows is None else self.rows.to(device)
        torus = None if self.torus is None else self.torus.to(device)
        plane = self.plane.to(device)
        weights = self.weights.to(device)
        return VonKarmanFactors(rows, torus, plane, weights, self.mean_deviation)


def von_karman_factors(
    height: int,
    width: int,
    pixel_width: float,
    pixel_height: float,
    outer_scale: float,
    hurst: float,
) -> VonKarmanFactors:
    """Prepare fields with the correlation `von_karman`; pixel sizes and outer scale in metres."""
    diagonal = (
        float(np.hypot((height - 1) * pixel_height, (width - 1) * pixel_width)) or pixel_width
    )
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
    weights, variance = _generalised_mean(
        height, width, pixel_width, pixel_height, outer_scale, hurst
    )
    return VonKarmanFactors(rows, torus, plane, weights.float(), variance**0.5)


def von_karman_field(
    count: int, height: int, width: int, factors: VonKarmanFactors, generator: torch.Generator
) -> Tensor:
    """Draw fields: (count, height, width), standard deviation 1 at every pixel."""
    if factors.rows is not None:
        field = field_of_rows(count, width, factors.rows, generator)
    else:
        assert factors.torus is not None
        at_a_time = max(1, LARGEST_DRAW // factors.torus.numel())
        sizes = [min(at_a_time, count - start) for start in range(0, count, at_a_time)]
        field = torch.cat(
            [
                correlated_field(size, height, width, factors.torus[None], generator)
                for size in sizes
            ]
        )
    normal = normal_numbers(generator, count, 3)
    field = field + torch.einsum("bk,khw->bhw", normal[:, :2], factors.plane)
    mean = field.flatten(1) @ factors.weights
    shift: Tensor = factors.mean_deviation * normal[:, 2] - mean
    return field.add_(shift[:, None, None])


def continued_covariance(
    diagonal: float, outer_scale: float, hurst: float
) -> tuple[Correlation, float]:
    end = REACH * diagonal
    scaled = diagonal / outer_scale
    # Value, first and second derivative by distance, from d/dx x^H K_H(x) = -x^H K_(H-1)(x).
    factor = 2 ** (1 - hurst) / math.gamma(hurst)
    of_lower = kv(hurst - 1, scaled)
    value = float(factor * scaled**hurst * kv(hurst, scaled))
    slope = -factor * scaled**hurst * of_lower
    curvature = factor * (scaled**hurst * kv(hurst - 2, scaled) - scaled ** (hurst - 1) * of_lower)
    slope = float(slope / outer_scale)
    curvature = float(curvature / outer_scale**2)
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


def _generalised_mean(
    height: int,
    width: int,
    pixel_width: float,
    pixel_height: float,
    outer_scale: float,
    hurst: float,
) -> tuple[Tensor, float]:
    """Weights C⁻¹1 / (1ᵀC⁻¹1) of the mean that is independent of all differences, (height *
    width,); its variance.
    """
    sizes = torch.tensor([pixel_width]), torch.tensor([pixel_height])
    lines = next_fast_len(2 * height)
    columns = next_fast_len(2 * width)
    gains = torus_eigenvalues(
        lines, columns, *sizes, lambda distance: von_karman(distance, 1.0, outer_scale, hurst)
    )
    covariance = filter_on_torus(gains[0].numpy(), height, width)
    ones = np.ones(height * width)
    solution, unfinished = cg(covariance, ones, rtol=MEAN_TOLERANCE, maxiter=5000)
    if unfinished:
        raise ValueError(
            "the noise is too smooth for an image with this many pixels; use a smaller range or"
            " outer scale"
        )
    return torch.from_numpy(solution / solution.sum()), float(1 / solution.sum())


# Fields with von Kármán's covariance on grids whose pixel sizes differ from sample to sample: sums
# of smooth fields.
#
# The correlation is a mixture of Gaussians of all ranges: with u from a gamma distribution of shape
# H, the mean of exp(-(r / (2 L √u))²) is that of a Hurst exponent H and an outer scale L (from the
# integral representation of the modified Bessel function; DLMF 10.32.10). Gaussians are products of
# one along each axis, so that each of the fields takes two small factors, which are quickly made
# for every sample.

LOG_STEP = 1.0
"""Between logarithms of u: the trapezoidal rule is exact to a thousandth of the semivariogram."""

LARGEST_LOG, SMALLEST_LOG = 3.5, -60.0
"""Logarithms of u between which terms are counted; ranges below are far smaller than any pixel."""


NEGLIGIBLE_FACTOR = 1e-12
"""Size of a factor that no sample shows; smaller ones take processors a hundred times as long."""


def gaussian_mixture(
    outer_scale: float, hurst: float, smallest: float
) -> tuple[Tensor, Tensor, float]:
    """Ranges of Gaussian correlations and their shares of the variance, (term,) each, and the share
    of the rest.

    smallest  range below which terms are joined in the rest, which is independent from pixel to
              pixel; in the unit of the outer scale, as the ranges are
    """
    logarithms = torch.arange(LARGEST_LOG, SMALLEST_LOG, -LOG_STEP, dtype=torch.float64)
    ranges = 2 * outer_scale * (logarithms / 2).exp()
    shares = (hurst * logarithms - logarithms.exp()).exp()
    # those of still smaller ranges are a geometric series
    shares[-1] /= -math.expm1(-hurst * LOG_STEP)
    shares /= shares.sum()
    resolved = ranges >= smallest
    return ranges[resolved], shares[resolved], float(shares[~resolved].sum())


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
    """Draw fields with the correlation `von_karman`: (count, height, width), of unit variance.

    pixel_width, pixel_height  (1,) or (count,)  [m], as the outer scale is
    """
    # Below a third of a pixel, pixels are independent: their correlation is exp(-9).
    smallest = 1 / 3 * min(pixel_width.min().item(), pixel_height.min().item())
    ranges, shares, rest = gaussian_mixture(outer_scale, hurst, smallest)
    field: Tensor = normal_numbers(generator, count, height, width) * rest**0.5
    for of_range, share in zip(ranges.tolist(), shares.tolist(), strict=True):
        rows, columns = (
            factors_along(size, spacing.to(generator.device), of_range)
            for size, spacing in ((height, pixel_height), (width, pixel_width))
        )
        field = field.add_(separable_field(count, rows, columns, generator), alpha=share**0.5)
    return field


def factors_along(count: int, spacing: Tensor, of_range: float) -> Tensor:
    """Factors of a Gaussian correlation between positions along an axis, (batch, count, terms);
    float32.

    Where the range is long, those of the power series of exp(2 x y / range²), which is all but a
    product of one function of x and one of y; else lower triangular ones.
    """
    steps = torch.arange(count, dtype=torch.float64, device=spacing.device) - (count - 1) / 2
    scaled = spacing.double()[:, None] * steps / of_range
    # the terms' shares of the variance are those of a Poisson distribution
    mean = 2 * scaled.square().max().item()
    terms = math.ceil(mean + 6 * mean**0.5) + 8
    if terms < count:
        orders = torch.arange(1, terms, dtype=torch.float64, device=spacing.device)
        powers = (2**0.5 * scaled[..., None] / orders.sqrt()).cumprod(-1)
        return (
            (-scaled.square()).exp()[..., None]
            * torch.cat([torch.ones_like(powers[..., :1]), powers], -1)
        ).float()
    of_lags = gaussian(scaled - scaled[:, :1], 1.0, 1.0)
    covariance = of_lags[:, (steps[:, None] - steps).abs().long()]
    covariance.diagonal(dim1=1, dim2=2).add_(
        1e-11
    )  # they are nearly singular where the range is long
    lower = torch.linalg.cholesky(covariance).float()
    factors: Tensor = lower.where(lower.abs() > NEGLIGIBLE_FACTOR, 0.0)
    return factors
