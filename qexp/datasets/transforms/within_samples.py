"""Transforms of each value that depend on the other values of its sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qexp.datasets.transforms.transform import Transform


class PerSample(Transform):
    """Each sample to mean 0 and (population) standard deviation 1 over its own values.

    The inverse restores the mean and deviation of the input, so that it needs the sample itself.
    """

    formula = (
        "(value - value.mean(axis=tuple(range(1, value.ndim)), keepdims=True))"
        " / value.std(axis=tuple(range(1, value.ndim)), keepdims=True)"
    )
    inverse_formula = (
        "value * own.std(axis=tuple(range(1, own.ndim)), keepdims=True)"
        " + own.mean(axis=tuple(range(1, own.ndim)), keepdims=True)"
    )
    needs_own = True

    def forward(self, values: Tensor) -> Tensor:
        mean, deviation = _of_each(values)
        return (values - mean) / deviation

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        if own is None:
            raise ValueError(
                "'per_sample' scales by the sample's own mean and deviation, which are known only if the "
                "output is also an input; give this output another transform, such as 'standardize'"
            )
        mean, deviation = _of_each(own)
        return values * deviation + mean

    def domain_error(self, low: float, high: float) -> str | None:
        return f"values that are all {low:g} have a standard deviation of 0" if low == high else None

    def bounds(self, low: float, high: float) -> tuple[float, float]:
        return -math.inf, math.inf


def _of_each(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every sample, (batch, 1, ...)."""
    own = list(range(1, values.dim()))
    mean = values.mean(dim=own, keepdim=True)
    return mean, (values - mean).square().mean(dim=own, keepdim=True).sqrt()


class LogRatios(Transform):
    """ln(value / reference) of every column but the reference, and ln(reference): brightness and colours.

    reference  column by which the others are divided, counted from 0
    """

    formula = "where(arange(value.shape[1]) == reference, log(value), log(value / value[:, [reference]]))"
    inverse_formula = "exp(where(arange(value.shape[1]) == reference, value, value + value[:, [reference]]))"

    def __init__(self, reference: int = 0) -> None:
        super().__init__()
        self.reference = reference

    def forward(self, values: Tensor) -> Tensor:
        if not self.reference < values.shape[1]:
            raise ValueError(f"reference {self.reference} is not one of the columns 0 to {values.shape[1] - 1}")
        logs = torch.log(values)
        return torch.where(self._is_reference(logs), logs, logs - logs[:, [self.reference]])

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        is_reference = self._is_reference(values)
        return torch.exp(torch.where(is_reference, values, values + values[:, [self.reference]]))

    def _is_reference(self, values: Tensor) -> Tensor:
        return torch.arange(values.shape[1], device=values.device) == self.reference

    def domain_error(self, low: float, high: float) -> str | None:
        return f"a logarithm needs positive values, but they reach down to {low:g}" if low <= 0 else None

    def bounds(self, low: float, high: float) -> tuple[float, float]:
        return -math.inf, math.inf
