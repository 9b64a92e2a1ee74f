"""The meaning of a metric's values: which are better, and their unit.

Records contain it, so that results of metrics from extensions are read correctly, too.
"""

from __future__ import annotations

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

    def document(self) -> dict[str, Any]:
        return asdict(self)


UNKNOWN = Meaning()
