"""Noise models, of unit variance; a dataset scales them by its `noise`."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from qexp.forward.noise import (
    MOST_ROWS_TO_FACTOR,
    correlated_field,
    exponential_amplitude,
    exponential_row_factors,
    field_of_rows,
    white_field,
    without_correlation,
)
from qexp.quantities import QUANTITIES
from qexp.tables import Entry

KEPT_GRIDS = 8
"""Pixel sizes for which a noise model is cached: a dataset has one or a few views, each with its own."""


class Noise(Protocol):
    """A noise model of unit variance."""

    def draw(
        self, count: int, height: int, width: int, pixel_width: Tensor, pixel_height: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Fields of unit variance, (count, height, width); pixel sizes (1 or count,) in metres."""
        ...

    def without_correlation(self, images: Tensor, pixel_width: Tensor, pixel_height: Tensor) -> Tensor:
        """C⁻¹ times each image, C the fields' covariance between pixels: (count, height, width); pixel sizes (1,)."""
        ...


class WhiteNoise:
    """White noise."""

    def draw(
        self, count: int, height: int, width: int, pixel_width: Tensor, pixel_height: Tensor, generator: torch.Generator
    ) -> Tensor:
        return white_field(count, height, width, generator)

    def without_correlation(self, images: Tensor, pixel_width: Tensor, pixel_height: Tensor) -> Tensor:
        return images


class ExponentialNoise:
    """Noise with covariance exp(-distance / range) between pixels, like that of the atmosphere."""

    def __init__(self, range: float) -> None:
        self.range_in_metres = range * QUANTITIES["x"].si_factor

    def draw(
        self, count: int, height: int, width: int, pixel_width: Tensor, pixel_height: Tensor, generator: torch.Generator
    ) -> Tensor:
        if len(pixel_width) > 1 or len(pixel_height) > 1:
            amplitude = exponential_amplitude(height, width, pixel_width, pixel_height, self.range_in_metres)
            return correlated_field(count, height, width, amplitude, generator)
        grid = (height, width, pixel_width.item(), pixel_height.item(), self.range_in_metres, generator.device)
        if height > MOST_ROWS_TO_FACTOR:
            return correlated_field(count, height, width, _amplitude(*grid), generator)
        return field_of_rows(count, width, _row_factors(*grid), generator)

    def without_correlation(self, images: Tensor, pixel_width: Tensor, pixel_height: Tensor) -> Tensor:
        height, width = images.shape[1:]
        grid = (height, width, pixel_width.item(), pixel_height.item(), self.range_in_metres, images.device)
        return without_correlation(images, _amplitude(*grid))


@lru_cache(KEPT_GRIDS)
def _amplitude(
    height: int, width: int, pixel_width: float, pixel_height: float, correlation_range: float, device: torch.device
) -> Tensor:
    sizes = torch.tensor([pixel_width], device=device), torch.tensor([pixel_height], device=device)
    return exponential_amplitude(height, width, *sizes, correlation_range)


@lru_cache(KEPT_GRIDS)
def _row_factors(
    height: int, width: int, pixel_width: float, pixel_height: float, correlation_range: float, device: torch.device
) -> Tensor:
    return exponential_row_factors(height, width, pixel_width, pixel_height, correlation_range).to(device)


NOISES: dict[str, Entry] = {
    "white": Entry(
        build=WhiteNoise,
        parameters={},
        help="Independent from pixel to pixel.",
        example={"type": "white", "parameters": {}},
    ),
    "exponential": Entry(
        build=ExponentialNoise,
        parameters={
            "properties": {
                "range": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "description": "distance at which the covariance has fallen to 1/e [km]",
                }
            },
            "required": ["range"],
        },
        help="Spatially correlated, covariance exp(-distance / range), like the atmosphere in radar images.",
        example={"type": "exponential", "parameters": {"range": 2.0}},
    ),
}
