"""Values with their intervals, one line each: what a result is, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qexp.fragments.svg import COLOURS, drawing, element, fitted, logarithmic_ticks, number, ticks, width_of

if TYPE_CHECKING:
    from markupsafe import Markup

LINE, TOP, BOTTOM, PLOT, LEFT_MOST = 24.0, 6.0, 40.0, 400.0, 340.0
"""Pixels: height of a line, above the first and below the last one, width of the axis, and most for the names."""

Place = Callable[[float], float]

DECADES = 30
"""Ratio of the largest to the smallest value above which the axis is logarithmic."""


@dataclass(frozen=True)
class Measured:
    """A line of the drawing."""

    name: str
    value: float | None
    interval: tuple[float, float] | None = None
    single: Sequence[float] = ()
    """Values whose mean it is, such as those of seeds."""
    words: str = ""
    """All of it as a text."""
    strong: bool = False
    """Drawn in the colour of what the drawing is about."""


def intervals(lines: Sequence[Measured], axis: str, zero: bool = False) -> Markup:
    """A line for each value: a dot, its interval as a bar, single values as rings.

    axis  what is measured, with its unit
    zero  mark zero, for differences
    """
    known = [value for line in lines for value in _numbers(line)]
    if not known:
        return element("p", "no finite values")
    logarithmic, low, high = _scale([*known, 0.0] if zero else known, zero)
    left = min(max(width_of(line.name) for line in lines) + 12, LEFT_MOST)
    height = LINE * len(lines)

    def across(value: float) -> float:
        of, ends = (math.log(value), (math.log(low), math.log(high))) if logarithmic else (value, (low, high))
        return left + PLOT * (of - ends[0]) / (ends[1] - ends[0])

    marks = logarithmic_ticks(low, high) if logarithmic else ticks(low, high, 6)
    parts = [*_axis(marks, across, height, zero), *_lines(lines, across, left)]
    label = element("text", axis, x=left + PLOT / 2, y=TOP + height + 34, text_anchor="middle")
    said = f"{axis}: " + "; ".join(f"{line.name} {line.words}" for line in lines)
    return drawing(left + PLOT + 14, TOP + height + BOTTOM, said, *parts, label)


def _numbers(line: Measured) -> Iterator[float]:
    for value in (line.value, *(line.interval or ()), *line.single):
        if value is not None and math.isfinite(value):
            yield value


def _scale(values: Sequence[float], zero: bool) -> tuple[bool, float, float]:
    """Whether the axis is logarithmic, and its ends."""
    low, high = min(values), max(values)
    if low > 0 and not zero and high / low > DECADES:
        return True, low / 1.3, high * 1.3
    room = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    return False, low - room, high + room


def _axis(marks: Sequence[float], across: Place, height: float, zero: bool) -> Iterator[Markup]:
    for value in marks:
        x = across(value)
        line = {"stroke": "currentColor", "stroke_opacity": 0.6 if zero and value == 0 else 0.15}
        yield element("path", d=f"M{x:.1f} {TOP:g}V{TOP + height:g}", fill="none", **line)
        yield element("text", number(value), x=x, y=TOP + height + 16, text_anchor="middle", font_size=11)


def _lines(lines: Sequence[Measured], across: Place, left: float) -> Iterator[Markup]:
    for index, line in enumerate(lines):
        y = TOP + LINE * (index + 0.5)
        colour = COLOURS[1] if line.strong else COLOURS[0]
        parts = [element("title", f"{line.name}: {line.words}")]
        weight = {"font_weight": "bold"} if line.strong else {}
        parts.append(element("text", fitted(line.name, left - 12), x=left - 10, y=y + 4, text_anchor="end", **weight))
        if line.interval is not None and all(map(math.isfinite, line.interval)):
            low, high = (across(end) for end in line.interval)
            ends = f"M{low:.1f} {y - 4:g}v8M{low:.1f} {y:g}H{high:.1f}M{high:.1f} {y - 4:g}v8"
            parts.append(element("path", d=ends, stroke=colour, stroke_width=2, fill="none"))
        for value in line.single:
            if math.isfinite(value):
                parts.append(
                    element("circle", cx=across(value), cy=y, r=3, fill="none", stroke=colour, stroke_opacity=0.8)
                )
        if line.value is not None and math.isfinite(line.value):
            parts.append(element("circle", cx=across(line.value), cy=y, r=4.5, fill=colour))
        yield element("g", *parts)
