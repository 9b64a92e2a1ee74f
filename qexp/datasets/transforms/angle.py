"""The transform of values that repeat, such as directions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qexp.datasets.transforms.transform import Transform

TURN = 2 * math.pi


class Angle(Transform):
    """The cosine and sine of values that repeat, so that a strike of 359° is a neighbour of one of 1°.

    period  the difference after which values mean the same, in the variable's unit: 2π rad or 360° for directions,
            half of it for lines without a direction

    The network learns two numbers for each value, (batch, 2 channels, ...): first all cosines, then all sines. The
    inverse is the direction in which they point, from 0 up to the period; their length has no effect.
    Mardia and Jupp (2000), Directional Statistics, chapter 2.
    """

    formula = "concatenate([cos(value * 2 * pi / period), sin(value * 2 * pi / period)], axis=1)"
    inverse_formula = (
        "arctan2(value[:, value.shape[1] // 2 :], value[:, : value.shape[1] // 2]) * period / (2 * pi) % period"
    )
    numbers = 2
    period: float

    def __init__(self, period: float = TURN) -> None:
        super().__init__()
        self.period = period

    def forward(self, values: Tensor) -> Tensor:
        turned = values * (TURN / self.period)
        return torch.cat([turned.cos(), turned.sin()], dim=1)

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        cosines, sines = values.chunk(2, dim=1)
        direction = torch.atan2(sines, cosines) * (self.period / TURN)
        # The remainder of a tiny negative number is rounded to the period itself, which is 0.
        within: Tensor = direction.remainder(self.period).remainder(self.period)
        return within

    def bounds(self, low: float, high: float) -> tuple[float, float]:
        return -1.0, 1.0
