"""The base class of transforms: a torch module, so that fitted numbers are buffers, saved with the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Transform(nn.Module):
    """Maps a variable, (batch, ...) in its own unit, to the values that a network sees, and back."""

    formula: str | None = None
    """`forward` as a numpy expression of `value`, (batch, ...), of the parameters and of fitted numbers."""
    inverse_formula: str | None = None
    """`inverse` as a numpy expression; of `own`, too, the samples' values in the variable's unit, if `needs_own`."""
    needs_own: bool = False
    """Whether the inverse needs `own`, so that an output with this transform must also be an input."""

    numbers: int = 1
    """How many numbers a network learns for each value; an output's channels are that many times those of its values.
    """
    period: float | None = None
    """The difference after which values mean the same, in the variable's unit, if the transform knows one."""

    def fit(self, values: Tensor) -> None:
        """Fit to training values, (sample, ...); most transforms have nothing to fit. Raises ValueError."""

    def forward(self, values: Tensor) -> Tensor:
        """Values in the variable's unit, (batch, ...) → transformed values in the same shape.

        With several `numbers` for each value there are that many times as many channels.
        """
        return values

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        """Back to the variable's unit. `own` are the samples' values in it, if the variable is also an input.

        Raises ValueError if `own` is needed and not given.
        """
        return values

    def domain_error(self, low: float, high: float) -> str | None:
        """Why values between two bounds cannot be transformed, or None."""
        return None

    def bounds(self, low: float, high: float) -> tuple[float, float]:
        """Bounds of transformed values, given bounds of the values."""
        ends = self(torch.tensor([[low], [high]], dtype=torch.float64))[:, 0].tolist()
        return min(ends), max(ends)
