"""Transforms: the one place where values are scaled. Losses see transformed values, people never do.

A transform is a torch module, so that what it was fitted to is saved with the weights, as buffers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qexp.tables import Entry


class Transform(nn.Module):
    """Maps a variable, (batch, ...) in its own unit, to what a network sees, and back."""

    def fit(self, values: Tensor) -> None:
        """Adapt to training values; most transforms have nothing to adapt."""

    def forward(self, values: Tensor) -> Tensor:
        return values

    def inverse(self, values: Tensor) -> Tensor:
        return values

    def domain_error(self, low: float, high: float) -> str | None:
        """Why values between two bounds cannot be transformed, or None."""
        return None


class Asinh(Transform):
    """asinh(value / scale): linear below the scale, logarithmic above, and both signs are welcome."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, values: Tensor) -> Tensor:
        # log(a + sqrt(a² + 1)), written so that it keeps its digits near zero: six times as fast as torch.asinh on a
        # processor, where this is a large part of a small network's epoch.
        size = values.abs() / self.scale
        return torch.log1p(size + size * (size / (1 + torch.sqrt(1 + size * size)))).copysign(values)

    def inverse(self, values: Tensor) -> Tensor:
        return torch.sinh(values) * self.scale


class Log(Transform):
    """The natural logarithm of a positive variable."""

    def forward(self, values: Tensor) -> Tensor:
        return torch.log(values)

    def inverse(self, values: Tensor) -> Tensor:
        return torch.exp(values)

    def domain_error(self, low: float, high: float) -> str | None:
        reaches = low < 0 or high <= 0
        return f"a logarithm needs positive values, but they reach down to {low:g}" if reaches else None


class Scale(Transform):
    """value / typical."""

    def __init__(self, typical: float) -> None:
        super().__init__()
        self.typical = typical

    def forward(self, values: Tensor) -> Tensor:
        return values / self.typical

    def inverse(self, values: Tensor) -> Tensor:
        return values * self.typical


class Standardize(Transform):
    """Mean 0 and standard deviation 1 over the training part, per channel."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("deviation", torch.ones(1))

    def domain_error(self, low: float, high: float) -> str | None:
        return f"values that are all {low:g} cannot be standardized" if low == high else None

    def fit(self, values: Tensor) -> None:
        dimensions = [0, *range(2, values.dim())]
        deviation, mean = torch.std_mean(values.double(), dim=dimensions, keepdim=True)
        if not (deviation > 0).all():
            raise ValueError("cannot standardize values that are all the same")
        self.mean, self.deviation = mean.to(values.dtype), deviation.to(values.dtype)

    def forward(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.deviation

    def inverse(self, values: Tensor) -> Tensor:
        return values * self.deviation + self.mean

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: object) -> None:
        # The fitted buffers have one value per channel; make room for them.
        for name in ("mean", "deviation"):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=self.mean.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)


TRANSFORMS: dict[str, Entry] = {
    "asinh": Entry(
        build=Asinh,
        parameters={"properties": {"scale": {"type": "number", "exclusiveMinimum": 0}}},
        help="asinh(value / scale): linear below the scale (in the variable's unit), logarithmic above.",
        example={"type": "asinh", "parameters": {"scale": 0.01}},
    ),
    "log": Entry(
        build=Log,
        parameters={},
        help="Natural logarithm, for positive variables that span orders of magnitude.",
        example={"type": "log"},
    ),
    "scale": Entry(
        build=Scale,
        parameters={
            "properties": {
                "typical": {
                    "type": "number",
                    "not": {"const": 0},
                    "x-message": "must not be 0",
                    "description": "typical value",
                }
            },
            "required": ["typical"],
        },
        help="Division by a typical value.",
        example={"type": "scale", "parameters": {"typical": 2000.0}},
    ),
    "standardize": Entry(
        build=Standardize,
        parameters={},
        help="Mean 0, standard deviation 1 per channel, fitted to the training part.",
        example={"type": "standardize"},
    ),
}
