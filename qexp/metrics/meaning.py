"""What a metric means, such as its best value, and numbers for readers: only the digits that are significant.

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

MAIN_METRIC = "mae"
"""The metric by which listings, curves and comparisons show an output at a glance: every run reports it."""

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
        numbers = list(values)
        if self.best == LOWEST and self.unit and min(numbers, default=0) >= 0:
            return 0.0, math.inf
        if self.best == HIGHEST and not self.unit and max(numbers, default=0) <= 1:
            return -math.inf, 1.0
        return -math.inf, math.inf

    def document(self) -> dict[str, Any]:
        return asdict(self)


UNKNOWN = Meaning()


def main_metric(metrics: Iterable[str]) -> str | None:
    """The metric of an output that is shown at a glance: `MAIN_METRIC`, or the first one of others."""
    names = list(metrics)
    return MAIN_METRIC if MAIN_METRIC in names else next(iter(names), None)


# Rounding of numbers for readers: only the digits that are significant given the uncertainty.


MOST_PERCENT = 1000

NONE = "-"
"""Shown in place of a missing number."""


def number(value: float | None, meaning: Meaning = UNKNOWN) -> str:
    """A number with four significant digits; more if a metric approaches 1 from below.

    of  meaning of the number

    Relative errors above `MOST_PERCENT` are not shown: they come from true values near zero.
    """
    if value is None:
        return NONE
    if meaning.unit == "%" and value > MOST_PERCENT:
        return f"> {MOST_PERCENT}"
    return f"{value:.6g}" if meaning.best == HIGHEST and 0.9 < value < 1 else f"{value:.4g}"


@dataclass(frozen=True)
class Rounding:
    """A rounding to a number of decimals; very small and very large numbers get a power of ten as a factor."""

    decimals: int
    exponent: int = 0

    def bare(self, value: float) -> str:
        """The digits of a number without its power of ten."""
        rounded = round(value / 10.0**self.exponent, self.decimals)
        return f"{rounded + 0.0:.{max(self.decimals, 0)}f}"  # + 0.0 makes 0 of −0

    def number(self, value: float) -> str:
        return self.bare(value) + self._power

    def with_deviation(self, mean: float, deviation: float) -> str:
        pair = f"{self.bare(mean)} ± {self.bare(deviation)}"
        return f"({pair}){self._power}" if self.exponent else pair

    def interval(self, low: float, high: float) -> str:
        return f"[{self.number(low)}, {self.number(high)}]"

    @property
    def _power(self) -> str:
        return f"e{self.exponent:+03d}" if self.exponent else ""


def rounding(value: float, uncertainty: float) -> Rounding:
    """The rounding that leaves two significant digits of a positive uncertainty."""
    largest = max(abs(value), uncertainty)
    exponent = 0 if 1e-4 <= largest < 1e6 else _order(largest)
    return Rounding(1 - _order(uncertainty) + exponent, exponent)


def _order(value: float) -> int:
    """Exponent of the first significant digit after rounding to two: 0 for 1.0 to 9.9, 1 for 9.96, which becomes 10."""
    return int(f"{value:.1e}".partition("e")[2])


def measured(mean: float, deviation: float | None) -> str:
    """A value with its deviation, such as `0.00972 ± 0.00040`; four significant digits if that is missing or zero."""
    if deviation is None:
        return f"{mean:.4g}"
    if deviation == 0 or not math.isfinite(deviation):
        return f"{mean:.4g} ± {deviation:g}"
    return rounding(mean, deviation).with_deviation(mean, deviation)
