"""Noise with a power-law spectrum, as turbulence in the atmosphere makes it."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from qexp.datasets.noises.correlated import KEPT_LAYOUTS, METRES, CorrelatedNoise, Correlation, grid_key
from qexp.datasets.noises.layout import Grid, Layout
from qexp.datasets.noises.noise import Noise
from qexp.forward.covariance import von_karman, von_karman_sill
from qexp.forward.self_affine import SelfAffine, self_affine, self_affine_field

KOLMOGOROV = -8 / 3


class PowerLawNoise(CorrelatedNoise):
    """Noise whose power spectrum falls as a power of the wave number, down to an outer scale, where it levels off.

    difference_at_1_km  standard deviation of the difference between two points 1 km apart [m]; without it, the noise
                        is of unit variance
    outer_scale         [km]; the spectrum is flat at wave numbers well below 1 / outer_scale, so that the noise has a
                        finite variance, which grows with the outer scale
    spectral_slope      of the spectrum along a line, -8/3 by default; the two-dimensional one is steeper by 1 (-11/3),
                        and the variance of a difference grows with distance^(-slope - 1) (distance^(5/3))

    Tatarski (1961), Wave Propagation in a Turbulent Medium; Hanssen (2001), Radar Interferometry, section 4.7: -8/3
    below the thickness of the turbulent layer, a few kilometres, and -5/3 above it. The covariance is von Kármán's.
    """

    invertible = True
    inverted_as_a_matrix = True

    def __init__(
        self,
        difference_at_1_km: float | None = None,
        outer_scale: float = 20.0,
        spectral_slope: float = KOLMOGOROV,
    ) -> None:
        scale, hurst = outer_scale * METRES, (-spectral_slope - 1) / 2
        sill = None
        if difference_at_1_km is not None:
            sill = von_karman_sill(difference_at_1_km, METRES, scale, hurst)
        super().__init__(Correlation(von_karman, (scale, hurst)), sill)

    def trouble_with(self, layout: Layout) -> str | None:
        return None if layout.same_for_all else "needs pixels of one size, but x_res or y_res varies"

    def correlated(self, count: int, layout: Layout, generator: torch.Generator) -> Tensor:
        if not isinstance(layout, Grid):
            return super().correlated(count, layout, generator)
        prepared = _prepared(*grid_key(layout, self.correlation, generator.device))
        return self_affine_field(count, layout.height, layout.width, prepared, generator)

    def without_correlation(self, images: Tensor, layout: Layout) -> Tensor:
        # The torus of the others is too coarse for its differences between pixels.
        return Noise.without_correlation(self, images, layout)


@lru_cache(KEPT_LAYOUTS)
def _prepared(
    height: int, width: int, pixel_width: float, pixel_height: float, correlation: Correlation, device: torch.device
) -> SelfAffine:
    return self_affine(height, width, pixel_width, pixel_height, *correlation.parameters).to(device)
