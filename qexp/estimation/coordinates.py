"""Parameters in coordinates in which least squares are well scaled: logarithms, or multiples of a typical size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qexp.estimation.tilts import free_tilts


@dataclass(frozen=True)
class Parameter:
    """A parameter of a source; all numbers in SI units.

    low, high    bounds of estimates; infinite where there is none
    scale        a typical size
    logarithmic  whether its coordinate is its logarithm: for parameters that are positive, such as depth
    period       of an angle, which is wrapped to 0 … period at the end; None for anything else
    """

    name: str
    low: float = -math.inf
    high: float = math.inf
    scale: float = 1.0
    logarithmic: bool = False
    period: float | None = None

    def coordinate(self, value: float) -> float:
        if self.logarithmic:
            return math.log(value) if value > 0 else -math.inf
        return value / self.scale


class Coordinates:
    """The free parameters among those of a model, as coordinates without units.

    parameters  all parameters, in the order of the model's columns
    fixed       name → value of the parameters that are not estimated
    Raises ValueError if no parameter is free.
    """

    def __init__(self, parameters: Sequence[Parameter], fixed: dict[str, float]) -> None:
        self.parameters = tuple(parameters)
        self.fixed = dict(fixed)
        self.free = [index for index, one in enumerate(parameters) if one.name not in fixed]
        if not self.free:
            raise ValueError("all parameters are fixed; leave one free")
        of = [self.parameters[index] for index in self.free]
        as_tensor = torch.tensor
        self.logarithmic = as_tensor([one.logarithmic for one in of])
        self.scale = as_tensor([one.scale for one in of], dtype=torch.float64)
        self.low = as_tensor([one.coordinate(one.low) for one in of], dtype=torch.float64)
        self.high = as_tensor([one.coordinate(one.high) for one in of], dtype=torch.float64)
        self.tilts = free_tilts(self.names, self.low, self.high, fixed)
        """Those that go past their limits; see `within_limits`."""
        free = [one.angle for one in self.tilts]
        self.low[free], self.high[free] = -torch.inf, torch.inf
        self._template = as_tensor([fixed.get(one.name, 0.0) for one in self.parameters], dtype=torch.float64)

    @property
    def names(self) -> list[str]:
        """Names of the free parameters."""
        return [self.parameters[index].name for index in self.free]

    def values(self, coordinates: Tensor) -> Tensor:
        """Values of all parameters, (problem, parameter), of (problem, coordinate)."""
        free = torch.where(
            self.logarithmic, torch.where(self.logarithmic, coordinates, 0.0).exp(), coordinates * self.scale
        )
        whole = self._template.expand(len(coordinates), -1)
        return whole.index_copy(1, torch.tensor(self.free), free)

    def within(self, coordinates: Tensor) -> Tensor:
        """Whether all coordinates lie within their bounds, (problem,)."""
        return ((coordinates >= self.low) & (coordinates <= self.high)).all(dim=-1)

    def of(self, values: Tensor) -> Tensor:
        """Coordinates, (problem, coordinate), of the values of all parameters, (problem, parameter)."""
        free = values[:, self.free].double()
        inside = torch.where(self.logarithmic, free, 1.0)
        return torch.where(self.logarithmic, inside.log(), free / self.scale)

    def slopes(self, coordinates: Tensor) -> Tensor:
        """Derivative of each free parameter by its coordinate, like the coordinates."""
        return torch.where(self.logarithmic, torch.where(self.logarithmic, coordinates, 0.0).exp(), self.scale)

    def wrapped(self, values: Tensor) -> Tensor:
        """The values of all parameters, angles with a period between 0 and the period."""
        columns = [
            column if one.period is None or one.name in self.fixed else column.remainder(one.period)
            for one, column in zip(self.parameters, values.unbind(-1), strict=True)
        ]
        return torch.stack(columns, dim=-1)
