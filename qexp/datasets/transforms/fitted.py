"""Transforms that are fitted to the training part."""

from __future__ import annotations

import torch
from torch import Tensor

from qexp.datasets.transforms.transform import Transform


class Fitted(Transform):
    """A transform with fitted numbers, one per channel; a column of a table is a channel."""

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: object) -> None:
        # The fitted buffers have one value per channel; make room for them.
        for name, buffer in list(self.named_buffers()):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=buffer.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _but_channels(values: Tensor) -> list[int]:
    """All dimensions except that of the channels."""
    return [0, *range(2, values.dim())]


class Standardize(Fitted):
    """Mean 0 and standard deviation 1 over the training part, per channel.

    deviation  "channel": each channel has its own; "all": one for all channels, the root of their mean variance, so
               that noise of equal size in all channels stays equal
    """

    formula = "(value - mean) / deviation"
    inverse_formula = "value * deviation + mean"

    mean: Tensor
    deviation: Tensor

    def __init__(self, deviation: str = "channel") -> None:
        super().__init__()
        self.per_channel = deviation == "channel"
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("deviation", torch.ones(1))

    def domain_error(self, low: float, high: float) -> str | None:
        return f"values that are all {low:g} cannot be standardized" if low == high else None

    def fit(self, values: Tensor) -> None:
        deviation, mean = torch.std_mean(values.double(), dim=_but_channels(values), keepdim=True)
        if not self.per_channel:
            deviation = deviation.square().mean(dim=1, keepdim=True).sqrt()
        if not (deviation > 0).all():
            raise ValueError("cannot standardize values that are all the same")
        self.mean, self.deviation = mean.to(values.dtype), deviation.to(values.dtype)

    def forward(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.deviation

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        return values * self.deviation + self.mean


class MinMax(Fitted):
    """The range of the training part to 0 … 1, per channel; other values may lie outside."""

    formula = "(value - least) / span"
    inverse_formula = "value * span + least"

    least: Tensor
    span: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("least", torch.zeros(1))
        self.register_buffer("span", torch.ones(1))

    def domain_error(self, low: float, high: float) -> str | None:
        return f"values that are all {low:g} have no range" if low == high else None

    def fit(self, values: Tensor) -> None:
        least = values.amin(dim=_but_channels(values), keepdim=True)
        span = values.amax(dim=_but_channels(values), keepdim=True) - least
        if not (span > 0).all():
            raise ValueError("cannot scale values that are all the same to the range 0 to 1")
        self.least, self.span = least, span

    def forward(self, values: Tensor) -> Tensor:
        return (values - self.least) / self.span

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        return values * self.span + self.least
