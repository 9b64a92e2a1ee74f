"""Values with their intervals, one line each: what a result is, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qexp.fragments.svg import COLOURS, drawing, element, fitted, logarithmic_ticks, number, ticks, width_of

if TYPE_CHECKING:
    from markupsafe import Markup

TOP, BOTTOM = 6.0, 40.0
"""Pixels above the first line and below the last one."""

BESIDE = 156.0
"""Pixels of the longest name that stands beside its line; if one is longer, all stand above theirs."""

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
    layout = _layout(lines)
    height = layout.line * len(lines)

    def across(value: float) -> float:
        of, ends = (math.log(value), (math.log(low), math.log(high))) if logarithmic else (value, (low, high))
        return layout.left + layout.plot * (of - ends[0]) / (ends[1] - ends[0])

    marks = logarithmic_ticks(low, high) if logarithmic else ticks(low, high, 6)
    parts = [*_axis(marks, across, height, zero), *_lines(lines, across, layout)]
    label = element("text", axis, x=layout.left + layout.plot / 2, y=TOP + height + 34, text_anchor="middle")
    said = f"{axis}: " + "; ".join(f"{line.name} {line.words}" for line in lines)
    return drawing(layout.left + layout.plot + 14, TOP + height + BOTTOM, said, *parts, label)


@dataclass(frozen=True)
class _Layout:
    """Pixels: height of a line, width of the axis, room to its left, and whether names stand above their lines."""

    line: float
    plot: float
    left: float
    above: bool


def _layout(lines: Sequence[Measured]) -> _Layout:
    longest = max(width_of(line.name) for line in lines) + 12
    # A drawing with long names is no wider than a phone.
    return _Layout(38.0, 330.0, 14.0, True) if longest > BESIDE else _Layout(24.0, 400.0, longest, False)


def _name(line: Measured, y: float, layout: _Layout) -> Markup:
    weight = {"font_weight": "bold"} if line.strong else {}
    if layout.above:
        return element("text", fitted(line.name, layout.left + layout.plot), x=2, y=y - 9, **weight)
    return element("text", line.name, x=layout.left - 10, y=y + 4, text_anchor="end", **weight)


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


def _lines(lines: Sequence[Measured], across: Place, layout: _Layout) -> Iterator[Markup]:
    for index, line in enumerate(lines):
        y = TOP + layout.line * (index + (0.72 if layout.above else 0.5))
        colour = COLOURS[1] if line.strong else COLOURS[0]
        parts = [element("title", f"{line.name}: {line.words}")]
        parts.append(_name(line, y, layout))
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
