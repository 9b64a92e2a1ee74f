"""Pretraining that runs of an order start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qexp.errors import QexpError

SAME = "same"
"""As the seed of pretraining: each run starts from one with its own seed."""


@dataclass(frozen=True)
class Pretraining:
    """An experience that is trained first, for other runs to start from."""

    experience: str
    """Name or path of its spec."""
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Dotted key → values, as in `Order`."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Dotted key → value, as in `Order`."""
    seed: int | str = 0
    """The seed of the run that all start from, or "same": each starts from a run with its own seed."""

    def seeds(self, of_others: Sequence[int]) -> Sequence[int]:
        """The seeds that it is trained with, given those of the runs that start from it.

        Raises QexpError if its own is neither a seed nor "same".
        """
        if isinstance(self.seed, str):
            if self.seed != SAME:
                raise QexpError(f"--pretrain-seed {self.seed}: give a seed, or '{SAME}' for the seed of each run")
            return of_others
        return [self.seed]
