"""White noise, and noise with a covariance that depends on the distance."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from qexp.datasets.noises.blocks import Blocks
from qexp.datasets.noises.layout import Grid, Layout, Points, distances
from qexp.datasets.noises.noise import Noise
from qexp.forward import covariance, noise
from qexp.forward.von_karman import VonKarmanFactors, von_karman_factors, von_karman_field
from qexp.quantities import QUANTITIES

KEPT_LAYOUTS = 8
"""Layouts for which a correlation is kept factored: a dataset has one or a few views, each with its own."""

SEMIVARIOGRAM_TOLERANCE = 0.01
"""Largest relative error of a declared semivariogram."""

LARGEST_TORUS = 3.0
"""Size of a torus, in grids, beyond which von Kármán's fields are as fast."""

METRES = QUANTITIES["x"].si_factor
"""In one unit of length of specs."""


@dataclass(frozen=True)
class Correlation:
    """A covariance function of unit sill, identified by its parameters: factors are kept for each."""

    function: Callable[..., Tensor]
    parameters: tuple[float, ...]
    """Those after the sill, in SI units."""

    def __call__(self, distance: Tensor) -> Tensor:
        return self.function(distance, 1.0, *self.parameters)


class WhiteNoise(Noise):
    """Noise that is independent from pixel to pixel.

    standard_deviation  [m]; without it, the noise is of unit variance
    """

    invertible = True

    def __init__(self, standard_deviation: float | None = None) -> None:
        self.of_unit_variance = standard_deviation is None
        self.deviation = 1.0 if standard_deviation is None else standard_deviation

    def deviation_at(self, level: float) -> float:
        """The standard deviation for a value of `noise` [m]."""
        return level if self.of_unit_variance else self.deviation

    def draw(self, count: int, layout: Layout, generator: torch.Generator) -> Tensor:
        field = torch.randn(count, *layout.shape, generator=generator, device=generator.device)
        return field if self.of_unit_variance else field.mul_(self.deviation)

    def covariance(self, layout: Layout) -> Tensor:
        return self.deviation**2 * torch.eye(math.prod(layout.shape), dtype=torch.float64)

    def covariance_of_means(self, layout: Grid, blocks: Blocks) -> Tensor:
        return torch.diag(self.deviation**2 / blocks.counts().double())

    def without_correlation(self, images: Tensor, layout: Layout) -> Tensor:
        return images / self.deviation**2


class CorrelatedNoise(Noise):
    """Noise with covariance sill · correlation(distance), and a nugget at distance 0.

    sill    partial sill [m2], the variance of the correlated part; without it, the noise is of unit variance
    nugget  variance of a part that is independent from pixel to pixel [m2]
    """

    def __init__(self, correlation: Correlation, sill: float | None, nugget: float = 0.0) -> None:
        if sill is None and nugget > 0:
            raise ValueError("'nugget' needs 'sill' [m²]; give both, or neither for noise of unit variance")
        self.correlation = correlation
        self.of_unit_variance = sill is None
        self.sill = 1.0 if sill is None else sill
        self.nugget = nugget

    def draw(self, count: int, layout: Layout, generator: torch.Generator) -> Tensor:
        field = self.correlated(count, layout, generator)
        if not self.of_unit_variance:
            field = field.mul_(self.sill**0.5)
        if self.nugget > 0:
            independent = torch.randn(field.shape, generator=generator, device=generator.device)
            field = field.add_(independent, alpha=self.nugget**0.5)
        return field

    def correlated(self, count: int, layout: Layout, generator: torch.Generator) -> Tensor:
        """Fields of unit variance, (count, *layout.shape)."""
        if isinstance(layout, Points):
            return at_points(count, layout, self.correlation, generator)
        return self.on_grid(count, layout, generator)

    @abstractmethod
    def on_grid(self, count: int, layout: Grid, generator: torch.Generator) -> Tensor:
        """Fields of unit variance, (count, height, width)."""

    def covariance(self, layout: Layout) -> Tensor:
        between = self.sill * self.correlation(distances(layout))
        between.diagonal().add_(self.nugget)
        return between

    def covariance_of_means(self, layout: Grid, blocks: Blocks) -> Tensor:
        lags = (torch.arange(count, dtype=torch.float64) for count in (layout.height, layout.width))
        north, east = (
            lag * size.double() for lag, size in zip(lags, (layout.pixel_height, layout.pixel_width), strict=True)
        )
        between = blocks.of_lags(self.sill * self.correlation(torch.hypot(north[:, None], east)))
        between.diagonal().add_(self.nugget / blocks.counts())
        return between


class ExponentialNoise(CorrelatedNoise):
    """Noise with covariance sill · exp(-distance / range), like that of the atmosphere; range in km.

    On grids, noise of unit variance has this covariance to a thousandth of the variance, and its samples are those of
    runs made before a sill could be declared. With a sill, the semivariogram is exact to a hundredth at every distance:
    where the range is long for the image, the fields are drawn as von Kármán's, which takes three times as long.
    """

    invertible = True

    def __init__(self, range: float, sill: float | None = None, nugget: float = 0.0) -> None:
        super().__init__(Correlation(covariance.exponential, (range * METRES,)), sill, nugget)
        self.as_von_karman = Correlation(covariance.von_karman, (range * METRES, 0.5))

    def on_grid(self, count: int, layout: Grid, generator: torch.Generator) -> Tensor:
        if not layout.same_for_all:
            sizes = layout.pixel_width, layout.pixel_height
            amplitude = noise.torus_amplitude(layout.height, layout.width, *sizes, self.correlation)
            return noise.correlated_field(count, layout.height, layout.width, amplitude, generator)
        grid = grid_key(layout, self.correlation, generator.device)
        if not self.of_unit_variance and _share_lost(*grid) > self._negligible(layout):
            return exactly_on_grid(count, layout, self.as_von_karman, generator)
        if layout.height > noise.MOST_ROWS_TO_FACTOR:
            return noise.correlated_field(count, layout.height, layout.width, _amplitude(*grid), generator)
        return noise.field_of_rows(count, layout.width, _row_factors(*grid), generator)

    def _negligible(self, layout: Grid) -> float:
        """The share of the sill that is a hundredth of the semivariogram between neighbouring pixels."""
        nearest = torch.minimum(layout.pixel_width, layout.pixel_height).double()
        between = self.nugget / self.sill + 1 - self.correlation(nearest).item()
        return min(SEMIVARIOGRAM_TOLERANCE * between, noise.COVARIANCE_TOLERANCE)

    def without_correlation(self, images: Tensor, layout: Layout) -> Tensor:
        if isinstance(layout, Points):
            return super().without_correlation(images, layout)
        amplitude = _amplitude(*grid_key(layout, self.correlation, images.device))
        return noise.without_correlation(images, amplitude, self.nugget / self.sill) / self.sill


class GaussianNoise(CorrelatedNoise):
    """Noise with covariance sill · exp(-(distance / range)²), smooth; range in km."""

    inverted_as_a_matrix = True

    def __init__(self, range: float, sill: float | None = None, nugget: float = 0.0) -> None:
        super().__init__(Correlation(covariance.gaussian, (range * METRES,)), sill, nugget)
        self.invertible = nugget > 0

    def on_grid(self, count: int, layout: Grid, generator: torch.Generator) -> Tensor:
        """The covariance is a product of one between rows and one between columns, which are factored."""
        rows, columns = (
            noise.axis_factors(size, spacing.to(generator.device), self.correlation)
            for size, spacing in ((layout.height, layout.pixel_height), (layout.width, layout.pixel_width))
        )
        return noise.separable_field(count, rows, columns, generator)


def exactly_on_grid(count: int, layout: Grid, correlation: Correlation, generator: torch.Generator) -> Tensor:
    """Fields of unit variance and von Kármán's correlation, (count, height, width)."""
    factors = _von_karman_factors(*grid_key(layout, correlation, generator.device))
    return von_karman_field(count, layout.height, layout.width, factors, generator)


def at_points(count: int, layout: Points, correlation: Correlation, generator: torch.Generator) -> Tensor:
    """Fields of unit variance at scattered points, (count, point): the factored covariance times random numbers."""
    stations = layout.stations.double().cpu().contiguous()
    factor = _factor(stations.numpy().tobytes(), correlation, generator.device)
    normal = torch.randn(count, len(factor), generator=generator, device=generator.device)
    return normal @ factor.T


def grid_key(
    layout: Grid, correlation: Correlation, device: torch.device
) -> tuple[int, int, float, float, Correlation, torch.device]:
    """What tells apart the factors of a grid whose pixels are the same for all samples."""
    return layout.height, layout.width, layout.pixel_width.item(), layout.pixel_height.item(), correlation, device


@lru_cache(KEPT_LAYOUTS)
def _amplitude(
    height: int, width: int, pixel_width: float, pixel_height: float, correlation: Correlation, device: torch.device
) -> Tensor:
    sizes = torch.tensor([pixel_width], device=device), torch.tensor([pixel_height], device=device)
    return noise.torus_amplitude(height, width, *sizes, correlation)


@lru_cache(KEPT_LAYOUTS)
def _share_lost(
    height: int, width: int, pixel_width: float, pixel_height: float, correlation: Correlation, device: torch.device
) -> float:
    """The share of the variance that lies in negative eigenvalues of a torus that is not too large."""
    sizes = torch.tensor([pixel_width]), torch.tensor([pixel_height])
    return noise.embedded(height, width, *sizes, correlation, LARGEST_TORUS)[1]


@lru_cache(KEPT_LAYOUTS)
def _row_factors(
    height: int, width: int, pixel_width: float, pixel_height: float, correlation: Correlation, device: torch.device
) -> Tensor:
    return noise.row_factors(height, width, pixel_width, pixel_height, correlation).to(device)


@lru_cache(KEPT_LAYOUTS)
def _von_karman_factors(
    height: int, width: int, pixel_width: float, pixel_height: float, correlation: Correlation, device: torch.device
) -> VonKarmanFactors:
    return von_karman_factors(height, width, pixel_width, pixel_height, *correlation.parameters).to(device)


@lru_cache(KEPT_LAYOUTS)
def _factor(stations: bytes, correlation: Correlation, device: torch.device) -> Tensor:
    """Lower factor of the correlation between points, (n, n)."""
    places = torch.frombuffer(bytearray(stations), dtype=torch.float64).view(-1, 2)
    return noise.lower_factor(correlation(distances(Points(places)))).float().to(device)
