"""What a transform is: a torch module, so that what it was fitted to is saved with the weights, as buffers."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Transform(nn.Module):
    """Maps a variable, (batch, ...) in its own unit, to what a network sees, and back."""

    formula: str | None = None
    """What `forward` does, as numpy says it: of `value`, (batch, ...), the parameters and what was fitted."""
    inverse_formula: str | None = None
    """The way back; also of `own`, the samples' values in the variable's own unit, where it cannot do without."""
    needs_own: bool = False
    """Whether the inverse cannot do without `own`, so that it is for variables that go in and come out."""

    def fit(self, values: Tensor) -> None:
        """Adapt to training values; most transforms have nothing to adapt."""

    def forward(self, values: Tensor) -> Tensor:
        return values

    def inverse(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        """Back to the variable's unit. `own` are the same samples' values in it, where the variable is an input, too.

        Raises ValueError where they are needed and not given.
        """
        return values

    def domain_error(self, low: float, high: float) -> str | None:
        """Why values between two bounds cannot be transformed, or None."""
        return None

    def bounds(self, low: float, high: float) -> tuple[float, float]:
        """Between what values lie once transformed; most transforms keep their order."""
        ends = self(torch.tensor([[low], [high]], dtype=torch.float64))[:, 0].tolist()
        return min(ends), max(ends)
