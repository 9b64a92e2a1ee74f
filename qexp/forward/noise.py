"""Gaussian random fields of unit variance on regular grids."""

from __future__ import annotations

import torch
from scipy.fft import next_fast_len
from torch import Tensor

COVARIANCE_TOLERANCE = 1e-3
"""Largest share of the variance that may be lost where an embedding has negative eigenvalues."""

LARGEST_EMBEDDING = 16.0
"""The torus grows to at most so many times the grid before negative eigenvalues are cut off regardless."""

LARGEST_BATCH_EMBEDDING = 4.0
"""The same where every field of a batch has a torus of its own, which costs that much more memory and time."""


def white_field(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Independent standard normal values: (count, height, width)."""
    return torch.randn(count, height, width, generator=generator, device=generator.device)


def exponential_amplitude(
    height: int, width: int, pixel_width: Tensor, pixel_height: Tensor, correlation_range: float
) -> Tensor:
    """Spectral amplitude of a field with covariance exp(-distance / correlation_range), for `correlated_field`.

    pixel_width, pixel_height  (batch,)                   [m]
    correlation_range                                     distance at which the covariance is 1/e [m]
    returns                    (batch, rows, columns)     of the torus that the grid is embedded in

    The covariance on a torus of at least twice the grid is diagonal in the Fourier basis; its eigenvalues are
    the transform of its first row. The torus grows until no more than COVARIANCE_TOLERANCE of the variance lies
    in negative eigenvalues; those are cut off and the rest is scaled back to exactly unit variance.
    Dietrich and Newsam (1997), SIAM J. Sci. Comput. 18, 1088-1107; Wood and Chan (1994), J. Comput. Graph. Stat. 3.
    """
    factor = 2.0
    largest = LARGEST_EMBEDDING if max(len(pixel_width), len(pixel_height)) == 1 else LARGEST_BATCH_EMBEDDING
    while True:
        rows, columns = next_fast_len(int(factor * height)), next_fast_len(int(factor * width))
        north = _torus_distance(rows, pixel_height.double())
        east = _torus_distance(columns, pixel_width.double())
        covariance = torch.exp(-torch.hypot(north[:, :, None], east[:, None, :]) / correlation_range)
        eigenvalues = torch.fft.fft2(covariance).real
        kept = eigenvalues.clamp(min=0)
        share_lost = ((kept - eigenvalues).sum((-2, -1)) / (rows * columns)).max()
        if share_lost <= COVARIANCE_TOLERANCE or factor * 1.5 > largest:
            amplitude: Tensor = (kept / kept.sum((-2, -1), keepdim=True)).sqrt().float()
            return amplitude
        factor *= 1.5


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


def _torus_distance(count: int, spacing: Tensor) -> Tensor:
    steps = torch.arange(count, dtype=spacing.dtype, device=spacing.device)
    return spacing[:, None] * torch.minimum(steps, count - steps)
