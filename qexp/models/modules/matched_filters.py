"""Matched filters: linear features that follow from the physics and are not trained; and what is made of these."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qexp.models.modules.parameters import COUNT
from qexp.models.shapes import Shape, ShapeError, features, written
from qexp.tables import Entry


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


class NeighbourDifferences(nn.Module):
    """Features (batch, n) → (batch, 2 n − 1): these, and the differences of neighbouring ones times a factor.

    Where features are logarithms of amplitudes, such as asinh of `matched_filters`, the differences depend on what the
    source looks like but not on its strength. They are small beside the features themselves: a network learns to use
    them sooner where they are magnified.
    """

    def __init__(self, shape: Shape, /, factor: float = 10.0) -> None:
        super().__init__()
        if len(shape) != 1 or shape[0] < 2:
            raise ShapeError(f"takes a row of two or more features, but its input is {written(shape)}")
        self.factor = factor

    def forward(self, row: Tensor) -> Tensor:
        return torch.cat([row, self.factor * row.diff(dim=1)], dim=1)


MATCHED_FILTERS: dict[str, Entry] = {
    "matched_filters": Entry(
        build=MatchedFilters,
        parameters={
            "properties": {
                "variable": {"type": "string", "description": "varying variable of the dataset, such as depth"},
                "low": {"type": "number", "exclusiveMinimum": 0, "description": "its smallest value, in its own unit"},
                "high": {"type": "number", "exclusiveMinimum": 0, "description": "its largest value"},
                "count": {
                    **COUNT,
                    "maximum": 100_000,
                    "description": "number of filters, evenly spaced in the logarithm of the variable",
                },
            },
            "required": ["variable", "low", "high", "count"],
        },
        help="Matched filters: images of the dataset's source at several values of a variable, whitened by the noise.",
        example={
            "module": "matched_filters",
            "parameters": {"variable": "depth", "low": 0.1, "high": 10.0, "count": 8},
        },
    ),
    "neighbour_differences": Entry(
        build=NeighbourDifferences,
        parameters={
            "properties": {
                "factor": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "description": "what differences are multiplied by, to be of the size of the features",
                }
            }
        },
        help="A row of features and the differences of neighbours: log-ratios, after matched filters and asinh.",
        example={"module": "neighbour_differences", "parameters": {"factor": 10.0}},
    ),
}
