"""Transforms of each value by itself."""

from __future__ import annotations

import torch
from torch import Tensor

from qexp.datasets.transforms.transform import Transform


class Asinh(Transform):
    """asinh(value / scale): linear below the scale, logarithmic above, for values of either sign."""

    formula = "arcsinh(value / scale)"
    inverse_formula = "sinh(value) * scale"

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, values: Tensor) -> Tensor:
        # log(a + sqrt(a² + 1)), in a form that is accurate near zero: six times as fast as torch.asinh on a CPU, where
        # this is a large part of a small network's epoch.
        size = values.abs() / self.scale
        return torch.log1p(size + size * (size / (1 + torch.sqrt(1 + size * size)))).copysign(values)

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        return torch.sinh(values) * self.scale


class Log(Transform):
    """The natural logarithm of a positive variable."""

    formula = "log(value)"
    inverse_formula = "exp(value)"

    def forward(self, values: Tensor) -> Tensor:
        return torch.log(values)

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        return torch.exp(values)

    def domain_error(self, low: float, high: float) -> str | None:
        reaches = low < 0 or high <= 0
        return f"a logarithm needs positive values, but they reach down to {low:g}" if reaches else None


class Log1p(Transform):
    """ln(1 + value): for counts that may be zero."""

    formula = "log1p(value)"
    inverse_formula = "expm1(value)"

    def forward(self, values: Tensor) -> Tensor:
        return torch.log1p(values)

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        return torch.expm1(values)

    def domain_error(self, low: float, high: float) -> str | None:
        reaches = low <= -1
        return f"ln(1 + value) needs values greater than -1, but they reach down to {low:g}" if reaches else None


class Anscombe(Transform):
    """2 √(value + 3/8): gives counts with Poisson noise a standard deviation of about 1 (Anscombe 1948)."""

    formula = "2 * sqrt(value + 0.375)"
    inverse_formula = "(value / 2) ** 2 - 0.375"

    def forward(self, values: Tensor) -> Tensor:
        return 2 * torch.sqrt(values + 0.375)

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        return (values / 2).square() - 0.375

    def domain_error(self, low: float, high: float) -> str | None:
        return f"counts must not be negative, but they reach down to {low:g}" if low < 0 else None


class Scale(Transform):
    """value / typical."""

    formula = "value / typical"
    inverse_formula = "value * typical"

    def __init__(self, typical: float) -> None:
        super().__init__()
        self.typical = typical

    def forward(self, values: Tensor) -> Tensor:
        return values / self.typical

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        return values * self.typical
