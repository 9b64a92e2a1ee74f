"""Values as standard normal quantiles of their distribution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.special import ndtr
from torch import Tensor

from qexp.datasets.transforms.transform import Transform
from qexp.simulation.distributions import DISTRIBUTIONS, Distribution
from qexp.tables import built_within

SPAN = 7.0
"""Largest absolute score: a millionth of a millionth of the values lies beyond it."""

POWER = 12
NODES = 2**POWER + 1
"""Scores at which the distribution is tabulated; linear between them to a few parts in a million."""


class NormalScore(Transform):
    """Φ⁻¹ of a value's probability under a distribution, whose values then have a standard normal distribution.

    distribution  `{"type": …, "parameters": …}`; its support bounds whatever comes back by the inverse
    """

    formula = f"interp(value, nodes, linspace(-{SPAN:g}, {SPAN:g}, len(nodes)))"
    inverse_formula = f"interp(value, linspace(-{SPAN:g}, {SPAN:g}, len(nodes)), nodes)"

    nodes: Tensor

    def __init__(self, distribution: str | Mapping[str, Any]) -> None:
        super().__init__()
        self.distribution: Distribution = built_within(DISTRIBUTIONS, "distribution", distribution)
        nodes = self.distribution.quantile(ndtr(np.linspace(-SPAN, SPAN, NODES)))
        self.register_buffer("nodes", torch.from_numpy(nodes), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        exact = values.double().clamp(self.nodes[0], self.nodes[-1])
        below = torch.zeros_like(exact, dtype=torch.long)
        for power in reversed(range(POWER)):  # a binary search in operations that exported networks can hold
            further = below + 2**power
            below = torch.where(self.nodes[further] <= exact, further, below)
        low, high = self.nodes[below], self.nodes[below + 1]
        place = below + (exact - low) / (high - low)
        scores: Tensor = place * (2 * SPAN / (NODES - 1)) - SPAN
        return scores.to(values)

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        place = (values.double().clamp(-SPAN, SPAN) + SPAN) * ((NODES - 1) / (2 * SPAN))
        below = place.detach().floor().clamp(0, NODES - 2).long()
        low, high = self.nodes[below], self.nodes[below + 1]
        found: Tensor = low + (place - below) * (high - low)
        return found.to(values)

    def domain_error(self, low: float, high: float) -> str | None:
        least, greatest = self.distribution.support()
        if low < least or high > greatest:
            return (
                f"values reach from {low:g} to {high:g}, but the transform's distribution lies between {least:g} and "
                f"{greatest:g}"
            )
        return None
