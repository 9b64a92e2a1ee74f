"""Matched filters: linear features that follow from the physics and are not trained."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qexp.models.shapes import Shape, features


class MatchedFilters(nn.Module):
    """The amplitude of each of several templates in an image, in standard deviations of the noise.

    The templates are images of a source at `count` values of a variable from `low` to `high`, evenly spaced in their
    logarithms. For an image y in units of the noise's standard deviation, templates g and noise of correlation C
    a feature is g·C⁻¹y / √(g·C⁻¹g): of all linear features the one with the largest ratio of signal to noise, and for
    Gaussian noise and a known shape a sufficient one (Turin 1960, IRE Trans. Inf. Theory 6, 311-329).
    The filters are constants, saved with the weights; until `match` is called they all compute the image's mean.
    """

    filters: Tensor

    def __init__(self, shape: Shape, /, variable: str, low: float, high: float, count: int) -> None:
        super().__init__()
        if not low < high:
            raise ValueError(f"'low' ({low:g}) must be less than 'high' ({high:g})")
        self.variable = variable
        self.values: NDArray[np.float64] = np.geomspace(low, high, count)
        self.shape = shape
        self.register_buffer("filters", torch.full((count, features(shape)), 1 / features(shape)))

    def match(self, templates: Tensor, whitened: Tensor) -> None:
        """Set the filters from the templates g and C⁻¹g, (count, *shape) both."""
        signal_to_noise = (templates.double() * whitened.double()).flatten(1).sum(1, keepdim=True).sqrt()
        self.filters = (whitened.double().flatten(1) / signal_to_noise).to(self.filters)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.filters.T
