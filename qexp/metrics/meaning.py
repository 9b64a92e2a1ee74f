"""How the numbers of a metric are read: which are better, and their unit.

Records hold it, so that results of metrics that are not qexp's own are read rightly, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


def meaning(name: str, records: Iterable[Mapping[str, Any]]) -> Meaning:
    """The meaning of a metric that some runs share: what their records say, else that of qexp's own metric.

    Unknown if they contradict each other: two extensions may call different metrics alike.
    """
    said = {one for record in records if (one := _recorded(name, record)) is not None}
    if len(said) == 1:
        return said.pop()
    return UNKNOWN if said else _built_in(name)


def _recorded(name: str, record: Mapping[str, Any]) -> Meaning | None:
    """What a record says, which may be from before records said it, or from elsewhere."""
    metrics = record.get("metrics")
    said = metrics.get(name) if isinstance(metrics, dict) else None
    if not isinstance(said, dict):
        return None
    best, unit = said.get("best"), said.get("unit")
    return Meaning(best if best in BEST else None, unit if isinstance(unit, str) else "")


def _built_in(name: str) -> Meaning:
    from qexp.metrics.built_in import METRICS  # with numpy, which listing many runs should not wait for

    return METRICS[name].build().meaning if name in METRICS else UNKNOWN
