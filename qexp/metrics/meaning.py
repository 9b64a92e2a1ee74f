"""How the numbers of a metric are read: which are better, and their unit.

Records hold it, so that results of metrics that are not qexp's own are read rightly, too.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

LOWEST, HIGHEST, ZERO = "lowest", "highest", "zero"

BEST = (LOWEST, HIGHEST, ZERO)
"""Which values are better; `zero` where values on both sides of zero are worse."""

OUTPUT = "{unit}"
"""What stands for the output's unit in that of a metric."""


@dataclass(frozen=True)
class Meaning:
    best: str | None = None
    """One of `BEST`; None: unknown."""
    unit: str = ""
    """Such as `{unit}`, `({unit})²` or `%`."""

    def in_unit(self, unit: str) -> str:
        """The metric's unit for an output in `unit`."""
        return self.unit.replace(OUTPUT, unit) if unit or OUTPUT not in self.unit else ""

    def badness(self, value: float) -> float | None:
        """Smaller is better; None where the direction is unknown."""
        if self.best is None:
            return None
        return {LOWEST: value, HIGHEST: -value, ZERO: abs(value)}[self.best]

    def document(self) -> dict[str, Any]:
        return asdict(self)


UNKNOWN = Meaning()
