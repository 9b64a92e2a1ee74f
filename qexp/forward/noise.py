"""Gaussian random fields of unit variance on regular grids."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2
from torch import Tensor

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

COVARIANCE_TOLERANCE = 1e-3
"""Largest fraction of the variance that may be lost to negative eigenvalues of an embedding."""

LARGEST_EMBEDDING = 16.0
"""Largest size of the torus, in grids; on a torus of this size negative eigenvalues are cut off in any case."""

LARGEST_BATCH_EMBEDDING = 4.0
"""The same if every field of a batch has a torus of its own, which takes more memory and time."""

MOST_ROWS_TO_FACTOR = 128
"""For more rows than this, multiplying by their factors takes longer than drawing the random numbers of a torus."""

LEAST_POWER = 1e-3
"""Powers below this fraction of the largest are zero to a preconditioner: the torus has weaker waves inaccurately."""


LEAST_EIGENVALUE = 1e-12
"""Share of the variance below which a wave of a separable field is left out."""

JITTERS = (0.0, 1e-12, 1e-10, 1e-8, 1e-6)
"""Fractions of the variance, see `lower_factor`."""

Correlation = Callable[[Tensor], Tensor]
"""Distances in metres, of any shape → the correlation, or the covariance, between points so far apart."""


def torus_amplitude(
    height: int, width: int, pixel_width: Tensor, pixel_height: Tensor, correlation: Correlation
) -> Tensor:
    """Spectral amplitude of a field with this correlation between its pixels, for `correlated_field`.

    pixel_width, pixel_height  (batch,)                   [m]
    correlation                distance [m] → correlation, any shape
    returns                    (batch, rows, columns)     of the torus that the grid is embedded in

    The covariance on a torus of at least twice the grid is diagonal in the Fourier basis; its eigenvalues are
    the transform of its first row. The torus grows until no more than COVARIANCE_TOLERANCE of the variance lies
    in negative eigenvalues; those are cut off and the rest is scaled back to exactly unit variance.
    Dietrich and Newsam (1997), SIAM J. Sci. Comput. 18, 1088-1107; Wood and Chan (1994), J. Comput. Graph. Stat. 3.
    """
    largest = LARGEST_EMBEDDING if max(len(pixel_width), len(pixel_height)) == 1 else LARGEST_BATCH_EMBEDDING
    kept, _ = embedded(height, width, pixel_width, pixel_height, correlation, largest)
    amplitude: Tensor = (kept / kept.sum((-2, -1), keepdim=True)).sqrt().float()
    return amplitude


def embedded(
    height: int, width: int, pixel_width: Tensor, pixel_height: Tensor, correlation: Correlation, largest: float
) -> tuple[Tensor, float]:
    """Eigenvalues on the torus of `torus_amplitude`, without the negative ones, and the share of the variance in those.

    largest  size of the torus, in grids, that it does not grow beyond
    """
    factor = 2.0
    while True:
        rows, columns = next_fast_len(int(factor * height)), next_fast_len(int(factor * width))
        eigenvalues = torus_eigenvalues(rows, columns, pixel_width, pixel_height, correlation)
        kept = eigenvalues.clamp(min=0)
        share_lost = ((kept - eigenvalues).sum((-2, -1)) / (rows * columns)).max()
        if share_lost <= COVARIANCE_TOLERANCE or factor * 1.5 > largest:
            return kept, share_lost.item()
        factor *= 1.5


def torus_eigenvalues(
    rows: int, columns: int, pixel_width: Tensor, pixel_height: Tensor, covariance: Correlation
) -> Tensor:
    """Eigenvalues of the covariance between the pixels of a torus, a matrix (batch, rows, columns); float64.

    pixel_width, pixel_height  (batch,)  [m]
    covariance                 distance [m] → covariance
    """
    north = _torus_distance(rows, pixel_height.double())
    east = _torus_distance(columns, pixel_width.double())
    eigenvalues: Tensor = torch.fft.fft2(covariance(torch.hypot(north[:, :, None], east[:, None, :]))).real
    return eigenvalues


def row_factors(height: int, width: int, pixel_width: float, pixel_height: float, correlation: Correlation) -> Tensor:
    """Factors of the covariance between the rows of an image with this correlation, for `field_of_rows`.

    pixel_width, pixel_height  [m]
    correlation                distance [m] → correlation, any shape
    returns                    (columns, height, height), a factor for each wave along a row

    Only the rows are embedded in a circle, of at least twice their length; between rows the covariance of each wave
    is factored directly. That takes half as many random numbers as a torus, and is faster for images of up to
    MOST_ROWS_TO_FACTOR rows. The circle grows, and negative eigenvalues are cut off, as in `torus_amplitude`.
    """
    factor = 2.0
    while True:
        factors = circle_factors(height, next_fast_len(int(factor * width)), pixel_width, pixel_height, correlation)
        variance = factors.square().sum((0, 2), keepdim=True)
        if variance.max() - 1 <= COVARIANCE_TOLERANCE or factor * 1.5 > LARGEST_EMBEDDING:
            return (factors / variance.sqrt()).float()
        factor *= 1.5


def circle_factors(
    height: int, columns: int, pixel_width: float, pixel_height: float, covariance: Correlation
) -> Tensor:
    """Factors of the covariance between the rows of an image on a circle of columns, one for each wave.

    pixel_width, pixel_height  [m]
    covariance                 distance [m] → covariance
    returns                    (columns, height, height), float64; negative eigenvalues are set to zero
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
    """Draw fields with the factored covariance: (count, height, width), standard deviation 1 at every pixel.

    factors  (columns, height, height), see `row_factors`
    """
    columns, height, _ = factors.shape
    draws = (count + 1) // 2  # a complex draw holds two independent fields, its real and its imaginary part
    normal = torch.randn(columns, height, 2 * draws, generator=generator, device=generator.device)
    waves = torch.view_as_complex(torch.bmm(factors, normal).view(columns, height, draws, 2))
    field: Tensor = torch.fft.fft(waves, dim=0)[:width].permute(2, 1, 0)
    return torch.cat([field.real, field.imag])[:count]


def correlated_field(count: int, height: int, width: int, amplitude: Tensor, generator: torch.Generator) -> Tensor:
    """Draw fields by circulant embedding: (count, height, width), standard deviation 1 at every pixel.

    amplitude  (1 or count, rows, columns), one for all fields or one for each.

    A complex draw holds two independent fields, its real and its imaginary part; with one amplitude for all, both
    are used. Only the rows and columns that are kept are transformed.
    """
    batch, rows, columns = amplitude.shape
    draws = (count + 1) // 2 if batch == 1 else count
    normal = torch.randn(draws, rows, columns, 2, generator=generator, device=generator.device)
    spectrum = torch.view_as_complex(normal.mul_(amplitude[..., None]))
    kept_columns = torch.fft.fft(spectrum, dim=-1)[:, :, :width]
    field: Tensor = torch.fft.fft(kept_columns, dim=-2)[:, :height]
    if batch == 1:
        return torch.cat([field.real, field.imag])[:count]
    return field.real.contiguous()


def without_correlation(images: Tensor, amplitude: Tensor, nugget: float = 0.0) -> Tensor:
    """Solve C x = image for each image, C the covariance between the pixels that `correlated_field` draws.

    images     (count, height, width)
    amplitude  (1, rows, columns)
    nugget     added to the diagonal of C
    returns    (count, height, width), to six digits

    C is never formed: multiplying by it is a filter on the torus, and its inverse is approached by conjugate
    gradients, with the filter's own inverse as preconditioner (Chan and Ng 1996, SIAM Rev. 38, 427-482).
    Raises ValueError where that does not converge.
    """
    from scipy.sparse.linalg import cg

    height, width = images.shape[1:]
    power = amplitude[0].double().square().cpu().numpy() * amplitude[0].numel() + nugget
    covariance = filter_on_torus(power, height, width)
    preconditioner = filter_on_torus(1 / power.clip(LEAST_POWER * power.max()), height, width)
    solutions = []
    for image in images.double().cpu().numpy():
        solution, unfinished = cg(covariance, image.ravel(), rtol=1e-6, maxiter=2000, M=preconditioner)
        if unfinished:
            raise ValueError("the noise is too smooth for its covariance to be inverted; use a shorter range")
        solutions.append(solution.reshape(height, width))
    return torch.from_numpy(np.stack(solutions)).to(images)


def filter_on_torus(gain: NDArray[np.float64], height: int, width: int) -> LinearOperator:
    """The filter with a gain for each wave of a torus, as a matrix between the pixels of the image embedded in it.

    gain  (rows, columns), symmetric
    """
    from scipy.sparse.linalg import LinearOperator

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
    shown = int((eigenvalues.amax(0) > LEAST_EIGENVALUE * count).sum())
    factors: Tensor = (vectors * eigenvalues.clamp(min=0).sqrt()[:, None, :])[:, :, -shown:].float()
    return factors


def separable_field(count: int, rows: Tensor, columns: Tensor, generator: torch.Generator) -> Tensor:
    """Draw fields whose covariance is a product of one between rows and one between columns: (count, height, width).

    rows, columns  (1 or count, height, waves) and (1 or count, width, waves), see `axis_factors`
    """
    normal = torch.randn(count, rows.shape[-1], columns.shape[-1], generator=generator, device=generator.device)
    field: Tensor = rows @ normal @ columns.mT
    return field


def lower_factor(correlation: Tensor) -> Tensor:
    """Lower triangular factor L of a correlation matrix, L Lᵀ = C: (n, n), float64.

    Smooth correlations and points at the same place make C singular but for rounding. It is then factored with the
    least of JITTERS added to its diagonal that makes it positive definite, a change that no sample shows.
    Raises ValueError if it is not positive definite even so.
    """
    for jitter in JITTERS:
        raised = correlation.double().clone()
        raised.diagonal().add_(jitter)
        factor, trouble = torch.linalg.cholesky_ex(raised)
        if not trouble:
            lower: Tensor = factor
            return lower
    raise ValueError("the correlation of the noise is not positive definite")


def _torus_distance(count: int, spacing: Tensor) -> Tensor:
    steps = torch.arange(count, dtype=spacing.dtype, device=spacing.device)
    return spacing[:, None] * torch.minimum(steps, count - steps)
