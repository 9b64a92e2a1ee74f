"""Noise of images and points: white, correlated, power laws, ramps, offsets, hidden patches."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from qexp.base.quantities import QUANTITIES
from qexp.physics import geometry, random_fields
from qexp.physics.geometry import grid, pixel_axis

MOST_TO_FACTOR = 10_000
"""Pixels or points for which a covariance matrix is formed and factored: 800 MB of it."""


class Noise(ABC):
    """One component of the noise on a view."""

    of_unit_variance: bool = False
    """Whether the dataset's variable `noise` scales it, because no amplitude was declared."""

    hides: ClassVar[bool] = False
    """Whether it hides pixels and is not added; `draw` then is 1 where one is hidden, or 0."""

    invertible: bool = False
    """Whether its covariance matrix has an inverse in floating-point numbers."""

    inverted_as_a_matrix: ClassVar[bool] = False
    """Whether `without_correlation` forms the covariance matrix of an image."""

    def trouble_with(self, layout: Layout) -> str | None:
        """Why it cannot be drawn on a layout, in words."""
        return None

    @abstractmethod
    def draw(self, count: int, layout: Layout, generator: torch.Generator) -> Tensor:
        """Realisations, (count, *layout.shape), in metres or of unit variance."""

    @abstractmethod
    def covariance(self, layout: Layout) -> Tensor | None:
        """Covariance between the pixels or points of a layout that is the same for all samples: (n,
        n), float64.

        None if it hides pixels.
        """

    def covariance_of_means(self, layout: Grid, blocks: Blocks) -> Tensor | None:
        """Covariance between the means of blocks of pixels, (block, block), float64; None if it
        hides pixels.

        Raises ValueError for too many pixels, where it needs the covariance between all of them.
        """
        pixels = layout.height * layout.width
        if not self.hides and pixels > MOST_TO_FACTOR:
            raise ValueError(
                f"the covariance between {pixels:,} pixels is too large; at most {MOST_TO_FACTOR:,}"
                " are possible"
            )
        covariance = self.covariance(layout)
        return None if covariance is None else blocks.means(blocks.means(covariance).T)

    def without_correlation(self, images: Tensor, layout: Layout) -> Tensor:
        """C⁻¹ times each image, C the covariance: (count, *layout.shape). Raises ValueError where C
        has no inverse.
        """
        covariance = self.covariance(layout)
        return images if covariance is None else solved(covariance, images)


def solved(covariance: Tensor, images: Tensor) -> Tensor:
    """C⁻¹ times each image, for a covariance matrix C between its pixels. Raises ValueError if C
    has no inverse.
    """
    factor, trouble = torch.linalg.cholesky_ex(covariance)
    if trouble:
        raise ValueError(
            "the covariance of the noise is not positive definite in floating-point numbers; "
            "add a component that is independent from pixel to pixel, such as 'white' or a 'nugget'"
        )
    right = images.flatten(1).double().to(covariance.device).T
    return torch.cholesky_solve(right, factor).T.reshape(images.shape).to(images)


# Where the pixels or the points of a view lie, which is all that noise has to know about it.


@dataclass(frozen=True, eq=False)
class Grid:
    """The pixels of an image, row by row; pixel [height // 2, width // 2] of an even count is the
    origin.

    pixel_width, pixel_height  (1,) or (batch,), where samples differ  [m]
    elevation                  (height, width)                         [m], where it is known
    """

    height: int
    width: int
    pixel_width: Tensor
    pixel_height: Tensor
    elevation: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.height, self.width

    @property
    def same_for_all(self) -> bool:
        """Whether all samples have pixels of one size."""
        return len(self.pixel_width) == len(self.pixel_height) == 1

    def positions(self) -> Tensor:
        """East and north of every pixel [m]: (1 or batch, height * width, 2), float64."""
        east = pixel_axis(self.width, self.pixel_width.double())
        north = pixel_axis(self.height, self.pixel_height.double())
        batch = max(len(east), len(north))
        return grid(east.expand(batch, -1), north.expand(batch, -1))

    def of_samples(self, block: slice) -> Grid:
        """The layout of some of the samples."""
        width, height = (
            size[block] if len(size) > 1 else size for size in (self.pixel_width, self.pixel_height)
        )
        return replace(self, pixel_width=width, pixel_height=height)


@dataclass(frozen=True, eq=False)
class Points:
    """Scattered points, the same for all samples.

    stations   (point, 2)  east, north [m]
    elevation  (point,)    [m], where it is known
    """

    stations: Tensor
    elevation: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.stations),)

    def positions(self) -> Tensor:
        """East and north of every point [m]: (1, point, 2), float64."""
        return self.stations.double()[None]

    def of_samples(self, block: slice) -> Points:
        return self


Layout = Grid | Points
"""Where a view is seen: the pixels of an image, or points."""


def distances(layout: Layout) -> Tensor:
    """Distance between every two pixels or points of a layout that is the same for all samples [m]:
    (n, n), float64.
    """
    positions = layout.positions()[0]
    return geometry.distances(positions, positions)


# Square blocks of pixels, whose means have less noise and are fewer.


@dataclass(frozen=True)
class Blocks:
    """Blocks of `size` x `size` pixels of an image; those in its last row and column may be
    smaller.
    """

    height: int
    width: int
    size: int

    @property
    def shape(self) -> tuple[int, int]:
        """Blocks from top to bottom, and from left to right."""
        return math.ceil(self.height / self.size), math.ceil(self.width / self.size)

    def numbers(self) -> Tensor:
        """The block of every pixel, (height * width,), counted row by row."""
        rows, columns = (torch.arange(count) // self.size for count in (self.height, self.width))
        return (rows[:, None] * self.shape[1] + columns).flatten()

    def counts(self) -> Tensor:
        """Pixels of each block, (block,)."""
        return torch.bincount(self.numbers())

    def means(self, values: Tensor) -> Tensor:
        """(block, ...) of (pixel, ...)."""
        sums = values.new_zeros(math.prod(self.shape), *values.shape[1:]).index_add_(
            0, self.numbers(), values
        )
        return sums / self.counts().to(sums).view(-1, *[1] * (sums.dim() - 1))

    def of_lags(self, covariance: Tensor) -> Tensor:
        """Covariance between means, (block, block), of noise that is the same everywhere in the
        image.

        covariance  (height, width)  between two pixels, by the rows and columns between them
        """
        rows, columns = (self._pairs(count) for count in (self.height, self.width))
        covariances = torch.einsum(
            "lab,ijl->iajb", torch.einsum("lm,abm->lab", covariance, columns), rows
        )
        return covariances.reshape(math.prod(self.shape), -1)

    def _pairs(self, count: int) -> Tensor:
        """The share of each distance among all pairs of lines of two blocks, (block, block,
        distance).
        """
        lines = torch.arange(count)
        block = lines // self.size
        share = 1 / torch.bincount(block).double()[block]
        pairs = torch.zeros(int(block[-1]) + 1, int(block[-1]) + 1, count, dtype=torch.float64)
        indices = (
            block[:, None].expand(-1, count),
            block.expand(count, -1),
            (lines[:, None] - lines).abs(),
        )
        return pairs.index_put_(indices, share[:, None] * share, accumulate=True)


# White noise, and noise with a covariance that depends on the distance.

CACHED_LAYOUTS = 8
"""Layouts whose factored correlation is kept: a dataset has a few views, each with its own."""

SEMIVARIOGRAM_TOLERANCE = 0.01
"""Largest relative error of a declared semivariogram."""

METRES = QUANTITIES["x"].si_factor
"""In one unit of length of specs."""


@dataclass(frozen=True)
class Correlation:
    """A covariance of unit sill, identified by its parameters: factors are kept for each."""

    function: Callable[..., Tensor]
    parameters: tuple[float, ...]
    """Those after the sill, in SI units."""

    def __call__(self, distance: Tensor) -> Tensor:
        return self.function(distance, 1.0, *self.parameters)


class WhiteNoise(Noise):
    """White noise: independent from pixel to pixel.

    standard_deviation  [m]; without it, the noise is of unit variance
    """

    invertible = True

    def __init__(self, standard_deviation: float | None = None) -> None:
        self.of_unit_variance = standard_deviation is None
        self.deviation = 1.0 if standard_deviation is None else standard_deviation

    def draw(self, count: int, layout: Layout, generator: torch.Generator) -> Tensor:
        field = random_fields.normal_numbers(generator, count, *layout.shape)
        return field if self.of_unit_variance else field.mul_(self.deviation)

    def covariance(self, layout: Layout) -> Tensor:
        return self.deviation**2 * torch.eye(math.prod(layout.shape), dtype=torch.float64)

    def covariance_of_means(self, layout: Grid, blocks: Blocks) -> Tensor:
        return torch.diag(self.deviation**2 / blocks.counts().double())

    def without_correlation(self, images: Tensor, layout: Layout) -> Tensor:
        return images / self.deviation**2


class CorrelatedNoise(Noise):
    """Noise with covariance sill · correlation(distance), and a nugget at distance 0.

    sill    partial sill [m2], the variance of the correlated part; without it, the noise is of unit
            variance
    nugget  variance of a part that is independent from pixel to pixel [m2]
    """

    def __init__(self, correlation: Correlation, sill: float | None, nugget: float = 0.0) -> None:
        if sill is None and nugget > 0:
            raise ValueError(
                "'nugget' needs 'sill' [m²]; give both, or neither for noise of unit variance"
            )
        self.correlation = correlation
        self.of_unit_variance = sill is None
        self.sill = 1.0 if sill is None else sill
        self.nugget = nugget

    def draw(self, count: int, layout: Layout, generator: torch.Generator) -> Tensor:
        field = self.correlated(count, layout, generator)
        if not self.of_unit_variance:
            field = field.mul_(self.sill**0.5)
        if self.nugget > 0:
            independent = random_fields.normal_numbers(generator, *field.shape)
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
        covariance = self.sill * self.correlation(distances(layout))
        covariance.diagonal().add_(self.nugget)
        return covariance

    def covariance_of_means(self, layout: Grid, blocks: Blocks) -> Tensor:
        lags = (torch.arange(count, dtype=torch.float64) for count in (layout.height, layout.width))
        north, east = (
            lag * size.double()
            for lag, size in zip(lags, (layout.pixel_height, layout.pixel_width), strict=True)
        )
        covariance = blocks.of_lags(self.sill * self.correlation(torch.hypot(north[:, None], east)))
        covariance.diagonal().add_(self.nugget / blocks.counts())
        return covariance


class ExponentialNoise(CorrelatedNoise):
    """Spatially correlated, as by the atmosphere: covariance sill exp(-h/range) at distance h,
    semivariogram nugget + sill (1 - exp(-h/range)).

    The range is in km. On grids, noise of unit variance has this covariance to a thousandth of the
    variance, and its samples are those of runs made before a sill could be declared. With a sill,
    the semivariogram is exact to a hundredth at every distance: where the range is long for the
    image, the fields are drawn as von Kármán's, which takes three times as long.
    """

    invertible = True

    def __init__(self, range: float, sill: float | None = None, nugget: float = 0.0) -> None:
        super().__init__(Correlation(random_fields.exponential, (range * METRES,)), sill, nugget)
        self.as_von_karman = Correlation(random_fields.von_karman, (range * METRES, 0.5))

    def on_grid(self, count: int, layout: Grid, generator: torch.Generator) -> Tensor:
        if not layout.same_for_all:
            sizes = layout.pixel_width, layout.pixel_height
            amplitude = random_fields.torus_amplitude(
                layout.height, layout.width, *sizes, self.correlation
            )
            return random_fields.correlated_field(
                count, layout.height, layout.width, amplitude, generator
            )
        key = grid_key(layout, self.correlation, generator.device)
        # A hundredth of the semivariogram between neighbouring pixels may be lost, as a share of
        # the sill.
        nearest = torch.minimum(layout.pixel_width, layout.pixel_height).double()
        semivariance = self.nugget / self.sill + 1 - self.correlation(nearest).item()
        negligible = min(SEMIVARIOGRAM_TOLERANCE * semivariance, random_fields.COVARIANCE_TOLERANCE)
        if not self.of_unit_variance and _share_lost(key) > negligible:
            return exactly_on_grid(count, layout, self.as_von_karman, generator)
        if layout.height > random_fields.MOST_ROWS_TO_FACTOR:
            return random_fields.correlated_field(
                count, layout.height, layout.width, _amplitude(key), generator
            )
        return random_fields.field_of_rows(count, layout.width, _row_factors(key), generator)

    def without_correlation(self, images: Tensor, layout: Layout) -> Tensor:
        if isinstance(layout, Points):
            return super().without_correlation(images, layout)
        amplitude = _amplitude(grid_key(layout, self.correlation, images.device))
        return (
            random_fields.without_correlation(images, amplitude, self.nugget / self.sill)
            / self.sill
        )


class GaussianNoise(CorrelatedNoise):
    """Spatially correlated and smooth: covariance sill exp(-(h/range)²) at distance h,
    semivariogram nugget + sill (1 - exp(-(h/range)²)).

    The range is in km.
    """

    inverted_as_a_matrix = True

    def __init__(self, range: float, sill: float | None = None, nugget: float = 0.0) -> None:
        super().__init__(Correlation(random_fields.gaussian, (range * METRES,)), sill, nugget)
        self.invertible = nugget > 0

    def on_grid(self, count: int, layout: Grid, generator: torch.Generator) -> Tensor:
        """The covariance is a product of one between rows and one between columns, which are
        factored.
        """
        rows, columns = (
            random_fields.axis_factors(size, spacing.to(generator.device), self.correlation)
            for size, spacing in (
                (layout.height, layout.pixel_height),
                (layout.width, layout.pixel_width),
            )
        )
        return random_fields.separable_field(count, rows, columns, generator)


def exactly_on_grid(
    count: int, layout: Grid, correlation: Correlation, generator: torch.Generator
) -> Tensor:
    """Fields of unit variance and von Kármán's correlation, (count, height, width)."""
    factors = _von_karman_factors(grid_key(layout, correlation, generator.device))
    return random_fields.von_karman_field(
        count,
        layout.height,
        layout.width,
        factors,
        generator,
    )


def at_points(
    count: int, layout: Points, correlation: Correlation, generator: torch.Generator
) -> Tensor:
    """Fields of unit variance at scattered points, (count, point): the factored covariance times
    random numbers.
    """
    stations = layout.stations.double().cpu().contiguous()
    factor = _factor(stations.numpy().tobytes(), correlation, generator.device)
    return random_fields.normal_numbers(generator, count, len(factor)) @ factor.T


class GridKey(NamedTuple):
    """What tells apart the factors of a grid whose pixels are the same for all samples."""

    height: int
    width: int
    pixel_width: float
    pixel_height: float
    correlation: Correlation
    device: torch.device

    def sizes(self, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """Width and height of a pixel, (1,) each."""
        width, height = (
            torch.tensor([size], device=device) for size in (self.pixel_width, self.pixel_height)
        )
        return width, height


def grid_key(layout: Grid, correlation: Correlation, device: torch.device) -> GridKey:
    sizes = layout.pixel_width.item(), layout.pixel_height.item()
    return GridKey(layout.height, layout.width, *sizes, correlation, device)


@lru_cache(CACHED_LAYOUTS)
def _amplitude(key: GridKey) -> Tensor:
    return random_fields.torus_amplitude(
        key.height, key.width, *key.sizes(key.device), key.correlation
    )


@lru_cache(CACHED_LAYOUTS)
def _share_lost(key: GridKey) -> float:
    """The share of the variance that lies in negative eigenvalues of a torus that is not too
    large.
    """
    return random_fields.embedded(key.height, key.width, *key.sizes(), key.correlation, 3.0)[1]


@lru_cache(CACHED_LAYOUTS)
def _row_factors(key: GridKey) -> Tensor:
    return random_fields.row_factors(*key[:5]).to(key.device)


@lru_cache(CACHED_LAYOUTS)
def _von_karman_factors(key: GridKey) -> random_fields.VonKarmanFactors:
    return random_fields.von_karman_factors(*key[:4], *key.correlation.parameters).on_device(
        key.device
    )


@lru_cache(CACHED_LAYOUTS)
def _factor(stations: bytes, correlation: Correlation, device: torch.device) -> Tensor:
    """Lower factor of the correlation between points, (n, n)."""
    points = Points(torch.frombuffer(bytearray(stations), dtype=torch.float64).view(-1, 2))
    return random_fields.lower_factor(correlation(distances(points))).float().to(device)


# Noise with a power-law spectrum, as turbulence in the atmosphere makes it.

KOLMOGOROV = -8 / 3


class PowerLawNoise(CorrelatedNoise):
    """Turbulent atmosphere: power spectrum of slope -8/3 along a line, -11/3 in two dimensions
    (Kolmogorov).

    It levels off at the outer scale.

    difference_at_1_km  standard deviation of the difference between two points 1 km apart [m];
                        without it, the noise is of unit variance
    outer_scale         [km]; the spectrum is flat at wave numbers well below 1 / outer_scale, so
                        that the noise has a finite variance, which grows with the outer scale
    spectral_slope      of the spectrum along a line, -8/3 by default; the two-dimensional one is
                        steeper by 1 (-11/3), and the variance of a difference grows with
                        distance^(-slope - 1) (distance^(5/3))

    Tatarski (1961), Wave Propagation in a Turbulent Medium; Hanssen (2001), Radar Interferometry,
    section 4.7: -8/3 below the thickness of the turbulent layer, a few kilometres, and -5/3 above
    it. The covariance is von Kármán's.
    """

    invertible = True
    inverted_as_a_matrix = True

    def __init__(
        self,
        difference_at_1_km: float | None = None,
        outer_scale: float = 20.0,
        spectral_slope: float = KOLMOGOROV,
    ) -> None:
        scale = outer_scale * METRES
        hurst = (-spectral_slope - 1) / 2
        sill = difference_at_1_km and random_fields.von_karman_sill(
            difference_at_1_km, METRES, scale, hurst
        )
        super().__init__(Correlation(random_fields.von_karman, (scale, hurst)), sill)

    def on_grid(self, count: int, layout: Grid, generator: torch.Generator) -> Tensor:
        if layout.same_for_all:
            return exactly_on_grid(count, layout, self.correlation, generator)
        outer_scale, hurst = self.correlation.parameters
        sizes = layout.pixel_width, layout.pixel_height
        return random_fields.mixture_field(
            count, layout.height, layout.width, *sizes, outer_scale, hurst, generator
        )


# Noise that is a few known shapes times random numbers: offsets, ramps, and what grows with the
# elevation.


class LinearNoise(Noise):
    """Columns times independent normal coefficients; it can be solved with the source, or
    marginalised.

    deviations  standard deviation of each coefficient a priori, in metres per unit of its column
    """

    deviations: tuple[float, ...]

    @abstractmethod
    def columns(self, layout: Layout) -> Tensor:
        """The design matrix of the coefficients, (1 or batch, pixel or point, coefficient);
        float64, SI units.
        """

    def draw(self, count: int, layout: Layout, generator: torch.Generator) -> Tensor:
        normal = random_fields.normal_numbers(generator, count, len(self.deviations))
        coefficients = self._scaled(normal.double())
        columns = self.columns(layout).to(normal.device)
        fields = (coefficients[:, None] @ columns.mT)[:, 0]
        return fields.float().view(count, *layout.shape)

    def covariance(self, layout: Layout) -> Tensor:
        return self._covariance(self.columns(layout)[0])

    def covariance_of_means(self, layout: Grid, blocks: Blocks) -> Tensor:
        return self._covariance(blocks.means(self.columns(layout)[0]))

    def _covariance(self, columns: Tensor) -> Tensor:
        scaled = self._scaled(columns)
        product = scaled @ scaled.T
        return (product + product.T) / 2  # rounding differs between the halves on some processors

    def _scaled(self, values: Tensor) -> Tensor:
        return values * torch.tensor(self.deviations, dtype=torch.float64, device=values.device)


class OffsetNoise(LinearNoise):
    """A constant offset of the whole view, drawn for each image: radar displacements have no
    absolute zero.

    standard_deviation  [m]; without it, the noise is of unit variance
    """

    def __init__(self, standard_deviation: float | None = None) -> None:
        self.of_unit_variance = standard_deviation is None
        self.deviations = (1.0 if standard_deviation is None else standard_deviation,)

    def columns(self, layout: Layout) -> Tensor:
        return torch.ones_like(layout.positions()[:1, :, :1])


class RampNoise(LinearNoise):
    """Orbital errors: a plane or a quadratic surface that is 0 at x = y = 0, drawn for each image.

    slope      standard deviation of either slope, in metres per kilometre
    quadratic  standard deviation of the coefficients of x², xy and y², in metres per square
               kilometre
    """

    def __init__(self, slope: float, quadratic: float = 0.0) -> None:
        self.curved = quadratic > 0
        self.deviations = (slope / METRES,) * 2 + (quadratic / METRES**2,) * (
            3 if self.curved else 0
        )

    def columns(self, layout: Layout) -> Tensor:
        east, north = layout.positions().unbind(-1)
        terms = [
            east,
            north,
            *([east.square(), east * north, north.square()] if self.curved else []),
        ]
        return torch.stack(terms, dim=-1)


class StratifiedNoise(LinearNoise):
    """Stratified troposphere: linear in the elevation above the view's mean; the slope is drawn per
    image.

    slope  standard deviation of the slope, in metres per kilometre of elevation
    """

    def __init__(self, slope: float) -> None:
        self.deviations = (slope / METRES,)

    def trouble_with(self, layout: Layout) -> str | None:
        return "needs the elevation of its view" if layout.elevation is None else None

    def columns(self, layout: Layout) -> Tensor:
        if layout.elevation is None:
            raise ValueError("stratified noise needs the elevation of its view")
        elevation = layout.elevation.double().flatten()
        return (elevation - elevation.mean())[None, :, None]


# Patches in which nothing is seen, where the radar's echoes have decorrelated.


class Decorrelation(Noise):
    """Random patches of hidden pixels: images are 0 there, and so is the variable `mask` (elsewhere
    1).

    They are where a smooth random field is below a level.

    share       expected share of hidden pixels; it varies from image to image
    patch_size  mean width of a patch along any line [km]

    The field has the covariance exp(-(distance / r)²). By Rice's formula it falls below the level u
    = Φ⁻¹(share) exp(-u²/2) / (√2 π r) times in a unit of length, so that the mean width of what is
    below is share over that. Rice (1945), Bell Syst. Tech. J. 24, 46-156, eq. 3.3-11.
    """

    hides: ClassVar[bool] = True

    def __init__(self, share: float, patch_size: float) -> None:
        self.level = NormalDist().inv_cdf(share)
        falls_per_range = math.exp(-(self.level**2) / 2) / (math.sqrt(2) * math.pi)
        self.field = GaussianNoise(range=patch_size * falls_per_range / share)

    def draw(self, count: int, layout: Layout, generator: torch.Generator) -> Tensor:
        return (self.field.correlated(count, layout, generator) < self.level).float()

    def covariance(self, layout: Layout) -> None:
        return None
