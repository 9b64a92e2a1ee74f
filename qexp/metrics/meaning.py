"""What a metric means, such as its best value, and numbers for readers: only the digits that are
significant.

Records contain it, so that results of metrics from extensions are read correctly, too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from qexp.base.quantities import SUPERSCRIPTS

LOWEST, HIGHEST, ZERO = "lowest", "highest", "zero"

BEST = (LOWEST, HIGHEST, ZERO)
"""Which values are better; `zero`: those closest to zero, from either side."""

NUMBERS, CLASSES = "numbers", "classes"
"""What the outputs are that a metric or a baseline is for."""

NETWORK = "network"
"""The estimator that the others are compared with."""

OUTPUT = "{unit}"
"""Placeholder of the output's unit in the unit of a metric."""


@dataclass(frozen=True)
class Meaning:
    best: str | None = None
    """One of `BEST`; None: unknown."""
    unit: str = ""
    """The unit, such as `{unit}`, `({unit})²` or `%`."""
    least: float | None = None
    """The least possible value, where the others do not tell it."""

    def document(self) -> dict[str, Any]:
        """As in a record."""
        return {
            name: value
            for name, value in asdict(self).items()
            if name != "least" or value is not None
        }

    def in_unit(self, unit: str) -> str:
        """The metric's unit for an output in `unit`."""
        return self.unit.replace(OUTPUT, unit) if unit or OUTPUT not in self.unit else ""

    @property
    def is_share(self) -> bool:
        """Whether it is a share, such as R², of which 1 is best."""
        return self.best == HIGHEST and not self.unit

    def badness(self, value: float) -> float | None:
        """A key by which better values sort first; None if the direction is unknown."""
        if self.best is None:
            return None
        return {LOWEST: value, HIGHEST: -value, ZERO: abs(value)}[self.best]

    def limits(self, values: Iterable[float]) -> tuple[float, float]:
        """The least and the greatest possible value, given some: errors in a unit are not below 0,
        R² is not above 1.

        Numbers without a unit of which the lowest are best, such as logarithms of probabilities,
        have no limits.
        """
        numbers = list(values)
        low, high = self.least, math.inf
        if low is None:
            positive = self.best == LOWEST and self.unit and min(numbers, default=0) >= 0
            low = 0.0 if positive else -math.inf
        if self.is_share and max(numbers, default=0) <= 1:
            high = 1.0
        return low, high


UNKNOWN = Meaning()


# Rounding of numbers for readers: only the digits that are significant given the uncertainty.


MOST_PERCENT = 1000

NONE = "-"
"""Shown in place of a missing number."""


class Numbers(str):
    """A text for readers with the numbers it was made of, such as a mean and its deviation."""

    values: tuple[float, ...]

    def __new__(cls, text: str, *values: float) -> Numbers:
        """`values` are in full digits."""
        numbers = super().__new__(cls, text)
        numbers.values = values
        return numbers


def number(value: float | None, meaning: Meaning = UNKNOWN) -> str:
    """A number with four significant digits; of a share such as R² three decimals, or two digits of
    its distance to 1.

    meaning  that of the number

    Relative errors above `MOST_PERCENT` are not shown: they come from true values near zero.
    """
    if value is None:
        return NONE
    if meaning.unit == "%" and value > MOST_PERCENT:
        return Numbers(f"> {MOST_PERCENT}", value)
    if meaning.is_share and -10 < value < 1:
        return Numbers(f"{value:.{min(max(1 - _order(1 - value), 3), 6)}f}", value)
    return Numbers(f"{value:.4g}", value)


@dataclass(frozen=True)
class Rounding:
    """A rounding to decimals; very small and very large numbers get a power of ten as a factor."""

    decimals: int
    exponent: int = 0

    def bare(self, value: float) -> str:
        """The digits of a number without its power of ten."""
        rounded = round(value / 10.0**self.exponent, self.decimals)
        return f"{rounded + 0.0:.{max(self.decimals, 0)}f}"  # + 0.0 makes 0 of −0

    def number(self, value: float) -> str:
        digits = self.bare(value)
        # no power of ten of 0
        return Numbers(digits + self._power if float(digits) else digits, value)

    def with_deviation(self, mean: float, deviation: float) -> str:
        pair = f"{self.bare(mean)} ± {self.bare(deviation)}"
        return Numbers(f"({pair}){self._power}" if self.exponent else pair, mean, deviation)

    def interval(self, low: float, high: float) -> str:
        return Numbers(f"[{self.number(low)}, {self.number(high)}]", low, high)

    @property
    def _power(self) -> str:
        return f"e{self.exponent:+03d}" if self.exponent else ""


def rounding(value: float, uncertainty: float) -> Rounding:
    """The rounding that leaves two significant digits of a positive uncertainty."""
    largest = max(abs(value), uncertainty)
    exponent = 0 if 1e-4 <= largest < 1e6 else _order(largest)
    return Rounding(1 - _order(uncertainty) + exponent, exponent)


SKEWED_SHARE = 20
"""Least share of an interval's width by which numbers are rounded: a side of it may be nothing."""

FINEST_RATIO = 100
"""Largest ratio of an interval around zero to the uncertainty by which its number is rounded."""

TELLING_RATIO = 100
"""Largest ratio of an interval's ends, 0.1 to 10 times the value, that tells its size."""


def with_interval(
    value: float, ends: Sequence[float] | None, meaning: Meaning = UNKNOWN, counted: str = ""
) -> tuple[str, str]:
    """A number and its interval for readers: three digits at least, unless it may be zero.

    counted  what the interval is over, such as `2 groups`: if it tells nothing, that these are too
             few is said instead
    """
    text = number(value, meaning)
    if ends is None:
        return text, NONE
    low, high = ends
    side = max(min(value - low, high - value), (high - low) / SKEWED_SHARE)
    if not math.isfinite(side) or side <= 0:
        return text, f"[{number(low, meaning)}, {number(high, meaning)}]"
    if not meaning.is_share and not text.startswith(">"):
        least = max(abs(value) / 10, (high - low) / FINEST_RATIO if low < 0 < high else 0.0)
        text = rounding(value, min(side, least)).number(value)
    if tells_nothing(ends, meaning):
        return text, f"{counted} are too few" if counted else "too few to tell"
    return text, rounding(value, side).interval(low, high)


def tells_nothing(ends: Sequence[float] | None, meaning: Meaning) -> bool:
    """Whether an interval leaves even the order of magnitude open, or that of 1 − R²."""
    if ends is None:
        return False
    low, high = (1 - ends[1], 1 - ends[0]) if meaning.is_share else ends
    return low >= 0 and high > TELLING_RATIO * low and (meaning.is_share or meaning.best == LOWEST)


DIGITS_KEPT = 1e-12
"""Half an interval, as a share of its value, at which it is rounding in double precision."""


def rounding_of_interval(
    ends: Sequence[float], value: float, deviation: float | None
) -> Rounding | None:
    """The rounding that leaves two significant digits of half an interval; None if that has no
    width or no end.

    value      that the interval belongs to
    deviation  written beside it, whose digits it has if that is smaller
    """
    half = (ends[1] - ends[0]) / 2
    if not math.isfinite(half) or half <= DIGITS_KEPT * abs(value):
        return None
    return rounding(value, min(half, deviation or half))


def _order(value: float) -> int:
    """Exponent of the first digit after rounding to two: 0 for 9.9, 1 for 9.96, which is 10."""
    return int(f"{value:.1e}".partition("e")[2])


def measured(mean: float, deviation: float | None) -> str:
    """A value with its deviation, `0.00972 ± 0.00040`; four digits if there is no deviation."""
    if deviation is None:
        return number(mean)
    if deviation == 0 or not math.isfinite(deviation):
        return Numbers(f"{mean:.4g} ± {deviation:g}", mean, deviation)
    return rounding(mean, deviation).with_deviation(mean, deviation)


# Numbers as they are printed, and as columns of them.


_DECIMALS = re.compile(r"\d(?:\.(\d+))?$")
_MINUS = re.compile(r"(?<![\w.)])-(?=[\d.])")
_POWER = re.compile(r"(?<=[\d)])e([+-])0*(\d+)\b")

FIGURE_SPACE, POINT_SPACE = "\u2007", "\u2008"
"""As wide as a digit, and as a decimal point."""

ALIKE_RATIO = 100
"""Ratio of the largest to the smallest number up to which a column has the same decimals."""


def printed(text: str) -> str:
    """Numbers of a text with a true minus, and with powers of ten: `−2.1 × 10⁻⁵`."""
    if text == NONE:
        return "–"
    signed = _MINUS.sub("−", text)
    return _POWER.sub(
        lambda found: f" × 10{(found[1].strip('+') + found[2]).translate(SUPERSCRIPTS)}", signed
    )


def aligned(cells: Sequence[str]) -> list[str]:
    """The cells of a column as they are printed: decimal points are below each other if the column
    is set to the right.

    Numbers of similar size get the same decimals, so that no digit is missing below another; all
    else is filled up with spaces. Cells whose numbers are unknown, because they are no `Numbers`,
    keep their digits.
    """
    texts = _with_equal_decimals(cells)
    ends = [None if _POWER.search(text) else _DECIMALS.search(text) for text in texts]
    decimals = [end and len(end[1] or "") for end in ends]
    most = max((count for count in decimals if count is not None), default=0)
    aligned = []
    for text, count in zip(texts, decimals, strict=True):
        text = printed(text)
        if count is not None:
            text += FIGURE_SPACE * (most - count) + POINT_SPACE * (not count and most > 0)
        aligned.append(text)
    return aligned


def _with_equal_decimals(cells: Sequence[str]) -> list[str]:
    """Numbers of similar sizes with as many decimals as the one that has most."""
    single: dict[str, float] = {}
    for cell in cells:
        if isinstance(cell, Numbers) and len(cell.values) == 1:
            single[cell] = cell.values[0]
    sizes = [abs(value) for value in single.values() if value]
    decimals = max((len(cell.partition(".")[2]) for cell in single), default=0)
    plain = all(_DECIMALS.search(cell) and "e" not in cell and ">" not in cell for cell in single)
    if not sizes or not decimals or not plain or max(sizes) > ALIKE_RATIO * min(sizes):
        return list(cells)
    return [f"{single[cell]:.{decimals}f}" if cell in single else cell for cell in cells]
