"""Noise with a power-law spectrum, as turbulence in the atmosphere makes it."""

from __future__ import annotations

import torch
from torch import Tensor

from qexp.datasets.noises.correlated import METRES, CorrelatedNoise, Correlation, exactly_on_grid
from qexp.datasets.noises.layout import Grid
from qexp.forward.covariance import von_karman, von_karman_sill
from qexp.forward.scale_mixture import mixture_field

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

    def on_grid(self, count: int, layout: Grid, generator: torch.Generator) -> Tensor:
        if layout.same_for_all:
            return exactly_on_grid(count, layout, self.correlation, generator)
        outer_scale, hurst = self.correlation.parameters
        return mixture_field(
            count,
            layout.height,
            layout.width,
            layout.pixel_width,
            layout.pixel_height,
            outer_scale,
            hurst,
            generator,
        )
