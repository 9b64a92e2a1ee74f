"""The noise models that a spec can name: unit variance, scaled by the dataset's `noise`."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from qexp.forward.noise import correlated_field, exponential_amplitude, white_field
from qexp.quantities import QUANTITIES
from qexp.tables import Entry

KEPT_AMPLITUDES = 8
"""A dataset has a view or a few, each with its own size of pixels."""


class Noise(Protocol):
    def draw(
        self, count: int, height: int, width: int, pixel_width: Tensor, pixel_height: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Fields of unit variance, (count, height, width); pixel sizes (1 or count,) in metres."""
        ...


class WhiteNoise:
    """Every pixel on its own."""

    def draw(
        self, count: int, height: int, width: int, pixel_width: Tensor, pixel_height: Tensor, generator: torch.Generator
    ) -> Tensor:
        return white_field(count, height, width, generator)


class ExponentialNoise:
    """Neighbouring pixels resemble each other, as in the atmosphere: covariance exp(-distance / range)."""

    def __init__(self, range: float) -> None:
        self.range_in_metres = range * QUANTITIES["x"].si_factor
        self._amplitudes: dict[tuple[object, ...], Tensor] = {}

    def draw(
        self, count: int, height: int, width: int, pixel_width: Tensor, pixel_height: Tensor, generator: torch.Generator
    ) -> Tensor:
        if len(pixel_width) > 1 or len(pixel_height) > 1:
            amplitude = exponential_amplitude(height, width, pixel_width, pixel_height, self.range_in_metres)
            return correlated_field(count, height, width, amplitude, generator)
        key = (height, width, pixel_width.item(), pixel_height.item(), pixel_width.device)
        if key not in self._amplitudes:
            if len(self._amplitudes) >= KEPT_AMPLITUDES:
                self._amplitudes.clear()
            self._amplitudes[key] = exponential_amplitude(
                height, width, pixel_width, pixel_height, self.range_in_metres
            )
        return correlated_field(count, height, width, self._amplitudes[key], generator)


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
