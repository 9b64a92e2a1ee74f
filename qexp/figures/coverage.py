"""How many held-out rows lie in their intervals, and how wide these are, by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qexp.figures.canvas import COLOURS, panels, sized, titled
from qexp.figures.wrapping import wrapped
from qexp.quantities import typeset

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_GROUPS = 50
"""Largest number of groups that are drawn."""

WIDE, HEIGHT_OF_ROW, WIDTH_OF_CHARACTER = 3.4, 0.22, 0.066  # inches


@dataclass(frozen=True)
class Covered:
    """The intervals of a group's rows."""

    name: str
    rows: int
    covered: int
    range: tuple[float, float]
    """In which the share of covered rows lies."""
    mean_width: float | None
    """In the output's unit; None if one is infinite."""


def coverage_by_group(
    groups: Sequence[Covered], output: str, unit: str, interval: float, title: str, note: str
) -> Figure:
    """A line per group: the share of its rows that lie in their intervals, with its range, and the mean width.

    groups    all rows first
    interval  what share the intervals should cover
    """
    shown = groups[:MOST_GROUPS]
    labels = [f"{wrapped(one.name, 200)[:30]}  ({one.covered} of {one.rows})" for one in shown]
    width = max(map(len, labels)) * WIDTH_OF_CHARACTER
    made, (shares, widths) = panels(2, WIDE, sized(1.15 + HEIGHT_OF_ROW * len(shown)), left=sized(0.15 + width))
    _draw_shares(shares, shown, interval)
    _draw_widths(widths, shown)
    shares.set_xlabel(f"share in {100 * interval:g} % intervals")
    words = f"mean width, {output.replace('_', ' ')}"
    widths.set_xlabel(f"{words} ({typeset(unit)})" if unit else words)
    for axis in (shares, widths):
        axis.set_ylim(len(shown) - 0.4, -0.6)
        axis.set_yticks(range(len(shown)), labels if axis is shares else [""] * len(shown), fontsize=sized(8))
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", alpha=0.25, linewidth=0.5)
        if len(shown) > 1:
            axis.axhline(0.5, color="0.75", linewidth=0.8)
    left_out = f"; the first {MOST_GROUPS} of {len(groups)} lines" if len(groups) > len(shown) else ""
    titled(made, f"{title}; lines: 95 % ranges{left_out}", note)
    return made


def _draw_shares(axis: Axes, groups: Sequence[Covered], interval: float) -> None:
    axis.axvline(interval, color="0.6", linewidth=1, zorder=1)
    for line, one in enumerate(groups):
        axis.plot(one.range, [line, line], color=COLOURS[0], linewidth=1.3, alpha=0.45, solid_capstyle="butt", zorder=2)
        # What an interval of the right coverage would hardly give stands out.
        colour = COLOURS[0] if one.range[0] <= interval <= one.range[1] else COLOURS[1]
        axis.plot(one.covered / one.rows, line, "o", color=colour, markersize=sized(4), mew=0, zorder=3)
    axis.set_xlim(-0.04, 1.04)


def _draw_widths(axis: Axes, groups: Sequence[Covered]) -> None:
    known = np.array([np.nan if one.mean_width is None else one.mean_width for one in groups], dtype=np.float64)
    axis.plot(known, np.arange(len(groups)), "o", color=COLOURS[0], markersize=sized(4), mew=0)
    finite = known[np.isfinite(known)]
    if len(finite) and finite.max() > 10 * finite.min() > 0:
        axis.set_xscale("log")
    elif len(finite):
        axis.set_xlim(0, 1.08 * finite.max() or 1.0)
