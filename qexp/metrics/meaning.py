"""The meaning of a metric's values: which are better, and their unit.

Records contain it, so that results of metrics from extensions are read correctly, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

LOWEST, HIGHEST, ZERO = "lowest", "highest", "zero"

BEST = (LOWEST, HIGHEST, ZERO)
"""Which values are better; `zero`: those closest to zero, from either side."""

OUTPUT = "{unit}"
"""Placeholder of the output's unit in the unit of a metric."""


@dataclass(frozen=True)
class Meaning:
    best: str | None = None
    """One of `BEST`; None: unknown."""
    unit: str = ""
    """The unit, such as `{unit}`, `({unit})²` or `%`."""

    def in_unit(self, unit: str) -> str:
        """The metric's unit for an output in `unit`."""
        return self.unit.replace(OUTPUT, unit) if unit or OUTPUT not in self.unit else ""

    def badness(self, value: float) -> float | None:
        """A key by which better values sort first; None if the direction is unknown."""
        if self.best is None:
            return None
        return {LOWEST: value, HIGHEST: -value, ZERO: abs(value)}[self.best]

    def limits(self, values: Iterable[float]) -> tuple[float, float]:
        """The least and the greatest possible value, given some: errors in a unit are not below 0, R² is not above 1.

        Numbers without a unit of which the lowest are best, such as logarithms of probabilities, have no limits.
        """
        known = list(values)
        if self.best == LOWEST and self.unit and min(known, default=0) >= 0:
            return 0.0, math.inf
        if self.best == HIGHEST and not self.unit and max(known, default=0) <= 1:
            return -math.inf, 1.0
        return -math.inf, math.inf

    def document(self) -> dict[str, Any]:
        return asdict(self)


UNKNOWN = Meaning()
