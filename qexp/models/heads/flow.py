"""Normalizing flows: densities of any form, by zuko."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine
from torch.special import ndtri

from qexp.models.heads.density import Density
from qexp.models.heads.gaussian import Gaussian, GaussianHead
from qexp.models.shapes import Shape, features

QUASI_RANDOM = 128
"""Points of a Sobol sequence, the same for every sample, by which quantiles are found."""

MOST_AT_ONCE = 2**18
"""Numbers that are drawn together: the inverse of a spline needs some hundred times their memory."""


class Flow(Density):
    """A Gaussian density whose scores are not normal, but follow a normalizing flow.

    flow  zuko's distribution of the scores of each sample
    """

    def __init__(self, gaussian: Gaussian, flow: Any) -> None:
        self.gaussian, self.flow = gaussian, flow

    @property
    def device(self) -> torch.device:
        return self.gaussian.device

    def log_prob(self, values: Tensor) -> Tensor:
        made: Tensor = self.flow.log_prob(self.gaussian.scores(values))
        return made + self.gaussian.log_volume()

    def draws(self, count: int, random: torch.Generator | None = None) -> Tensor:
        mean = self.gaussian.mean
        return self._of_normal(torch.randn(count, *mean.shape, generator=random, device=mean.device))

    def quantiles(self, probabilities: Tensor) -> Tensor:
        mean = self.gaussian.mean
        points = SobolEngine(mean.shape[-1]).draw(QUASI_RANDOM).to(mean) + 0.5 / QUASI_RANDOM
        made = self._of_normal(ndtri(points)[:, None].expand(-1, len(mean), -1))
        return torch.quantile(made, probabilities.to(made), dim=0).permute(1, 2, 0)

    def _of_normal(self, normal: Tensor) -> Tensor:
        """Draws, (draw, sample, output), from standard normal numbers."""
        size = max(1, MOST_AT_ONCE // max(1, normal[0].numel()))
        return self.gaussian.values(torch.cat([self.flow.transform.inv(part) for part in normal.split(size)]))


class FlowHead(GaussianHead):
    """A neural spline flow (Durkan et al. 2019) after a linear layer that makes the scale: autoregressive, conditional.

    Splines act within five standard deviations; the Gaussian density that they bend makes them independent of how
    narrow a posterior is.

    transforms  number of splines, one after the other
    units       width of each hidden layer of the networks that make their knots from the features
    bins        of a spline
    """

    def __init__(
        self, shape: Shape, outputs: int, /, transforms: int = 2, units: Sequence[int] = (64, 64), bins: int = 8
    ) -> None:
        from zuko.flows import NSF

        super().__init__(shape, outputs)
        device = torch.empty(0).device
        with torch.device("cpu"):  # zuko makes masks by operations that the meta device lacks
            flow = NSF(outputs, features(shape), bins=bins, transforms=transforms, hidden_features=list(units))
        self.flow = flow.to(device)

    def density(self, features: Tensor) -> Flow:
        return Flow(self.gaussian(features), self.flow(features.flatten(1)))
