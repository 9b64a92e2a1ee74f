"""Noise that is a few known shapes times random numbers: offsets, ramps, and what grows with the elevation."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from qexp.datasets.noises.blocks import Blocks
from qexp.datasets.noises.correlated import METRES
from qexp.datasets.noises.layout import Grid, Layout
from qexp.datasets.noises.noise import Noise


class LinearNoise(Noise):
    """Columns times independent normal coefficients; it can be solved with the source, or marginalised.

    deviations  standard deviation of each coefficient a priori, in metres per unit of its column
    """

    deviations: tuple[float, ...]

    @abstractmethod
    def columns(self, layout: Layout) -> Tensor:
        """The design matrix of the coefficients, (1 or batch, pixel or point, coefficient); float64, SI units."""

    def draw(self, count: int, layout: Layout, generator: torch.Generator) -> Tensor:
        device = generator.device
        normal = torch.randn(count, len(self.deviations), generator=generator, device=device)
        coefficients = normal.double() * torch.tensor(self.deviations, dtype=torch.float64, device=device)
        fields = (coefficients[:, None] @ self.columns(layout).to(device).mT)[:, 0]
        return fields.float().view(count, *layout.shape)

    def covariance(self, layout: Layout) -> Tensor:
        return self._covariance(self.columns(layout)[0])

    def covariance_of_means(self, layout: Grid, blocks: Blocks) -> Tensor:
        return self._covariance(blocks.means(self.columns(layout)[0]))

    def _covariance(self, columns: Tensor) -> Tensor:
        scaled = columns * torch.tensor(self.deviations, dtype=torch.float64, device=columns.device)
        product = scaled @ scaled.T
        return (product + product.T) / 2  # rounding differs between the halves on some processors


class OffsetNoise(LinearNoise):
    """One value for the whole view.

    standard_deviation  [m]; without it, the noise is of unit variance
    """

    def __init__(self, standard_deviation: float | None = None) -> None:
        self.of_unit_variance = standard_deviation is None
        self.deviations = (1.0 if standard_deviation is None else standard_deviation,)

    def columns(self, layout: Layout) -> Tensor:
        return torch.ones_like(layout.positions()[:1, :, :1])


class RampNoise(LinearNoise):
    """A plane through zero at x = y = 0, with random slopes east and north; or a surface of second order.

    slope      standard deviation of either slope, in metres per kilometre
    quadratic  standard deviation of the coefficients of x², xy and y², in metres per square kilometre
    """

    def __init__(self, slope: float, quadratic: float = 0.0) -> None:
        self.curved = quadratic > 0
        self.deviations = (slope / METRES,) * 2 + (quadratic / METRES**2,) * (3 if self.curved else 0)

    def columns(self, layout: Layout) -> Tensor:
        east, north = layout.positions().unbind(-1)
        terms = [east, north, *([east.square(), east * north, north.square()] if self.curved else [])]
        return torch.stack(terms, dim=-1)


class StratifiedNoise(LinearNoise):
    """Noise that is linear in the elevation above its mean in the view, as the stratified troposphere makes it.

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
